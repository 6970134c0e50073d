// Probabilities that a hand sets: on the simplex, and round.

import { project } from "crossent/descent.js";

/** The nearest prediction in steps of 1/n; a tie goes to the first class. */
export function snap(point, n) {
  const exact = project(point).map((x) => x * n);
  const whole = exact.map(Math.floor);
  const missing = n - whole.reduce((x, y) => x + y, 0);
  const order = exact.map((x, c) => [whole[c] - x, c]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  for (let i = 0; i < missing; i += 1) whole[order[i % order.length][1]] += 1;
  return whole.map((x) => x / n);
}

/** Give class c another probability; the others share the rest as they did. */
export function withProbability(q, c, value) {
  const rest = q.reduce((total, x, i) => (i === c ? total : total + x), 0);
  const bounded = Math.min(1, Math.max(0, value));
  const others = q.length - 1;
  return q.map((x, i) => (i === c ? bounded : rest > 0 ? (x / rest) * (1 - bounded) : (1 - bounded) / others));
}
