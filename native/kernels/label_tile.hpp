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
  LabelRows<S> row_kernel;  // for tiles with rows that the lanes cannot treat alike
  alignas(64) A tile[kFewClasses][kTile];
  alignas(64) A largest[kTile];
  LabelScalars scalars;

  LabelTile(const crossent::LabelJob& job, void* scratch) : job(job), row_kernel(job, scratch) {}

  // Rows all kept, and none with a logit at +inf among the rivals: the rest is the row kernel's.
  bool load(i64 first) {
    const i64 classes = job.classes;
    const Stored* z = static_cast<const Stored*>(job.logits) + first * job.logits_step;
    for (int i = 0; i < kTile; i++)
      if (job.label[first + i] < 0 || (job.row_weight != nullptr && job.row_weight[first + i] == 0)) return false;
    for (i64 c = 0; c < classes; c++)
      for (int i = 0; i < kTile; i++) tile[c][i] = S::load(z[i * job.logits_step + c]);
    for (int i = 0; i < kTile; i++) {
      A& target = tile[job.label[first + i]][i];
      scalars.target_logit[i] = target;
      target = -A(kInf);
      scalars.weight[i] = job.row_weight != nullptr ? job.row_weight[first + i] : 1.0;
    }
    alignas(64) A m[kTile];
    for (int i = 0; i < kTile; i++) m[i] = -A(kInf);
    for (i64 c = 0; c < classes; c++)
#pragma omp simd
      for (int i = 0; i < kTile; i++) m[i] = tile[c][i] > m[i] ? tile[c][i] : m[i];
    bool finite = true;
    for (int i = 0; i < kTile; i++) {
      largest[i] = m[i];
      finite = finite && m[i] < A(kInf) && m[i] > -A(kInf);
    }
    return finite;
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

  void scale(i64 first) {
    alignas(64) double hi[kTile] = {}, lo[kTile] = {};
    alignas(64) A factor[kTile], target[kTile];
#pragma omp simd
    for (int i = 0; i < kTile; i++) factor[i] = A(scalars.others_factor[i]);
    for (i64 c = 0; c < job.classes; c++) {
#pragma omp simd
      for (int i = 0; i < kTile; i++) tile[c][i] = tile[c][i] * factor[i];
      add_lanes(tile[c], hi, lo);
    }
    const double tiny = sizeof(A) == 4 ? 0x1p-100 : 0x1p-960;
    const bool may_sum = job.z_loss == 0;
#pragma omp simd
    for (int i = 0; i < kTile; i++) {
      const double direct = scalars.target_grad[i];
      const bool summed = may_sum && absolute(direct) > tiny;
      target[i] = A(summed ? -(hi[i] + lo[i]) : direct + scalars.target_z[i]);
    }
    Stored* g = static_cast<Stored*>(job.grad) + first * job.grad_step;
    for (int i = 0; i < kTile; i++) tile[job.label[first + i]][i] = target[i];
    for (int i = 0; i < kTile; i++)
      for (i64 c = 0; c < job.classes; c++) g[i * job.grad_step + c] = S::store(tile[c][i]);
  }

  double run(i64 begin, i64 end) {
    ExactishSum<double> total;
    i64 first = begin;
    for (; first + kTile <= end; first += kTile) {
      if (!load(first)) {
        total.add(row_kernel.run(first, first + kTile));
        continue;
      }
      exponentiate();
      label_scalars(scalars, job.scale, job.z_loss);
      for (int i = 0; i < kTile; i++) {
        total.add(scalars.loss[i]);
        if (job.loss != nullptr) static_cast<Stored*>(job.loss)[first + i] = S::store(A(scalars.loss[i]));
      }
      if (job.grad != nullptr) scale(first);
    }
    if (first < end) total.add(row_kernel.run(first, end));
    return total.value();
  }
};

template <class S>
double label_kernel(const crossent::LabelJob& job, i64 begin, i64 end, void* scratch) {
  if (job.classes <= kFewClasses) return LabelTile<S>(job, scratch).run(begin, end);
  return LabelRows<S>(job, scratch).run(begin, end);
}

}  // namespace
