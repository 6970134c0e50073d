// Loss and gradient of rows whose truth is a label, for few classes: many rows across the vector lanes.
// A tile of rows is turned on its side, so that one class of all its rows is contiguous; every pass then runs down the
// classes with no sum across lanes. Same formulas as label_rows.hpp.
#pragma once

#include "label_rows.hpp"
#include "vectors.hpp"

namespace {

constexpr i64 kFewClasses = 48;  // up to here turning a tile costs less than the lanes that a short row leaves empty

template <class S>
struct LabelTile {
  using Stored = typename S::Stored;
  using A = typename S::Compute;
  using Vector = typename VectorOf<A>::type;
  using Exp = ExpOf<A>;
  static constexpr int lanes = VectorOf<A>::lanes;

  const crossent::LabelJob& job;
  LabelRows<S> row_kernel;  // for the rows that the lanes cannot treat alike
  const Stored* end;        // of the last row's logits
  i64 rows[kTile];          // the row in each lane
  int filled = 0;           // lanes in use; the rest repeat the first
  alignas(64) A tile[kFewClasses][kTile];
  alignas(64) A label[kTile], target[kTile];
  alignas(64) A largest[kTile];
  alignas(64) A sum[kTile], sum_rest[kTile], factor[kTile], power[kTile];
  LabelScalars scalars;
  bool all_fit = true;                                         // of `largest`
  alignas(64) double loss[kTile] = {}, loss_rest[kTile] = {};  // summed lane by lane
  ExactishSum<double> total;

  LabelTile(const crossent::LabelJob& job, void* scratch, const Stored* end)
      : job(job), row_kernel(job, scratch), end(end) {}

  // The first classes of panels, as many classes as a vector has lanes. The last panel ends with the row, and may begin
  // within the one before. Where the whole row is shorter than that, a panel goes on with whatever follows the row.
  template <class Visit>
  void for_panels(Visit visit) const {
    const i64 last = short_rows() ? 0 : job.classes - lanes;
    for (i64 c = 0; c < last + lanes; c += lanes)
      for (int first = 0; first < kTile; first += lanes) visit(smaller(c, last), first);
  }

  bool short_rows() const { return job.classes < lanes; }

  void load() {
    for (int i = filled; i < kTile; i++) rows[i] = rows[0];
    for (int i = 0; i < kTile; i++) {
      const i64 own = job.label[rows[i]];
      label[i] = A(own);
      scalars.target_logit[i] = S::load(row_kernel.given(rows[i])[own]);
      scalars.weight[i] = job.row_weight != nullptr ? job.row_weight[rows[i]] : 1.0;
    }
    const bool whole = !short_rows() || (job.logits_step > 0 && row_kernel.given(rows[filled - 1]) + lanes <= end);
    if (whole) {
      if (consecutive()) ask_for(row_kernel.given(rows[0]) + 4 * kTile * job.logits_step, int(kTile * job.classes));
      for_panels([&](i64 c, int first) { load_panel(c, first); });
    } else {
      for (int i = 0; i < kTile; i++)
        for (i64 c = 0; c < job.classes; c++) tile[c][i] = S::load(row_kernel.given(rows[i])[c]);
    }
  }

  void load_panel(i64 c, int first) {
    Vector square[lanes];
#pragma GCC unroll 16
    for (int i = 0; i < lanes; i++) square[i] = load_vector<S>(row_kernel.given(rows[first + i]) + c);
    turn(square);
#pragma GCC unroll 16
    for (int j = 0; j < lanes; j++) put_vector(square[j], &tile[c + j][first]);
  }

  // The largest of the others; the label's own logit leaves the tile for -inf.
  void find_rivals() {
    for (int first = 0; first < kTile; first += lanes) {
      const Vector own = vector_at(label + first), nothing = Vector{} - A(kInf);
      Vector rival = nothing, at = {};
      for (i64 c = 0; c < job.classes; c++, at += 1) {
        const Vector z = own == at ? nothing : vector_at(&tile[c][first]);
        put_vector(z, &tile[c][first]);
        rival = larger(rival, z);
      }
      put_vector(rival, largest + first);
    }
  }

  // The exponentials, raised, and their sum.
  void exponentiate() {
    for (int first = 0; first < kTile; first += lanes) {
      const Vector m = vector_at(largest + first), floor = m + Exp::floor;
      Vector hi = Vector{} + Exp::raise, lo = {};
      for (i64 c = 0; c < job.classes; c++) {
        const Vector e = raised_exp_of_difference(vector_at(&tile[c][first]), m, floor);
        put_vector(e, &tile[c][first]);
        add_smaller(e, hi, lo);
      }
      put_vector(hi - Exp::raise, sum + first);  // exactly: a power of 2
      put_vector(lo, sum_rest + first);
    }
#pragma omp simd
    for (int i = 0; i < kTile; i++) {
      double d, rest;
      two_sum(double(largest[i]), -scalars.target_logit[i], d, rest);
      scalars.sum[i] = (double(sum[i]) + double(sum_rest[i])) * Exp::lower;
      scalars.reference[i] = largest[i];
      scalars.difference[i] = d;
      scalars.difference_rest[i] = absolute(d) < __builtin_inf() ? rest : 0.0;
    }
  }

  void scale() {
#pragma omp simd
    for (int i = 0; i < kTile; i++) {
      const LoweringFactor<A> by(scalars.others_factor[i]);
      factor[i] = by.factor;
      power[i] = by.power;
    }
    for (int first = 0; first < kTile; first += lanes) {
      const Vector f = vector_at(factor + first), p = vector_at(power + first);
      const Vector at_rival = Exp::raise * f * p;  // no entry is larger
      Vector hi = at_rival, lo = {};
      for (i64 c = 0; c < job.classes; c++) {
        const Vector g = vector_at(&tile[c][first]) * f * p;
        put_vector(g, &tile[c][first]);
        add_smaller(g, hi, lo);
      }
      Vector rest;
      two_sum(hi, -at_rival, hi, rest);
      put_vector(hi, sum + first);
      put_vector(lo + rest, sum_rest + first);
    }
    const bool may_sum = job.z_loss == 0;
#pragma omp simd
    for (int i = 0; i < kTile; i++) {
      const double direct = scalars.target_grad[i];
      const bool summed = may_sum && absolute(direct) > LoweringFactor<A>::tiny;
      target[i] = A(summed ? -(double(sum[i]) + double(sum_rest[i])) : direct + scalars.target_z[i]);
    }
    store();
  }

  void store() {
    if (all_fit && filled == kTile && (!short_rows() || (consecutive() && job.grad_step == job.classes))) {
      for_panels([&](i64 c, int first) { store_panel(c, first); });
    } else {
      for (int i = 0; i < filled; i++)
        for (i64 c = 0; c < job.classes && fit(i); c++)
          row_kernel.grad(rows[i])[c] = S::store(label[i] == A(c) ? target[i] : tile[c][i]);
    }
  }

  // In a row shorter than a vector each overwrites what the one before put behind its end; the last ones must not.
  void store_panel(i64 c, int first) {
    const Vector own = vector_at(label + first), at_own = vector_at(target + first);
    Vector square[lanes];
#pragma GCC unroll 16
    for (int j = 0; j < lanes; j++) square[j] = own - A(c) == A(j) ? at_own : vector_at(&tile[c + j][first]);
    turn(square);
    const int whole = short_rows() ? lanes - int((lanes - 1) / job.classes) : lanes;
#pragma GCC unroll 16
    for (int i = 0; i < lanes; i++) {
      Stored* g = row_kernel.grad(rows[first + i]) + c;
      if (i < whole) {
        store_vector<S>(square[i], g);
      } else {
        alignas(64) Stored stored[lanes];
        store_vector<S>(square[i], stored);
        __builtin_memcpy(g, stored, std::size_t(job.classes) * sizeof(Stored));
      }
    }
  }

  // Whether a lane's memory is found without a pointer of its own: the common case.
  bool consecutive() const { return rows[kTile - 1] - rows[0] == kTile - 1; }

  // Rivals at +inf, or all at -inf, or far from 0 are the row kernel's: there, what a row gives does not depend on its
  // neighbours.
  bool fit(int i) const { return absolute(largest[i]) <= Exp::far; }

  void flush() {
    if (filled == 0) return;
    load();
    find_rivals();
    int unfit = 0;
#pragma omp simd reduction(| : unfit)
    for (int i = 0; i < kTile; i++) unfit |= absolute(largest[i]) <= Exp::far ? 0 : 1;
    all_fit = unfit == 0;
    exponentiate();
    label_scalars(scalars, kTile, job.scale, job.z_loss);
    if (job.grad != nullptr) scale();
    for (int i = 0; i < filled; i++) {
      if (!all_fit && !fit(i)) {
        total.add(row_kernel.run(rows[i], rows[i] + 1));
        scalars.loss[i] = 0;
      } else if (job.loss != nullptr) {
        static_cast<Stored*>(job.loss)[rows[i]] = S::store(A(scalars.loss[i]));
      }
    }
#pragma omp simd
    for (int i = 0; i < kTile; i++) {
      double rest;
      two_sum(loss[i], i < filled ? scalars.loss[i] : 0.0, loss[i], rest);
      loss_rest[i] += rest - rest == 0 ? rest : 0.0;
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
    for (int i = 0; i < kTile; i++) {
      total.add(loss[i]);
      total.add(loss_rest[i]);
    }
    return total.value();
  }
};

template <class S>
double label_kernel(const crossent::LabelJob& job, i64 begin, i64 end, void* scratch) {
  if (job.classes <= kFewClasses) {
    const auto* last = static_cast<const typename S::Stored*>(job.logits) + (end - 1) * job.logits_step;
    return LabelTile<S>(job, scratch, last + job.classes).run(begin, end);
  }
  return LabelRows<S>(job, scratch).run(begin, end);
}

}  // namespace
