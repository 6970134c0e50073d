// Second pass over a tile of logits: the gradient in their place, and what hangs on it.
#pragma once

#include "../../kernels/label_scalars.hpp"
#include "conclude.hpp"
#include "thin.hpp"

namespace {

namespace head {

// -p_c · weight, of the classes without sparse entries.
template <class A>
inline void subtract_truth(const Rows<A>& rows, i64 row, const Tile<A>& tile, A* grad) {
  const double keep = 1.0 - rows.smoothing, spread = rows.smoothing / double(rows.classes);
  const double truth = rows.row[row].truth;
  const A* base = rows.probs == nullptr ? nullptr : rows.probs + row * rows.probs_step + tile.first;
  const A* weight = rows.class_weight == nullptr ? nullptr : rows.class_weight + tile.first;
#pragma omp simd
  for (i64 c = 0; c < tile.width; c++) {
    const double any = (base == nullptr ? 0.0 : keep * double(base[c])) + spread;
    grad[c] = A(double(grad[c]) - truth * (weight == nullptr ? any : any * double(weight[c])));
  }
}

// What multiplies the gradient of a capped logit z: 1 - (z / cap)², without its cancellation.
template <class F>
inline F cap_slope(F z, NumberOf<F> cap) {
  return ((cap - z) / cap) * ((cap + z) / cap);
}

template <class A, bool far, bool capped>
inline void scale_exponentials(const A* z, i64 width, A m, double factor, A cap, A* out) {
  using Vector = typename VectorOf<A>::type;
  using Exp = ExpOf<A>;
  constexpr int lanes = VectorOf<A>::lanes;
  const Vector top = Vector{} + m, floor = top + Exp::floor;
  const LoweringFactor<A> by(factor);
  const i64 whole = width / lanes * lanes;
  for_vectors(z, width, -A(kInf), [&](Vector x, i64 c) {
    Vector g = far ? exp_of_difference(x, top) * Exp::raise : raised_exp_of_difference(x, top, floor);
    g = g * by.factor * by.power;
    if constexpr (capped) g *= cap_slope(x, cap);
    if (c < whole)
      put_vector(g, out + c);
    else
      __builtin_memcpy(out + c, &g, std::size_t(width - c) * sizeof(A));
  });
}

// The classes with a truth of their own and the leader, whose entries are made in double from their complements.
template <class A>
inline void set_entries(const Rows<A>& rows, i64 row, A* grad, const Tile<A>& tile) {
  const Row<A>& known = rows.row[row];
  const bool capped = rows.softcap != 0;
  for (i64 j = 0; j < rows.entries; j++) {
    const i64 at = row * rows.entries + j, c = rows.entry_class[at] - tile.first;
    if (c < 0 || c >= tile.width) continue;
    grad[c] = A(rows.entry_grad[at] * (capped ? cap_slope(double(rows.entry_logit[at]), rows.softcap) : 1.0));
  }
  const i64 leader = known.leader - tile.first;
  if (leader >= 0 && leader < tile.width)
    grad[leader] = A(known.at_leader * (capped ? cap_slope(double(known.top), rows.softcap) : 1.0));
}

template <class A>
inline void gradient_row_of_caps(const Rows<A>& rows, i64 row, const A* z, const Tile<A>& tile, A* out) {
  const Row<A>& known = rows.row[row];
  for (i64 c = 0; c < tile.width; c++) {
    const double slope = cap_slope(double(z[c]), rows.softcap);
    const double e = exp_of_difference(double(z[c]), double(known.top));
    out[c] = A((e * known.factor - known.truth * spread_truth(rows, row, tile.first + c)) * slope);
  }
  set_entries(rows, row, out, tile);
}

template <class A, bool capped>
inline void gradient_row(const Rows<A>& rows, i64 row, const A* z, const Tile<A>& tile, A* out) {
  const Row<A>& known = rows.row[row];
  const A cap = A(rows.softcap);
  if (capped && has_spread_truth(rows)) {
    // The slope belongs to the whole entry: it waits until the truth is subtracted.
    gradient_row_of_caps(rows, row, z, tile, out);
    return;
  }
  absolute(known.top) <= ExpOf<A>::far
      ? scale_exponentials<A, false, capped>(z, tile.width, known.top, known.factor, cap, out)
      : scale_exponentials<A, true, capped>(z, tile.width, known.top, known.factor, cap, out);
  if (has_spread_truth(rows)) subtract_truth(rows, row, tile, out);
  set_entries(rows, row, out, tile);
}

template <class A>
void gradient(const Rows<A>& rows, const Tile<A>& tile, A* grad_out, i64 grad_step) {
  for (i64 row = tile.begin; row < tile.end; row++) {
    const A* z = tile.z + (row - tile.begin) * tile.step;
    A* out = grad_out + (row - tile.begin) * grad_step;
    rows.softcap != 0 ? gradient_row<A, true>(rows, row, z, tile, out)
                      : gradient_row<A, false>(rows, row, z, tile, out);
  }
}

// d loss / d base_c = class_weight_c (1 - smoothing) (lse - z_c), with the row's weight and the scale.
template <class A>
void target_gradient(const Rows<A>& rows, const Tile<A>& tile, A* target_out, i64 target_step) {
  for (i64 row = tile.begin; row < tile.end; row++) {
    const Row<A>& known = rows.row[row];
    const A* z = tile.z + (row - tile.begin) * tile.step;
    A* out = target_out + (row - tile.begin) * target_step;
    const double factor = known.truth * (1.0 - rows.smoothing);
    for (i64 c = 0; c < tile.width; c++) {
      const double weight = rows.class_weight == nullptr ? 1.0 : double(rows.class_weight[tile.first + c]);
      out[c] = A(factor * weight * (exact_difference(double(known.top), double(z[c])) + known.log_part));
    }
  }
}

template <class A>
void column_sums(const Tile<A>& tile, double* sum) {
  for (i64 row = 0; row < tile.end - tile.begin; row++) {
    const A* z = tile.z + row * tile.step;
#pragma omp simd
    for (i64 c = 0; c < tile.width; c++) sum[c] += double(z[c]);
  }
}

// tanh(x) = -e / (2 + e) with e = exp(-2|x|) - 1, which keeps its digits where x is small.
inline double tanh_of(double x) {
  const double d = -2.0 * absolute(x);
  double p;
  i64 n;
  ExpDouble::parts(d < -80.0 ? -80.0 : d, 0.0, p, n);
  const double power = bits_as<double>((n + 1023) << 52);
  const double e = power * p + (power - 1.0);
  const double size = -e / (2.0 + e);
  return x < 0 ? -size : x == x ? size : x;
}

template <class A>
void finish(const Tile<A>& tile, const A* bias, double softcap) {
  for (i64 row = 0; row < tile.end - tile.begin; row++) {
    A* z = tile.z + row * tile.step;
    if (bias != nullptr) {
#pragma omp simd
      for (i64 c = 0; c < tile.width; c++) z[c] += bias[tile.first + c];
    }
    if (softcap != 0) {
#pragma omp simd
      for (i64 c = 0; c < tile.width; c++) z[c] = A(softcap * tanh_of(double(z[c]) / softcap));
    }
  }
}

}  // namespace head

template <class A>
constexpr crossent::head::Kernels<A> head_kernels() {
  return {head::finish<A>,      head::survey<A>, head::conclude<A>, head::gradient<A>, head::target_gradient<A>,
          head::column_sums<A>, head::thin<A>,   head::widen<A>,    head::narrow<A>};
}

}  // namespace
