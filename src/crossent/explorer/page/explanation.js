// What `crossent explain --json` prints, from the page's own arithmetic: the tests compare the two.

import { certificate, differential, grad, multiple } from "crossent/differential.js";
import { flow, METRICS, velocity } from "crossent/descent.js";

const RULES = ["nobody", "everyone", "in proportion"];

/** The numbers of one prediction; `payers` are columns beside the general rules, as {name: class index or weights}. */
export function explanation(probs, truth, classes, payers = {}) {
  const d = differential(probs, truth);
  const rules = { ...Object.fromEntries(RULES.map((rule) => [rule, rule])), ...payers };
  const byRule = (value) => Object.fromEntries(Object.entries(rules).map(([name, pay]) => [name, value(pay)]));
  return {
    classes,
    truth: d.p,
    prediction: d.q,
    loss: d.loss,
    derivatives: byRule((pay) => grad(d, pay)),
    multiples: byRule((pay) => multiple(d, pay)),
    certificates: byRule((pay) => certificate(grad(d, pay), d.ambient)),
    velocities: Object.fromEntries(METRICS.map((metric) => [metric, velocity(d, metric)])),
    logit_gradient: d.logits,
    natural_gradient: d.logits,
  };
}

/** The paths of several descents from one prediction. */
export function descents(probs, truth, metrics, steps, size) {
  const d = differential(probs, truth);
  return Object.fromEntries(metrics.map((metric) => [String(metric), flow(d, metric, steps, size)]));
}
