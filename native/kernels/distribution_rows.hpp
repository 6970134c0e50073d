// Loss and gradient of rows whose truth is a distribution p of any mass P.
//
// With m the largest logit, at class k, e_c = exp(z_c - m) and s = Σ_{c≠k} e_c:
//   loss = Σ_{p_c>0} p_c (m - z_c) + P · log1p(s)            every term is non-negative
//   gradient at c  P e_c / (1 + s) - p_c      at k  Σ_{c≠k} p_c - P s / (1 + s)
// The entry at k, where the prediction may be 1 but for 1e-30, is thus formed from what is left to the others.
#pragma once

#include "../job.hpp"
#include "blocks.hpp"

namespace {

// The truth of one row, block by block.
template <class S>
struct Truth {
  using Stored = typename S::Stored;
  using A = typename S::Compute;

  const crossent::DistributionJob& job;
  alignas(64) A values[kBlock];

  explicit Truth(const crossent::DistributionJob& job) : job(job) {}

  // p of the classes start + j for the lanes from `skip` on, 0 before; class `left_out` (negative: none) as 0.
  const A* block(i64 row, i64 start, int lanes, int skip, i64 left_out) {
    for (int j = 0; j < skip; j++) values[j] = 0;
    if (job.probs != nullptr) {
      const i64 at = row * job.probs_step + start;
      if (job.probs_wide) {
        const A* p = static_cast<const A*>(job.probs) + at;
        for (int j = skip; j < lanes; j++) values[j] = p[j];
      } else {
        const Stored* p = static_cast<const Stored*>(job.probs) + at;
        for (int j = skip; j < lanes; j++) values[j] = S::load(p[j]);
      }
    } else {
      for (int j = skip; j < lanes; j++) values[j] = 0;
      const i64 label = job.rows.label[row] - start;
      if (label >= skip && label < lanes) values[label] = 1;
    }
    if (job.smoothing != 0) {
      const A keep = A(1.0 - job.smoothing), spread = A(job.smoothing / double(job.rows.classes));
#pragma omp simd
      for (int j = skip; j < lanes; j++) values[j] = values[j] * keep + spread;
    }
    if (job.class_weight != nullptr) {
      const A* w = static_cast<const A*>(job.class_weight) + start;
      for (int j = skip; j < lanes; j++) values[j] *= w[j];
    }
    if (left_out >= start + skip && left_out < start + lanes) values[left_out - start] = 0;
    return values;
  }
};

// Σ p (m - z) over p > 0, and Σ p. A class with p = 0 contributes nothing, even at z = -inf.
struct TruthSums {
  LaneSum<double> dot, mass;
  alignas(64) double terms[kBlock], masses[kBlock];

  template <class A>
  void add(const A* p, const A* z, int count, A m) {
#pragma omp simd
    for (int j = 0; j < count; j++) {
      double d, rest;
      two_sum(double(m), -double(z[j]), d, rest);
      d = absolute(d) < __builtin_inf() ? d + rest : d;
      terms[j] = p[j] > 0 ? double(p[j]) * d : 0.0;
      masses[j] = double(p[j]);
    }
    dot.add(terms, count);
    mass.add(masses, count);
  }
};

template <class S>
struct DistributionRows {
  using Stored = typename S::Stored;
  using A = typename S::Compute;
  static constexpr bool narrow = sizeof(Stored) < sizeof(A);

  const crossent::DistributionJob& job;
  const crossent::LabelJob& rows;
  A* scratch;
  alignas(64) A values[kBlock];
  alignas(64) A results[kBlock];
  alignas(64) A tail[kPad];
  Truth<S> truth;

  DistributionRows(const crossent::DistributionJob& job, void* scratch)
      : job(job), rows(job.rows), scratch(static_cast<A*>(scratch)), truth(job) {}

  const Stored* logits(i64 row) const { return static_cast<const Stored*>(rows.logits) + row * rows.logits_step; }
  Stored* grad(i64 row) const { return static_cast<Stored*>(rows.grad) + row * rows.grad_step; }

  static i64 index_of(const Stored* z, i64 classes, A value) {
    for (i64 c = 0; c < classes; c++)
      if (S::load(z[c]) == value) return c;
    return 0;  // every logit is NaN or -inf: the row's result is NaN whichever class leads
  }

  double row(i64 i) {
    const Stored* z = logits(i);
    const i64 classes = rows.classes;
    TopTwo<A> top;
    if (body_of(classes) < classes) load_tail<S>(z, classes, tail);
    for_blocks<S>(z, classes, tail, values, [&](i64, const A* block, int lanes, int) { top.take(block, lanes); });
    const A m = top.rival_of(__builtin_nanf(""));
    const i64 leader = index_of(z, classes, m);
    A* const e = rows.grad == nullptr ? nullptr : narrow ? scratch : reinterpret_cast<A*>(grad(i));

    LaneSum<A> sum;
    TruthSums of_others;
    for_blocks<S>(z, classes, tail, values, [&](i64 start, const A* block, int lanes, int skip) {
      const A* p = truth.block(i, start, lanes, skip, leader);
      of_others.add(p, block, lanes, m);
      block_exp(block, lanes, m, results);
      if (leader >= start + skip && leader < start + lanes) results[leader - start] = 0;
      sum.add(results, lanes);
      if (e != nullptr)
        for (int j = skip; j < lanes; j++) e[start + j] = results[j];
    });
    const double leader_mass = double(truth.block(i, leader, 1, 0, -1)[0]);
    const double others = of_others.mass.value();
    const double mass = others + leader_mass;
    const double s = m > -A(kInf) ? sum.value() : __builtin_nan("");
    const double log_part = log1p_nonnegative(s);
    const double lse = double(m) + log_part;
    const double weight = rows.row_weight != nullptr ? rows.row_weight[i] : 1.0;
    const double z_weight = job.z_weight != nullptr ? job.z_weight[i] : 1.0;
    const double z_term = rows.z_loss * z_weight == 0 ? 0.0 : rows.z_loss * z_weight * lse;
    if (rows.grad != nullptr) {
      const double w = weight * rows.scale;
      const double pull = mass + 2.0 * z_term;  // multiplies the prediction
      write_grad(i, leader, A(w * (pull / (1.0 + s))), A(w), e);
      // At the leader: from what is left to the others where that is less, and rounds less, than what is there.
      const double q = 1.0 / (1.0 + s);
      const double from_others = (others + 2.0 * z_term) - pull * (s * q);
      const double at_leader = w * (mass * q + leader_mass < mass ? pull * q - leader_mass : from_others);
      grad(i)[leader] = S::store(A(at_leader));
    }
    return weight *
           (of_others.dot.value() + (mass == 0 && s == s ? 0.0 : mass * log_part) + (z_term == 0 ? 0.0 : z_term * lse));
  }

  void write_grad(i64 i, i64 leader, A factor, A weight, const A* e) {
    Stored* g = grad(i);
    for (i64 start = 0; start < rows.classes; start += kBlock) {
      const int count = int(smaller<i64>(kBlock, rows.classes - start));
      const A* p = truth.block(i, start, count, 0, leader);
#pragma omp simd
      for (int j = 0; j < count; j++) results[j] = e[start + j] * factor - weight * p[j];
      for (int j = 0; j < count; j++) g[start + j] = S::store(results[j]);
    }
  }

  double run(i64 begin, i64 end) {
    ExactishSum<double> total;
    for (i64 i = begin; i < end; i++) {
      const bool ignored = job.probs == nullptr && rows.label[i] < 0;
      double loss = 0;
      if (ignored || (rows.row_weight != nullptr && rows.row_weight[i] == 0)) {
        if (rows.grad != nullptr)
          for (i64 c = 0; c < rows.classes; c++) grad(i)[c] = Stored(0);
      } else {
        loss = row(i);
      }
      total.add(loss);
      if (rows.loss != nullptr) static_cast<Stored*>(rows.loss)[i] = S::store(A(loss));
    }
    return total.value();
  }
};

template <class S>
double distribution_kernel(const crossent::DistributionJob& job, i64 begin, i64 end, void* scratch) {
  return DistributionRows<S>(job, scratch).run(begin, end);
}

}  // namespace
