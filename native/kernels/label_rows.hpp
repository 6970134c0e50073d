// Loss and gradient of rows whose truth is a label: a row at a time, classes across the vector lanes.
// Three passes over a row, the last two while it is in cache: the largest rival, the exponentials, the scaling.
#pragma once

#include "../job.hpp"
#include "blocks.hpp"
#include "label_scalars.hpp"

namespace {

constexpr i64 kTileBytes = 8192;
constexpr i64 kStagedBytes = 1024;  // of a row: in longer ones another pass costs more than vectors across lines

// Rows worked on together: as many as stay in the first-level cache between the second and the third pass.
template <class A>
inline int tile_rows(i64 classes) {
  const i64 fit = kTileBytes / (classes * i64(sizeof(A)));
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
  alignas(64) A staging[kTileBytes / sizeof(A)];  // tile_rows(classes) rows
  alignas(64) A tails[kTile][kPad];               // of the logits, then of the exponentials
  LabelScalars scalars;
  A rival[kTile];
  bool raised[kTile];  // the row's exponentials are 2^64 times what they should be

  i64 ahead;  // how many rows ahead memory is asked for

  LabelRows(const crossent::LabelJob& job, void* scratch)
      : job(job), scratch(static_cast<A*>(scratch)), ahead(rows_ahead(job.classes)) {}

  // The next tile; a long row is fetched well by the hardware, and another one would push it out of the cache.
  static i64 rows_ahead(i64 classes) { return classes * i64(sizeof(Stored)) > 65536 ? 0 : tile_rows<A>(classes); }

  const Stored* logits(i64 row) const { return static_cast<const Stored*>(job.logits) + row * job.logits_step; }
  Stored* grad(i64 row) const { return static_cast<Stored*>(job.grad) + row * job.grad_step; }

  // Where a row's exponentials wait for their factor: short rows in a buffer whose vectors are aligned, which rows of
  // any length are not; long ones in the gradient, or in scratch where that is narrower.
  A* exponentials(i64 row, int slot) {
    if (staged()) return staging + slot * body_of(job.classes);
    if constexpr (narrow)
      return scratch + slot * body_of(job.classes);
    else
      return grad(row);
  }

  bool staged() const { return job.classes * i64(sizeof(A)) <= kStagedBytes; }

  // Whether exponentials need no guards; see block_exp_raised.
  bool plain(A m, double weight) const {
    if constexpr (sizeof(A) == 8)
      return false;
    else
      return absolute(m) <= 0x1p24 && absolute(weight * job.scale) <= 1 && job.z_loss == 0;
  }

  static void run_exp(const A* z, int lanes, A m, A* e, bool guarded) {
    if constexpr (sizeof(A) == 4) {
      guarded ? block_exp(z, lanes, m, e) : block_exp_raised(z, lanes, m, m - 120.0f, e);
    } else {
      (void)guarded;
      block_exp(z, lanes, m, e);
    }
  }

  // exp(z_c - m) for the classes but the label: the body's into `e` if that is given, the tail's in place. Their sum.
  double exponentiate(const Stored* z, i64 label, A m, A* e, A* tail, bool guarded) {
    LaneSum<A, false> sum;
    for_blocks<S>(z, job.classes, tail, values, [&](i64 start, const A* block, int lanes, int skip) {
      A* out = skip > 0 ? tail : e != nullptr ? e + start : results;
      // The label's own exponential may be anything, inf and NaN too: it is replaced before anyone looks at it, and in
      // a register, as a vector load would have to wait for a single number stored before.
      const bool here = label >= start + skip && label < start + lanes;
      const int before = here ? int(label - start) / kPad * kPad : lanes;
      run_exp(block, before, m, out, guarded);
      if (here) {
        const int at = int(label - start) - before;
        alignas(64) A lane[kPad];
        run_exp(block + before, kPad, m, lane, guarded);
#pragma omp simd
        for (int j = 0; j < kPad; j++) out[before + j] = j == at ? A(0) : lane[j];
        run_exp(block + before + kPad, lanes - before - kPad, m, out + before + kPad, guarded);
      }
      sum.add(out, lanes);
      if (ahead > 0) ask_for(z + ahead * job.logits_step + start, lanes);
    });
    return guarded ? sum.value() : sum.value() * ExpOf<A>::lower;
  }

  // A rival at +inf: the limit is a prediction that is 1 there, and no prediction at all for several of them.
  double exponentiate_infinite(const Stored* z, i64 label, A* e, A* tail) {
    double found = 0;
    const i64 body = body_of(job.classes);
    for (int j = 0; j < kPad; j++) tail[j] = 0;
    for (i64 c = 0; c < job.classes; c++) {
      const A value = S::load(z[c]);
      const bool hit = c != label && value == A(kInf);
      const A result = value != value ? value : A(hit);
      if (c >= body) tail[c - (job.classes - kPad)] = result;
      if (c < body && e != nullptr) e[c] = result;
      found += hit ? 1 : (value != value ? double(value) : 0);
    }
    return found == 1 ? found : __builtin_nan("");
  }

  // First pass of one row: its label's logit, the largest of the others, and what separates them.
  void find_rival(i64 row, int slot) {
    const Stored* z = logits(row);
    const A target = S::load(z[job.label[row]]);
    TopTwo<A> top;
    if (body_of(job.classes) < job.classes) load_tail<S>(z, job.classes, tails[slot]);
    for_blocks<S>(z, job.classes, tails[slot], values,
                  [&](i64, const A* block, int lanes, int) { top.take(block, lanes); });
    const A largest = top.rival_of(target);
    A d, rest;
    two_sum(largest, -target, d, rest);
    scalars.weight[slot] = job.row_weight != nullptr ? job.row_weight[row] : 1.0;
    scalars.target_logit[slot] = target;
    scalars.rival[slot] = rival[slot] = largest;
    scalars.difference[slot] = sizeof(A) == 4 ? double(largest) - double(target) : double(d);
    scalars.rival_rest[slot] = sizeof(A) == 4 || !(absolute(d) < __builtin_inf()) ? 0.0 : double(rest);
  }

  // Second pass: the exponentials and their sum.
  void exponentiate(i64 row, int slot) {
    const Stored* z = logits(row);
    const A m = rival[slot];
    A* e = job.grad != nullptr ? exponentials(row, slot) : nullptr;
    raised[slot] = plain(m, scalars.weight[slot]);
    if (m == A(kInf)) {
      scalars.sum[slot] = exponentiate_infinite(z, job.label[row], e, tails[slot]);
    } else {
      // With every rival at -inf any finite m gives exponentials of 0.
      const A finite = m == -A(kInf) ? A(0) : m;
      scalars.sum[slot] = exponentiate(z, job.label[row], finite, e, tails[slot], !raised[slot]);
    }
  }

  // e_c · factor into the gradient; the entry at the label is minus the sum of the others as they were rounded, so that
  // a row sums to zero. In the subnormal range their rounding is no longer relative: there it has its own formula.
  void scale(i64 row, int slot) {
    Stored* g = grad(row);
    A* e = exponentials(row, slot);
    const i64 body = body_of(job.classes);
    // Lowered by 2^64 the factor may be too small a float: then the exponentials are lowered first.
    const double exact = scalars.others_factor[slot];
    const bool lower_first = raised[slot] && absolute(exact) < 0x1p-60;
    if (lower_first) {
      for (i64 c = 0; c < body; c++) e[c] *= ExpOf<A>::lower;
      for (int j = 0; j < kPad; j++) tails[slot][j] *= ExpOf<A>::lower;
    }
    const A factor = A(raised[slot] && !lower_first ? exact * ExpOf<A>::lower : exact);
    LaneSum<A, true> sum;
    for (i64 start = 0; start < body; start += kBlock) {
      const int count = int(smaller<i64>(kBlock, body - start));
      A* entries = e + start;
#pragma omp simd
      for (int j = 0; j < count; j++) entries[j] *= factor;
      sum.add(entries, count);
      if (narrow || staged()) {
#pragma omp simd
        for (int j = 0; j < count; j++) g[start + j] = S::store(entries[j]);
      }
    }
    if (body < job.classes) {
      A* tail = tails[slot];
#pragma omp simd
      for (int j = 0; j < kPad; j++) tail[j] *= factor;
      sum.add(tail, kPad);
      const int skip = tail_skip(job.classes);
      alignas(64) Stored stored[kPad];
#pragma omp simd
      for (int j = 0; j < kPad; j++) stored[j] = S::store(tail[j]);
      __builtin_memcpy(g + body, stored + skip, std::size_t(kPad - skip) * sizeof(Stored));
    }
    const double tiny = sizeof(A) == 4 ? 0x1p-120 : 0x1p-1016;
    const double direct = scalars.target_grad[slot];
    const bool summed = job.z_loss == 0 && absolute(direct) > tiny;
    g[job.label[row]] = S::store(A(summed ? -sum.value() : direct + scalars.target_z[slot]));
  }

  // Rows that are not kept: ignored, or of weight 0. They must not meet their own logits, which may be NaN.
  bool kept(i64 row) const { return job.label[row] >= 0 && (job.row_weight == nullptr || job.row_weight[row] != 0); }

  // Whether kTile rows from `first` on are all kept.
  bool all_kept(i64 first) const {
    int out = 0;
    const i64* label = job.label + first;
#pragma omp simd reduction(| : out)
    for (int i = 0; i < kTile; i++) out |= label[i] < 0 ? 1 : 0;
    for (int i = 0; i < kTile && job.row_weight != nullptr; i++) out |= job.row_weight[first + i] == 0 ? 1 : 0;
    return out == 0;
  }

  void leave_out(i64 row) {
    if (job.loss != nullptr) static_cast<Stored*>(job.loss)[row] = Stored(0);
    for (i64 c = 0; job.grad != nullptr && c < job.classes; c++) grad(row)[c] = Stored(0);
  }

  double run(i64 begin, i64 end) {
    ExactishSum<double> total;
    i64 rows[kTile];
    for (i64 row = begin; row < end;) {
      int filled = 0;
      for (; row < end && filled < tile_rows<A>(job.classes); row++) {
        if (kept(row))
          rows[filled++] = row;
        else
          leave_out(row);
      }
      // Pass by pass over all rows of the tile: their chains of dependent steps overlap.
      for (int slot = 0; slot < filled; slot++) find_rival(rows[slot], slot);
      for (int slot = 0; slot < filled; slot++) exponentiate(rows[slot], slot);
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
