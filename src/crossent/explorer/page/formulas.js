// A number of the table as its formula with this prediction's numbers.

import { multiple } from "crossent/differential.js";
import { number, operand, probability } from "crossent/format.js";

/** The derivative as class c rises, by who pays. */
export function derivativeFormula({ d, classes }, pay, c, value) {
  const name = classes[c];
  const own = number(d.ambient[c]);
  const result = number(value);
  if (pay === "nobody") {
    return d.p[c] > 0 ? `−p/q of ${name} = −${number(d.p[c])} / ${probability(d, c)} = ${result}` : `${name} has no truth, so it does not occur in the loss: ${result}`;
  }
  if (pay === "in proportion") return `P − p/q of ${name} = ${number(d.mass)} − ${number(d.p[c])} / ${probability(d, c)} = ${result}`;
  const shift = 0 - multiple(d, pay);
  if (typeof pay === "number") {
    if (pay === c) return `${name} cannot pay for itself: 0`;
    return `a of ${name} − a of ${classes[pay]} = ${own} − ${operand(shift)} = ${result}, where a = −p/q`;
  }
  const mean = pay === "everyone" ? "the mean of a" : "the payers' mean of a";
  return `a of ${name} − ${mean} = ${own} − ${operand(shift)} = ${result}, where a = −p/q`;
}

export const gradientFormula = ({ d, classes }, c) =>
  `P·q − p of ${classes[c]} = ${d.mass === 1 ? "" : `${number(d.mass)}·`}${probability(d, c)} − ${number(d.p[c])} = ${number(d.logits[c])}`;

export const multipleFormula = (pay, value, classes) => {
  const payer = typeof pay === "number" ? ` = p/q of ${classes[pay]}` : "";
  return `λ = −⟨w, a⟩${payer} = ${number(value)}: this row minus the row “nobody” is ${number(value)} in every entry`;
};

export function motionFormula({ d, classes }, metric, c, value) {
  const of = `of ${classes[c]}`;
  if (metric === "natural") return `p − P·q ${of} = ${number(value)}: straight towards the truth`;
  if (metric === "euclidean") return `−(a − the mean of a) ${of} = ${number(value)}`;
  return `q·(⟨q, g⟩ − g) ${of} with g = P·q − p: ${number(d.q[c])}·(… − ${operand(d.logits[c])}) = ${number(value)}`;
}
