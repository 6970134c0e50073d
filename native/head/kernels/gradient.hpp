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

template <class A, bool far>
inline void scale_exponentials(const A* z, i64 width, A m, double factor, A* out) {
  using Vector = typename VectorOf<A>::type;
  using Exp = ExpOf<A>;
  constexpr int lanes = VectorOf<A>::lanes;
  const Vector top = Vector{} + m, floor = top + Exp::floor;
  const LoweringFactor<A> by(factor);
  const i64 whole = width / lanes * lanes;
  for_vectors(z, width, -A(kInf), [&](Vector x, i64 c) {
    Vector g = far ? exp_of_difference(x, top) * Exp::raise : raised_exp_of_difference(x, top, floor);
    g = g * by.factor * by.power;
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
  for (i64 j = 0; j < rows.entries; j++) {
    const i64 at = row * rows.entries + j, c = rows.entry_class[at] - tile.first;
    if (c >= 0 && c < tile.width) grad[c] = A(rows.entry_grad[at]);
  }
  const i64 leader = known.leader - tile.first;
  if (leader >= 0 && leader < tile.width) grad[leader] = A(known.at_leader);
}

template <class A>
void gradient(const Rows<A>& rows, const Tile<A>& tile, A* grad_out, i64 grad_step) {
  for (i64 row = tile.begin; row < tile.end; row++) {
    const Row<A>& known = rows.row[row];
    const A* z = tile.z + (row - tile.begin) * tile.step;
    A* out = grad_out + (row - tile.begin) * grad_step;
    absolute(known.top) <= ExpOf<A>::far ? scale_exponentials<A, false>(z, tile.width, known.top, known.factor, out)
                                         : scale_exponentials<A, true>(z, tile.width, known.top, known.factor, out);
    if (has_spread_truth(rows)) subtract_truth(rows, row, tile, out);
    set_entries(rows, row, out, tile);
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

template <class A>
void add_bias(const Tile<A>& tile, const A* bias) {
  for (i64 row = 0; row < tile.end - tile.begin; row++) {
    A* z = tile.z + row * tile.step;
#pragma omp simd
    for (i64 c = 0; c < tile.width; c++) z[c] += bias[tile.first + c];
  }
}

struct Tanh {
  double value, slope;
};

// With e = exp(-2|x|): tanh |x| = (1 - e) / (1 + e), 1 - e kept exact where x is small, and the slope 4 e / (1 + e)²,
// as 1 - tanh² loses its digits where x is large.
inline Tanh tanh_of(double x) {
  using Exp = ExpDouble;
  const double d = -2.0 * absolute(x);
  double p;
  i64 n;
  Exp::parts(d < Exp::lowest ? Exp::lowest : d, 0.0, p, n);
  const double power = bits_as<double>((n + (1023 + Exp::kRaise)) << 52);
  const double e = (power * p + power) * Exp::lower, short_of_1 = (power * p + (power - Exp::raise)) * Exp::lower;
  const double inverse = 1.0 / (1.0 + e), twice = 2.0 * inverse;
  const double size = -short_of_1 * inverse;
  return {x < 0 ? -size : x == x ? size : x, e * (twice * twice)};
}

template <class A, bool sloped>
void cap_rows(const Tile<A>& tile, double softcap, A* capped_out, A* slope_out, i64 step) {
  const double inverse = 1.0 / softcap;
  for (i64 row = 0; row < tile.end - tile.begin; row++) {
    const A* z = tile.z + row * tile.step;
    A* out = capped_out + row * step;
    A* slope = sloped ? slope_out + row * step : nullptr;
#pragma omp simd
    for (i64 c = 0; c < tile.width; c++) {
      const Tanh tanh = tanh_of(double(z[c]) * inverse);
      out[c] = A(softcap * tanh.value);
      if constexpr (sloped) slope[c] = A(tanh.slope);
    }
  }
}

template <class A>
void cap(const Tile<A>& tile, double softcap, A* capped_out, A* slope_out, i64 step) {
  slope_out == nullptr ? cap_rows<A, false>(tile, softcap, capped_out, nullptr, step)
                       : cap_rows<A, true>(tile, softcap, capped_out, slope_out, step);
}

}  // namespace head

template <class A>
constexpr crossent::head::Kernels<A> head_kernels() {
  return {head::add_bias<A>,        head::cap<A>,         head::survey<A>, head::conclude<A>, head::gradient<A>,
          head::target_gradient<A>, head::column_sums<A>, head::thin<A>,   head::widen<A>,    head::narrow<A>};
}

}  // namespace
