// What float32 makes of a confident prediction: the textbook's log_softmax with every operation rounded.

const f = Math.fround;

/** The loss and the derivative in its logit of class 0 at logits (m, 0), as float32 returns them. */
export function textbook32(margin) {
  const shifted = [f(0), f(0 - f(margin))];
  const total = f(f(Math.exp(shifted[0])) + f(Math.exp(shifted[1])));
  const logQ = f(shifted[0] - f(Math.log(total)));
  return { loss: f(0 - logQ), slope: f(f(Math.exp(logQ)) - 1) };
}

/** The same in float64. */
export function textbook64(margin) {
  const logQ = 0 - Math.log(1 + Math.exp(-margin));
  return { loss: 0 - logQ, slope: Math.exp(logQ) - 1 };
}

/** The values themselves: log(1 + e^−m) and −1/(1 + e^m). */
export function exact(margin) {
  const odds = Math.exp(-margin);
  return { loss: Math.log1p(odds), slope: -odds / (1 + odds) };
}
