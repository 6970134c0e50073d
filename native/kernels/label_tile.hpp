// Loss and gradient of rows whose truth is a label, for few classes: many rows across the vector lanes.
// A tile of rows is turned on its side, so that one class of all its rows is contiguous; every pass then runs down the
// classes with no sum across lanes. Same formulas as label_rows.hpp.
#pragma once

#include "label_rows.hpp"

namespace {

constexpr i64 kFewClasses = 48;  // up to here turning a tile costs less than the lanes that a short row leaves empty

template <class S>
struct LabelTile {
  using Stored = typename S::Stored;
  using A = typename S::Compute;

  const crossent::LabelJob& job;
  LabelRows<S> row_kernel;  // for the rows that the lanes cannot treat alike
  i64 rows[kTile];          // the row in each lane
  int filled = 0;           // lanes in use; the rest repeat the first
  alignas(64) A tile[kFewClasses][kTile];
  alignas(64) A largest[kTile];
  LabelScalars scalars;
  bool all_finite = true;  // of `largest`
  ExactishSum<double> total;

  LabelTile(const crossent::LabelJob& job, void* scratch) : job(job), row_kernel(job, scratch) {}

  void load() {
    const i64 classes = job.classes;
    for (int i = filled; i < kTile; i++) rows[i] = rows[0];
    const Stored* z = row_kernel.logits(rows[0]);
    if (consecutive()) {
      for (i64 c = 0; c < classes; c++)
        for (int i = 0; i < kTile; i++) tile[c][i] = S::load(z[i * job.logits_step + c]);
      ask_for(z + 4 * kTile * job.logits_step, int(kTile * classes));
    } else {
      for (int i = 0; i < kTile; i++)
        for (i64 c = 0; c < classes; c++) tile[c][i] = S::load(row_kernel.logits(rows[i])[c]);
    }
    for (int i = 0; i < kTile; i++) {
      A& target = tile[job.label[rows[i]]][i];
      scalars.target_logit[i] = target;
      target = -A(kInf);
      scalars.weight[i] = job.row_weight != nullptr ? job.row_weight[rows[i]] : 1.0;
    }
    for (int i = 0; i < kTile; i++) largest[i] = -A(kInf);
    for (i64 c = 0; c < classes; c++)
#pragma omp simd
      for (int i = 0; i < kTile; i++) largest[i] = tile[c][i] > largest[i] ? tile[c][i] : largest[i];
  }

  void exponentiate() {
    alignas(64) double hi[kTile] = {}, lo[kTile] = {};
    for (i64 c = 0; c < job.classes; c++) {
#pragma omp simd
      for (int i = 0; i < kTile; i++) tile[c][i] = exp_of_difference(tile[c][i], largest[i]);
      add_lanes(tile[c], hi, lo);
    }
#pragma omp simd
    for (int i = 0; i < kTile; i++) {
      double d, rest;
      two_sum(double(largest[i]), -scalars.target_logit[i], d, rest);
      scalars.sum[i] = hi[i] + lo[i];
      scalars.rival[i] = largest[i];
      scalars.difference[i] = d;
      scalars.rival_rest[i] = absolute(d) < __builtin_inf() ? rest : 0.0;
    }
  }

  // A double sum of floats needs no compensation at this length; a double sum of doubles gets it.
  static void add_lanes(const A* x, double* hi, double* lo) {
#pragma omp simd
    for (int i = 0; i < kTile; i++) {
      if constexpr (sizeof(A) == 4) {
        hi[i] += double(x[i]);
      } else {
        double rest;
        two_sum(hi[i], x[i], hi[i], rest);
        lo[i] += rest;
      }
    }
  }

  void scale() {
    alignas(64) double hi[kTile] = {}, lo[kTile] = {};
    alignas(64) A factor[kTile], target[kTile];
#pragma omp simd
    for (int i = 0; i < kTile; i++) factor[i] = A(scalars.others_factor[i]);
    for (i64 c = 0; c < job.classes; c++) {
#pragma omp simd
      for (int i = 0; i < kTile; i++) tile[c][i] = tile[c][i] * factor[i];
      add_lanes(tile[c], hi, lo);
    }
    const double tiny = sizeof(A) == 4 ? 0x1p-120 : 0x1p-1016;
    const bool may_sum = job.z_loss == 0;
#pragma omp simd
    for (int i = 0; i < kTile; i++) {
      const double direct = scalars.target_grad[i];
      const bool summed = may_sum && absolute(direct) > tiny;
      target[i] = A(summed ? -(hi[i] + lo[i]) : direct + scalars.target_z[i]);
    }
    for (int i = 0; i < kTile; i++) tile[job.label[rows[i]]][i] = target[i];
    Stored* g = row_kernel.grad(rows[0]);
    if (all_finite && filled == kTile && consecutive()) {
      for (i64 c = 0; c < job.classes; c++)
        for (int i = 0; i < kTile; i++) g[i * job.grad_step + c] = S::store(tile[c][i]);
    } else {
      for (int i = 0; i < filled; i++)
        for (i64 c = 0; c < job.classes && finite(i); c++) row_kernel.grad(rows[i])[c] = S::store(tile[c][i]);
    }
  }

  // Whether a lane's memory is found without a pointer of its own: the common case.
  bool consecutive() const { return rows[kTile - 1] - rows[0] == kTile - 1; }

  // Rivals at +inf, or all at -inf, are the row kernel's: there, what a row gives does not depend on its neighbours.
  bool finite(int i) const { return largest[i] < A(kInf) && largest[i] > -A(kInf); }

  void flush() {
    if (filled == 0) return;
    load();
    int unfit = 0;
#pragma omp simd reduction(| : unfit)
    for (int i = 0; i < kTile; i++) unfit |= largest[i] < A(kInf) && largest[i] > -A(kInf) ? 0 : 1;
    all_finite = unfit == 0;
    exponentiate();
    label_scalars(scalars, job.scale, job.z_loss);
    if (job.grad != nullptr) scale();
    for (int i = 0; i < filled; i++) {
      if (!all_finite && !finite(i)) {
        total.add(row_kernel.run(rows[i], rows[i] + 1));
        continue;
      }
      total.add(scalars.loss[i]);
      if (job.loss != nullptr) static_cast<Stored*>(job.loss)[rows[i]] = S::store(A(scalars.loss[i]));
    }
    filled = 0;
  }

  double run(i64 begin, i64 end) {
    for (i64 row = begin; row < end;) {
      if (filled == 0 && row + kTile <= end && row_kernel.all_kept(row)) {
        for (; filled < kTile; filled++) rows[filled] = row++;
      } else if (row_kernel.kept(row)) {
        rows[filled++] = row++;
      } else {
        row_kernel.leave_out(row++);
      }
      if (filled == kTile) flush();
    }
    flush();
    return total.value();
  }
};

template <class S>
double label_kernel(const crossent::LabelJob& job, i64 begin, i64 end, void* scratch) {
  if (job.classes <= kFewClasses) return LabelTile<S>(job, scratch).run(begin, end);
  return LabelRows<S>(job, scratch).run(begin, end);
}

}  // namespace
