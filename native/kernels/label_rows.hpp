// Loss and gradient of rows whose truth is a label: a row at a time, classes across the vector lanes.
// Three passes over a row, the last two while it is in cache: the largest rival, the exponentials, the scaling.
#pragma once

#include "../job.hpp"
#include "blocks.hpp"
#include "label_scalars.hpp"

namespace {

// Rows worked on together: as many as stay in the first-level cache between the second and the third pass.
template <class A>
inline int tile_rows(i64 classes) {
  const i64 fit = 16384 / (classes * i64(sizeof(A)));
  return int(fit < 1 ? 1 : fit > kTile ? kTile : fit);
}

template <class S>
struct LabelRows {
  using Stored = typename S::Stored;
  using A = typename S::Compute;
  static constexpr bool narrow = sizeof(Stored) < sizeof(A);

  const crossent::LabelJob& job;
  A* scratch;
  alignas(64) A values[kBlock];
  alignas(64) A results[kBlock];
  LabelScalars scalars;
  bool raised[kTile];  // the row's exponentials are 2^64 times what they should be

  LabelRows(const crossent::LabelJob& job, void* scratch) : job(job), scratch(static_cast<A*>(scratch)) {}

  const Stored* logits(i64 row) const { return static_cast<const Stored*>(job.logits) + row * job.logits_step; }
  Stored* grad(i64 row) const { return static_cast<Stored*>(job.grad) + row * job.grad_step; }

  // Where a row's exponentials wait for their factor: in its gradient, or in scratch where that is narrower.
  A* exponentials(i64 row, int slot) const {
    if constexpr (narrow)
      return scratch + slot * job.classes;
    else
      return grad(row);
  }

  // Whether exponentials need no guards; see block_exp_raised.
  bool plain(A m, double weight) const {
    if constexpr (sizeof(A) == 8)
      return false;
    else
      return absolute(m) <= 0x1p24 && absolute(weight * job.scale) <= 1 && job.z_loss == 0;
  }

  // exp(z_c - m) for the classes but the label, stored if `e` is given. Returns their sum.
  double exponentiate(const Stored* z, i64 label, A m, A* e, bool guarded) {
    LaneSum<A> sum;
    for_blocks<S>(z, job.classes, values, [&](i64 start, const A* block, int count, bool is_tail) {
      const int all = is_tail ? kPad : count;
      A* out = e != nullptr && !is_tail ? e + start : results;
      if constexpr (sizeof(A) == 4) {
        guarded ? block_exp(block, all, m, out) : block_exp_raised(block, all, m, m - 120.0f, out);
      } else {
        block_exp(block, all, m, out);
      }
      // The label's own exponential may be anything, inf and NaN too: it is replaced before anyone looks at it.
      if (label >= start && label < start + count) out[label - start] = 0;
      sum.add(out, all);
      if (e != nullptr && is_tail)
        for (int j = 0; j < count; j++) e[start + j] = out[j];
    });
    return guarded ? sum.value() : sum.value() * ExpOf<A>::lower;
  }

  // A rival at +inf: the limit is a prediction that is 1 there, and no prediction at all for several of them.
  double exponentiate_infinite(const Stored* z, i64 label, A* e) {
    double found = 0;
    for (i64 c = 0; c < job.classes; c++) {
      const A value = S::load(z[c]);
      const bool hit = c != label && value == A(kInf);
      if (e != nullptr) e[c] = value != value ? value : A(hit);
      found += hit ? 1 : (value != value ? double(value) : 0);
    }
    return found == 1 ? found : __builtin_nan("");
  }

  // First two passes of one row, into slot `slot` of the scalars.
  void measure(i64 row, int slot) {
    const Stored* z = logits(row);
    const i64 label = job.label[row];
    const A target = S::load(z[label]);
    TopTwo<A> top;
    for_blocks<S>(z, job.classes, values,
                  [&](i64, const A* block, int count, bool is_tail) { top.take(block, is_tail ? kPad : count); });
    const A largest = top.rival_of(target);
    A* e = job.grad != nullptr ? exponentials(row, slot) : nullptr;
    A d, rest;
    two_sum(largest, -target, d, rest);
    const double weight = job.row_weight != nullptr ? job.row_weight[row] : 1.0;
    raised[slot] = false;
    scalars.weight[slot] = weight;
    scalars.target_logit[slot] = target;
    scalars.rival[slot] = largest;
    scalars.difference[slot] = sizeof(A) == 4 ? double(largest) - double(target) : double(d);
    scalars.rival_rest[slot] = sizeof(A) == 4 || !(absolute(d) < __builtin_inf()) ? 0.0 : double(rest);
    if (largest == A(kInf)) {
      scalars.sum[slot] = exponentiate_infinite(z, label, e);
      return;
    }
    raised[slot] = plain(largest, weight);
    // With every rival at -inf any finite m gives exponentials of 0.
    scalars.sum[slot] = exponentiate(z, label, largest == -A(kInf) ? A(0) : largest, e, !raised[slot]);
  }

  // e_c · factor into the gradient; the entry at the label is minus the sum of the others as they were rounded, so that
  // a row sums to zero. In the subnormal range their rounding is no longer relative: there it has its own formula.
  void scale(i64 row, int slot) {
    Stored* g = grad(row);
    A* e = exponentials(row, slot);
    // Lowered by 2^64 the factor may be too small a float: then the exponentials are lowered first.
    const double exact = scalars.others_factor[slot];
    const bool lower_first = raised[slot] && absolute(exact) < 0x1p-60;
    if (lower_first)
      for (i64 c = 0; c < job.classes; c++) e[c] *= ExpOf<A>::lower;
    const A factor = A(raised[slot] && !lower_first ? exact * ExpOf<A>::lower : exact);
    LaneSum<A> sum;
    const i64 body = body_of(job.classes);
    for (i64 start = 0; start < body; start += kBlock) {
      const int count = int(smaller<i64>(kBlock, body - start));
      A* out = narrow ? results : reinterpret_cast<A*>(g) + start;
#pragma omp simd
      for (int j = 0; j < count; j++) out[j] = e[start + j] * factor;
      sum.add(out, count);
      if constexpr (narrow) {
#pragma omp simd
        for (int j = 0; j < count; j++) g[start + j] = S::store(out[j]);
      }
    }
    double rest = 0;
    for (i64 c = body; c < job.classes; c++) {
      const A entry = e[c] * factor;
      rest += double(entry);
      g[c] = S::store(entry);
    }
    const double tiny = sizeof(A) == 4 ? 0x1p-100 : 0x1p-960;
    const double direct = scalars.target_grad[slot];
    const bool summed = job.z_loss == 0 && absolute(direct) > tiny;
    g[job.label[row]] = S::store(A(summed ? -(sum.value() + rest) : direct + scalars.target_z[slot]));
  }

  void clear(i64 row) {
    if (job.grad == nullptr) return;
    for (i64 c = 0; c < job.classes; c++) grad(row)[c] = Stored(0);
  }

  double run(i64 begin, i64 end) {
    ExactishSum<double> total;
    i64 rows[kTile];
    for (i64 row = begin; row < end;) {
      int filled = 0;
      // Rows that take no part: ignored, or of weight 0. They must not meet their own logits, which may be NaN.
      for (; row < end && filled < tile_rows<A>(job.classes); row++) {
        const bool kept = job.label[row] >= 0 && (job.row_weight == nullptr || job.row_weight[row] != 0);
        if (kept) {
          rows[filled] = row;
          measure(row, filled++);
        } else {
          clear(row);
          if (job.loss != nullptr) static_cast<Stored*>(job.loss)[row] = Stored(0);
        }
      }
      fill_unused(filled);
      label_scalars(scalars, job.scale, job.z_loss);
      for (int slot = 0; slot < filled; slot++) {
        total.add(scalars.loss[slot]);
        if (job.loss != nullptr) static_cast<Stored*>(job.loss)[rows[slot]] = S::store(A(scalars.loss[slot]));
        if (job.grad != nullptr) scale(rows[slot], slot);
      }
    }
    return total.value();
  }

  void fill_unused(int filled) {
    for (int i = filled; i < kTile; i++) {
      scalars.target_logit[i] = scalars.rival[i] = scalars.rival_rest[i] = scalars.difference[i] = 0;
      scalars.sum[i] = scalars.weight[i] = 1;
    }
  }
};

}  // namespace
