// Numbers for reading: as few digits as say something, a true minus sign, no false 0 and no false 1.

/** Like Python's "%.4g". */
export function number(value, digits = 4) {
  if (Number.isNaN(value)) return "not a number";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const [mantissa, power] = value.toExponential(digits - 1).split("e");
  const exponent = Number(power);
  const text =
    exponent < -4 || exponent >= digits
      ? `${trimmed(mantissa)}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`
      : trimmed(value.toFixed(Math.max(0, digits - 1 - exponent)));
  return text.replaceAll("-", "−");
}

const trimmed = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);

/** A probability: what is left to 1 where four digits would say 1. */
export function probability(d, c) {
  const text = number(d.q[c]);
  if (text !== "1") return text;
  const rest = d.q.reduce((total, x, i) => (i === c ? total : total + x), 0);
  return rest > 0 ? `1 − ${number(rest, 3)}` : "1";
}

export const nats = (loss) => `${loss >= 0.1 && loss < 1e4 ? loss.toFixed(4) : number(loss)} nats`;
export const vector = (values) => `(${values.map((x) => number(x)).join(", ")})`;
export const percent = (value) => `${number(100 * value, 3)} %`;

/** An operand, in brackets where its sign would meet an operator. */
export const operand = (value) => (value < 0 ? `(${number(value)})` : number(value));
