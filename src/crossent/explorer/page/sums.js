// Sums and differences whose rounding is known: what the certificates and the confident predictions rest on.

/** The correctly rounded sum of finite numbers (Shewchuk 1997, "Adaptive precision floating-point arithmetic"). */
export function sum(values) {
  const partials = [];
  for (let x of values) {
    let kept = 0;
    for (let i = 0; i < partials.length; i += 1) {
      let y = partials[i];
      if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x];
      const high = x + y;
      const low = y - (high - x);
      if (low !== 0) partials[kept++] = low;
      x = high;
    }
    partials.length = kept;
    partials.push(x);
  }
  return rounded(partials);
}

/** The partials do not overlap: from the largest down, until one of them is lost, and then half to even. */
function rounded(partials) {
  let n = partials.length;
  if (n === 0) return 0;
  let high = partials[--n];
  let low = 0;
  while (n > 0) {
    const x = high;
    const y = partials[--n];
    high = x + y;
    low = y - (high - x);
    if (low !== 0) break;
  }
  if (n > 0 && ((low < 0 && partials[n - 1] < 0) || (low > 0 && partials[n - 1] > 0))) {
    const twice = low * 2;
    const x = high + twice;
    if (twice === x - high) high = x;
  }
  return high + 0;
}

/** x − y and what its rounding lost, whose sum is exact (Knuth's TwoSum). */
export function twoDiff(x, y) {
  const gap = x - y;
  const back = gap - x;
  const lost = x - (gap - back) - (y + back);
  return [gap, Number.isFinite(lost) ? lost : 0];
}

export const add = (u, v) => u.map((x, c) => x + v[c]);
export const scale = (u, factor) => u.map((x) => x * factor);

export function argmax(values) {
  let best = 0;
  for (let c = 1; c < values.length; c += 1) if (values[c] > values[best]) best = c;
  return best;
}
