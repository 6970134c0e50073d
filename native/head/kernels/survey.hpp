// First pass over a tile of logits: the largest, and what is left to the other classes.
#pragma once

#include "../../kernels/vectors.hpp"
#include "../../kernels/exp_log.hpp"
#include "../job.hpp"

namespace {

namespace head {

using crossent::head::Row;
using crossent::head::Rows;
using crossent::head::Statistics;
using crossent::head::Tile;

// Calls visit(vector, c) for all classes of a row, the last vector filled up with `fill`.
template <class A, class Visit>
inline void for_vectors(const A* z, i64 width, A fill, Visit visit) {
  constexpr int lanes = VectorOf<A>::lanes;
  const i64 whole = width / lanes * lanes;
  for (i64 c = 0; c < whole; c += lanes) visit(vector_at(z + c), c);
  if (whole < width) {
    alignas(64) A rest[lanes];
    for (int j = 0; j < lanes; j++) rest[j] = whole + j < width ? z[whole + j] : fill;
    visit(vector_at(rest), whole);
  }
}

template <class A>
inline A largest(const A* z, i64 width) {
  using Vector = typename VectorOf<A>::type;
  Vector top = Vector{} - A(kInf);
  for_vectors(z, width, -A(kInf), [&](Vector x, i64) { top = larger(top, x); });
  return largest_lane(top);
}

template <class A>
inline i64 place_of(const A* z, i64 width, A value) {
  constexpr i64 kStep = 64;  // looked at together, without a branch for each
  i64 start = 0;
  for (; start + kStep <= width; start += kStep) {
    int found = 0;
#pragma omp simd reduction(| : found)
    for (i64 c = start; c < start + kStep; c++) found |= z[c] == value ? 1 : 0;
    if (found != 0) break;
  }
  for (i64 c = start; c < width; c++)
    if (z[c] == value) return c;
  return 0;  // all are NaN: the row's result is NaN whichever leads
}

// Σ exp(z_c - m) over logits of which none is above m.
template <class A, bool far>
inline double sum_of_exponentials(const A* z, i64 width, A m) {
  using Vector = typename VectorOf<A>::type;
  using Exp = ExpOf<A>;
  constexpr i64 kFold = 256 * VectorOf<A>::lanes;
  const Vector top = Vector{} + m, floor = top + Exp::floor;
  SumBelow<A> sum(Exp::raise);
  for_vectors(z, width, -A(kInf), [&](Vector x, i64 c) {
    sum.add(far ? exp_of_difference(x, top) * Exp::raise : raised_exp_of_difference(x, top, floor));
    if ((c + VectorOf<A>::lanes) % kFold == 0) sum.fold();
  });
  return sum.value() * Exp::lower;
}

inline double exact_difference(double a, double b) {
  double d, rest;
  two_sum(a, -b, d, rest);
  return absolute(d) < __builtin_inf() ? d + rest : d;
}

// p of one class, without sparse entries.
template <class A>
inline double spread_truth(const Rows<A>& rows, i64 row, i64 c) {
  const double base = rows.probs == nullptr ? 0.0 : double(rows.probs[row * rows.probs_step + c]);
  const double weight = rows.class_weight == nullptr ? 1.0 : double(rows.class_weight[c]);
  return weight * ((1.0 - rows.smoothing) * base + rows.smoothing / double(rows.classes));
}

template <class A>
inline double entry_truth(const Rows<A>& rows, i64 row, i64 j) {
  const i64 at = row * rows.entries + j;
  const double weight = rows.class_weight == nullptr ? 1.0 : double(rows.class_weight[rows.entry_class[at]]);
  return weight * (1.0 - rows.smoothing) * (rows.entry_value == nullptr ? 1.0 : rows.entry_value[at]);
}

template <class A>
inline bool has_spread_truth(const Rows<A>& rows) {
  return rows.probs != nullptr || rows.smoothing != 0;
}

// Σ p (m - z) and Σ p over all classes but the leader. A class with p = 0 contributes nothing, even at z = -inf.
template <class A>
inline void add_truth(const Rows<A>& rows, i64 row, const A* z, const Tile<A>& tile, Statistics<A>& found) {
  double dot = 0, mass = 0;
  const double keep = 1.0 - rows.smoothing, spread = rows.smoothing / double(rows.classes);
  const A* base = rows.probs == nullptr ? nullptr : rows.probs + row * rows.probs_step + tile.first;
  const A* weight = rows.class_weight == nullptr ? nullptr : rows.class_weight + tile.first;
  const i64 leader = found.leader - tile.first;
  const double m = double(found.top);
#pragma omp simd reduction(+ : dot, mass)
  for (i64 c = 0; c < tile.width; c++) {
    const double any = (base == nullptr ? 0.0 : keep * double(base[c])) + spread;
    const double p = c == leader ? 0.0 : (weight == nullptr ? any : any * double(weight[c]));
    mass += p;
    dot += p > 0 ? p * (m - double(z[c])) : 0.0;
  }
  found.dot = dot;
  found.mass = mass;
  found.leader_mass = spread_truth(rows, row, found.leader);
}

template <class A>
inline double shrink(A from, A to) {
  return from == to ? 1.0 : exp_of_difference(double(from), double(to));
}

// `more` is of classes behind those of `so_far`.
template <class A>
inline void merge(Statistics<A>& so_far, const Statistics<A>& more) {
  if (more.leader < 0) return;
  if (so_far.leader < 0) {
    so_far = more;
    return;
  }
  const bool leads = !(more.top > so_far.top);
  const Statistics<A> high = leads ? so_far : more, low = leads ? more : so_far;
  so_far.top = high.top;
  so_far.leader = high.leader;
  // NaN logits have left a NaN sum, which stays; a tile without a finite logit adds nothing.
  const double factor = low.top == -A(kInf) ? 0.0 : shrink(low.top, high.top);
  so_far.sum = high.sum + (low.sum + 1.0) * factor;
  const double low_mass = low.mass + low.leader_mass;
  const double drop = low_mass > 0 ? low_mass * exact_difference(double(high.top), double(low.top)) : 0.0;
  so_far.mass = high.mass + low_mass;
  so_far.dot = high.dot + (low.dot + drop);
  so_far.leader_mass = high.leader_mass;
}

template <class A>
inline void survey_row(const Rows<A>& rows, i64 row, A* z, const Tile<A>& tile, Statistics<A>& into) {
  const A m = largest(z, tile.width);
  const i64 leader = place_of(z, tile.width, m);
  Statistics<A> found{m, std::int32_t(tile.first + leader), 0, 0, 0, 0};
  if (has_spread_truth(rows)) add_truth(rows, row, z, tile, found);
  for (i64 j = 0; j < rows.entries; j++) {
    const i64 at = row * rows.entries + j, c = rows.entry_class[at] - tile.first;
    if (c >= 0 && c < tile.width) rows.entry_logit[at] = z[c];
  }
  const A value = z[leader];
  z[leader] = -A(kInf);
  // With every logit at -inf any finite m gives exponentials of 0; NaN gives NaN.
  const A finite = m == -A(kInf) ? A(0) : m;
  found.sum = absolute(m) <= ExpOf<A>::far ? sum_of_exponentials<A, false>(z, tile.width, finite)
                                           : sum_of_exponentials<A, true>(z, tile.width, finite);
  if (value != value) found.sum = __builtin_nan("");
  z[leader] = value;
  merge(into, found);
}

template <class A>
void survey(const Rows<A>& rows, const Tile<A>& tile, i64 group) {
  for (i64 row = tile.begin; row < tile.end; row++)
    survey_row(rows, row, tile.z + (row - tile.begin) * tile.step, tile, rows.statistics[group * rows.count + row]);
}

}  // namespace head

}  // namespace
