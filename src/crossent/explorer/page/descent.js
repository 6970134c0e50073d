// What a metric makes of the derivative: the motion of steepest descent, and paths of it.

import { differential, differentialFromLogits, grad, pair } from "crossent/differential.js";
import { argmax, sum } from "crossent/sums.js";

export const METRICS = ["euclidean", "natural", "logit"];
export const DESCENTS = [...METRICS, "exponentiated"];

const takesPart = (d) => d.q.map((_, c) => d.logQ[c] > -Infinity || d.p[c] > 0);

/** a − mean(a) over the classes that take part. */
export function euclideanGradient(d) {
  const here = takesPart(d);
  const only = (values) => values.map((x, c) => (here[c] ? x : 0));
  const size = (values) => Math.max(...values.map(Math.abs));
  const [ambient, relative] = [only(d.ambient), only(grad(d, "in proportion"))];
  // Near the optimum a is near −P·(1, …, 1): the representative with smaller entries has more right bits.
  const start = size(relative) < size(ambient) ? relative : ambient;
  const count = here.filter(Boolean).length;
  const mean = sum(start.filter(Number.isFinite)) / count;
  if (start.every(Number.isFinite)) return only(start.map((a) => a - mean));
  return d.q.map((_, c) => (here[c] ? pair(d, here.map((yes, i) => (yes ? (i === c ? 1 : 0) - 1 / count : 0))) : 0));
}

/** −J g for the logit gradient g, with J = diag(q) − qqᵀ. */
function logitVelocity({ q, logQ, logits }) {
  const mean = sum(q.map((x, c) => x * logits[c]));
  const out = q.map((x, c) => x * (mean - logits[c]) + 0);
  const top = argmax(logQ);
  // Minus the others: g_k − ⟨q, g⟩ cancels where q_k is near 1.
  out[top] = 0 - sum(out.filter((_, c) => c !== top));
  return out;
}

/** The motion dq/dt of steepest descent, whose entries sum to 0. */
export function velocity(d, metric) {
  if (metric === "euclidean") return euclideanGradient(d).map((x) => 0 - x);
  if (metric === "natural") return d.logits.map((x) => 0 - x);
  return logitVelocity(d);
}

/** The nearest point of the simplex (Held, Wolfe and Crowder 1974; Duchi and others 2008, figure 1). */
export function project(point) {
  const top = Math.max(...point);
  // An entry more than 1 below the largest gets nothing: how much more does not matter.
  const shifted = point.map((x) => Math.max(top === Infinity ? (x === Infinity ? 0 : -2) : x - top, -2));
  const falling = shifted.slice().sort((x, y) => y - x);
  let running = 0;
  let kept = 0;
  falling.forEach((x, i) => {
    running += x;
    if (x * (i + 1) + (1 - running) > 0) kept += 1;
  });
  const threshold = (sum(falling.slice(0, kept)) - 1) / kept;
  return shifted.map((x) => Math.max(x - threshold, 0));
}

/** One step of gradient descent in a metric by name, or in the chart of class r. */
export function step(d, metric, size) {
  if (typeof metric === "number") return differential(chartStep(d, metric, size), d.p);
  if (metric === "logit" || metric === "exponentiated") return logStep(d, metric === "logit" ? d.logits : d.ambient, size);
  const slope = metric === "natural" ? d.logits : euclideanGradient(d);
  const moved = d.q.map((x, c) => x - size * slope[c]);
  return differential(metric === "euclidean" || moved.some((x) => x < 0) ? project(moved) : moved, d.p);
}

function chartStep(d, r, size) {
  const slope = grad(d, r);
  const free = d.q.map((_, c) => c).filter((c) => c !== r);
  const moved = free.map((c) => d.q[c] - size * slope[c]);
  const room = moved.map((x) => Math.max(x, 0));
  const total = room.every(Number.isFinite) ? sum(room) : Infinity;
  const ends = total >= 1 ? project(moved) : room;
  const probs = d.q.map(() => 0);
  free.forEach((c, i) => { probs[c] = ends[i]; });
  probs[r] = total >= 1 ? 0 : 1 - total;
  return probs;
}

function logStep(d, slope, size) {
  let logits = d.logQ.map((z, c) => (z > -Infinity ? z - size * slope[c] : -Infinity));
  // Beyond the range: those classes take all.
  if (logits.includes(Infinity)) logits = logits.map((z) => (z === Infinity ? 0 : -Infinity));
  if (logits.every((z) => z === -Infinity)) logits = d.logQ;
  return differentialFromLogits(logits, d.p);
}

/** The predictions that gradient descent passes, the start first, and their losses. */
export function flow(d, metric, steps, size) {
  const path = [d];
  for (let i = 0; i < steps; i += 1) path.push(step(path[i], metric, size));
  return { probs: path.map((one) => one.q), losses: path.map((one) => one.loss) };
}

/** The length of a motion in a metric: Euclidean, Fisher–Rao (Σ v²/q), or of the centred logits that make it. */
export function norm(d, metric, v) {
  if (metric === "euclidean") return Math.sqrt(sum(v.map((x) => x * x)));
  if (metric === "natural") return Math.sqrt(v.reduce((total, x, c) => total + (x === 0 ? 0 : (x * x) / d.q[c]), 0));
  const slope = d.logits;
  const mean = sum(slope) / slope.length;
  return Math.sqrt(sum(slope.map((g) => (g - mean) ** 2)));
}
