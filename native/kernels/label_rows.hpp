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
  using Computed = typename ComputedAs<A>::Type;

  const crossent::LabelJob& job;
  A* scratch;
  alignas(64) A values[kBlock];
  alignas(64) A results[kBlock];
  LabelScalars scalars;
  bool raised[kTile];  // the row's exponentials are 2^64 times what they should be

  i64 ahead;  // how many rows ahead memory is asked for

  LabelRows(const crossent::LabelJob& job, void* scratch)
      : job(job), scratch(static_cast<A*>(scratch)), ahead(rows_ahead(job.classes)) {}

  // Some 4 KiB; a long row is fetched well by the hardware, and another one would push it out of the cache.
  static i64 rows_ahead(i64 classes) {
    const i64 bytes = classes * i64(sizeof(Stored));
    return bytes > 65536 ? 0 : 1 + 4096 / bytes;
  }

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
    for_blocks<S>(z, job.classes, values, [&](i64 start, const A* block, int lanes, int skip) {
      A* out = e != nullptr && skip == 0 ? e + start : results;
      if constexpr (sizeof(A) == 4) {
        guarded ? block_exp(block, lanes, m, out) : block_exp_raised(block, lanes, m, m - 120.0f, out);
      } else {
        block_exp(block, lanes, m, out);
      }
      // The label's own exponential may be anything, inf and NaN too: it is replaced before anyone looks at it.
      if (label >= start + skip && label < start + lanes) out[label - start] = 0;
      sum.add(out, lanes);
      if (ahead > 0) ask_for(z + ahead * job.logits_step + start, lanes);
      if (e != nullptr && skip > 0) store_tail(results, job.classes, skip, e);
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
                  [&](i64, const A* block, int lanes, int) { top.take(block, lanes); });
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
    if (body < job.classes) {
      const int skip = kPad - int(job.classes - body);
      load_tail<Computed>(e, job.classes, skip, A(0), results);
#pragma omp simd
      for (int j = 0; j < kPad; j++) results[j] *= factor;
      sum.add(results, kPad);
      if constexpr (narrow) {
        for (int j = skip; j < kPad; j++) g[job.classes - kPad + j] = S::store(results[j]);
      } else {
        store_tail(results, job.classes, skip, reinterpret_cast<A*>(g));
      }
    }
    const double tiny = sizeof(A) == 4 ? 0x1p-100 : 0x1p-960;
    const double direct = scalars.target_grad[slot];
    const bool summed = job.z_loss == 0 && absolute(direct) > tiny;
    g[job.label[row]] = S::store(A(summed ? -sum.value() : direct + scalars.target_z[slot]));
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
