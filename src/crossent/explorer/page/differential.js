// The cross-entropy at one prediction and its derivative along the simplex: crossent.simplex for one row.
// Each formula, and each rule at the boundary, is that of the Python package; the tests hold the two together.

import { argmax, sum, twoDiff } from "crossent/sums.js";

const TINY = 2 ** -1022;
const EPSILON = 2 ** -52;
const ROUNDING = 1e-12; // a sum of weights nearer to zero than this, relative to the weights, is rounding
const TOLERANCE = 1e-12;

/** The differential at probabilities that sum to 1 within 1e-6. */
export function differential(probs, truth) {
  const total = sum(probs);
  const q = Math.abs(total - 1) > EPSILON ? probs.map((x) => x / total) : probs.map((x) => x + 0);
  const top = argmax(q);
  const rest = sum(q.map((x, c) => (c === top ? 0 : x)));
  const logQ = q.map((x) => Math.log(x));
  logQ[top] = 0 - Math.log1p(rest / q[top]);
  return build(q, logQ, truth, top, rest, total);
}

/** The differential at the softmax of logits, −Infinity for a class that takes no part. */
export function differentialFromLogits(logits, truth) {
  const top = argmax(logits);
  const gaps = logits.map((z) => twoDiff(z, logits[top]));
  const exps = gaps.map(([gap, lost]) => Math.exp(gap) * (1 + lost));
  const odds = oddsOfTheRest(gaps, top);
  const q = exps.map((e) => e / (1 + odds));
  const logQ = gaps.map(([gap]) => gap - Math.log1p(odds));
  return build(q, logQ, truth, top, odds / (1 + odds), 1);
}

/** Σ exp over the others; terms that are each below the range may have a sum that is not. */
function oddsOfTheRest(gaps, top) {
  const others = gaps.filter((_, c) => c !== top);
  const largest = Math.max(...others.map(([gap]) => gap));
  const shift = largest < -700 && largest > -Infinity ? largest : 0;
  const half = Math.exp(shift / 2);
  return half * (half * sum(others.map(([gap, lost]) => Math.exp(gap - shift) * (1 + lost))));
}

function build(q, logQ, p, top, rest, givenSum) {
  const mass = sum(p);
  const loss = sum(p.map((x, c) => (x > 0 ? x * (0 - logQ[c]) : 0)).map(beyond)) + 0;
  const logits = q.map((x, c) => mass * x - p[c] + 0);
  // Minus the sum of the others: q − 1 would round a confident prediction's gradient away.
  if (q[top] > 0.5) logits[top] = sum(p.map((x, c) => (c === top ? 0 : x))) - mass * rest + 0;
  const d = { q, logQ, p, mass, loss: p.some((x, c) => x > 0 && logQ[c] === -Infinity) ? Infinity : loss, logits, givenSum };
  d.ambient = q.map((x, c) => ambientEntry(d, c));
  return d;
}

const beyond = (x) => (Number.isFinite(x) ? x : 0);

function ambientEntry({ q, logQ, p }, c) {
  if (!(p[c] > 0)) return 0;
  // Below the normal range too few bits are left to divide by.
  return 0 - (q[c] < TINY ? Math.exp(Math.log(p[c]) - logQ[c]) : p[c] / q[c]);
}

/** The loss of probabilities that need not sum to 1: what "nobody pays" moves along. */
export function ambientLoss(q, p) {
  const terms = p.map((x, c) => (x > 0 ? -x * Math.log(q[c]) : 0));
  return terms.every(Number.isFinite) ? sum(terms) : terms.reduce((x, y) => x + y, 0);
}

/** Who pays, as weights with sum 1: "everyone", a class index, or the weights themselves. */
export function paymentWeights(pay, n) {
  if (Array.isArray(pay)) return pay;
  if (pay === "everyone") return Array(n).fill(1 / n);
  return Array.from({ length: n }, (_, c) => (c === pay ? 1 : 0));
}

/** The direction in which class c gains 1 and the payers give it up. */
export function direction(d, c, pay) {
  const n = d.q.length;
  const rises = Array.from({ length: n }, (_, i) => (i === c ? 1 : 0));
  if (pay === "nobody") return rises;
  const weights = pay === "in proportion" ? d.q : paymentWeights(pay, n);
  return rises.map((x, i) => x - weights[i]);
}

/** The derivative as each class rises: a_c − ⟨w, a⟩. */
export function grad(d, pay = "nobody") {
  if (pay === "nobody") return d.ambient.slice();
  if (pay === "in proportion") return inProportion(d);
  const weights = paymentWeights(pay, d.q.length);
  const shift = 0 - pair(d, weights);
  return d.ambient.map((a, c) => {
    if (Number.isFinite(a) || Number.isFinite(shift)) return a + shift;
    const v = weights.map((w) => 0 - w); // inf − inf: the pair decides
    v[c] += 1;
    return pair(d, v);
  });
}

/** λ in grad(pay) = ambient + λ·(1, …, 1). */
export function multiple(d, pay) {
  if (pay === "nobody") return 0;
  if (pay === "in proportion") return d.mass;
  return 0 - pair(d, paymentWeights(pay, d.q.length));
}

/** Probability moved from one class to another: the loss per unit. */
export function transfer(d, source, sink) {
  const v = d.q.map(() => 0);
  v[sink] += 1;
  v[source] -= 1;
  return pair(d, v);
}

function inProportion({ q, p, mass, logits }) {
  // (P·q − p)/q and not P − p/q, which cancels where q is near p.
  return q.map((x, c) => {
    if (!(p[c] > 0)) return mass;
    return x > 0 ? logits[c] / x : -Infinity;
  });
}

/** Σ v_c a_c as its limit from inside the simplex. */
export function pair(d, v) {
  const size = sum(v.map(Math.abs));
  const endless = (c) => d.p[c] > 0 && d.logQ[c] === -Infinity;
  const order = sum(v.filter((_, c) => endless(c)));
  if (Math.abs(order) > ROUNDING * size) return order > 0 ? -Infinity : Infinity;
  const terms = v.map((x, c) => (x === 0 || endless(c) ? 0 : x * d.ambient[c]));
  return terms.every(Number.isFinite) ? sum(terms) : byLogarithms(d, v, endless);
}

/** Entries beyond the range are compared by their logarithms. */
function byLogarithms({ p, logQ }, v, endless) {
  const used = v.map((_, c) => c).filter((c) => v[c] !== 0 && p[c] > 0 && !endless(c));
  const logs = used.map((c) => Math.log(p[c]) - logQ[c] + Math.log(Math.abs(v[c])));
  const top = Math.max(...logs);
  const lead = -sum(used.map((c, i) => Math.sign(v[c]) * Math.exp(logs[i] - top)));
  return lead === 0 ? 0 : Math.sign(lead) * Math.exp(top + Math.log(Math.abs(lead)));
}

/** Whether u = v + λ·(1, …, 1) for one λ, formed without cancellation. */
export function certificate(u, v) {
  const infinite = (x) => x === Infinity || x === -Infinity;
  const undecided = u.map((x, c) => infinite(x) && x === v[c]);
  const endless = u.map((x, c) => (infinite(x) || infinite(v[c])) && !undecided[c]);
  if (endless.some(Boolean)) {
    const signs = new Set();
    u.forEach((x, c) => endless[c] && signs.add(infinite(x) ? Math.sign(x) : -Math.sign(v[c])));
    const same = signs.size === 1 && u.every((_, c) => undecided[c] || endless[c]);
    return { same, multiple: signs.size === 1 ? Infinity * [...signs][0] : 0, deviation: same ? 0 : Infinity };
  }
  const kept = u.map((_, c) => c).filter((c) => !undecided[c]);
  if (kept.length === 0) return { same: true, multiple: 0, deviation: 0 };
  const gaps = kept.map((c) => [...twoDiff(u[c], v[c]), TOLERANCE * Math.max(Math.abs(u[c]), Math.abs(v[c]))]);
  // The order of the pairs (high, low) is that of their sums.
  const [first, last] = [(a, b) => a[0] - b[0] || a[1] - b[1]].map((by) => gaps.slice().sort(by)).flatMap((s) => [s[0], s.at(-1)]);
  const deviation = sum([last[0], last[1], -first[0], -first[1]]);
  const middle = sum([last[0] / 2, last[1] / 2, first[0] / 2, first[1] / 2]);
  const same = Math.max(...gaps.map(([g, , slack]) => g - slack)) <= Math.min(...gaps.map(([g, , slack]) => g + slack));
  return { same, multiple: middle, deviation };
}
