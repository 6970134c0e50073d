// Loss and gradient of rows whose truth is a label: a row at a time, classes across the vector lanes.
// Three passes over a row, the last two while it is in cache: the largest rival, the exponentials, the scaling.
//
// The exponentials are not relative to the largest rival m, as the rounding error of z_c - m would have to be worked
// out for each, but to an M beside it: to k·ln 2, which is part of how exp(z_c) is computed anyway; or to m itself
// where it is so large that z_c - m is exact wherever it counts.
#pragma once

#include "../job.hpp"
#include "label_scalars.hpp"
#include "vectors.hpp"

namespace {

constexpr i64 kStagedBytes = 1024;  // of a row: in longer ones another pass costs more than vectors across lines
constexpr int kAlign = 16;          // staged rows begin at multiples of this many numbers

inline i64 aligned(i64 classes) { return (classes + kAlign - 1) / kAlign * kAlign; }

// Rows worked on together: as many as stay in the first-level cache between the second and the third pass.
template <class A>
inline int tile_rows(i64 classes) {
  const i64 fit = crossent::label_tile_bytes / (aligned(classes) * i64(sizeof(A)));
  return int(fit < 1 ? 1 : fit > kTile ? kTile : fit);
}

// Asks for memory that is needed soon: rows often begin a page, where the hardware's own prefetching has to start anew.
template <class T>
inline void ask_for(const T* x, int count) {
  const char* bytes = reinterpret_cast<const char*>(x);
  for (int at = 0; at < count * int(sizeof(T)); at += 64) __builtin_prefetch(bytes + at);
}

template <class S>
struct LabelRows {
  using Stored = typename S::Stored;
  using A = typename S::Compute;
  using Exp = ExpOf<A>;
  using Vector = typename VectorOf<A>::type;
  static constexpr int lanes = VectorOf<A>::lanes;
  static constexpr i64 kBlock = 16 * lanes;  // classes that are passed over without looking for the label, or with
  static constexpr i64 kFold = 16 * kBlock;  // classes between two folds of a sum
  static constexpr bool narrow = sizeof(Stored) < sizeof(A);

  const crossent::LabelJob& job;
  A* scratch;
  i64 classes, whole;  // of a row, and of them in whole vectors; the rest is in the row's last vector, which overlaps
  i64 ahead;           // how many rows ahead memory is asked for
  alignas(64) A staging[crossent::label_tile_bytes / sizeof(A)];  // tile_rows(classes) rows
  alignas(64) Stored padded[lanes];                               // a row shorter than a vector
  Bits<Vector> lane;                                              // 0, 1, 2, …
  LabelScalars scalars;
  alignas(64) A rival[kTile];                 // m
  alignas(64) A origin[kTile], magic[kTile];  // M: what is taken from a logit first, and the power of 2 after it
  alignas(64) A top[kTile];                   // m - origin
  double top_exp[kTile], top_rest[kTile];     // exp(m - M); what it has more than the term that is summed

  LabelRows(const crossent::LabelJob& job, void* scratch)
      : job(job),
        scratch(static_cast<A*>(scratch)),
        classes(larger<i64>(job.classes, lanes)),
        whole(classes / lanes * lanes),
        ahead(rows_ahead(job.classes)) {
    for (int j = 0; j < lanes; j++) lane[j] = j;
  }

  // The next tile; a long row is fetched well by the hardware, and another one would push it out of the cache.
  static i64 rows_ahead(i64 classes) { return classes * i64(sizeof(Stored)) > 65536 ? 0 : tile_rows<A>(classes); }

  bool short_rows() const { return job.classes < lanes; }

  const Stored* given(i64 row) const { return static_cast<const Stored*>(job.logits) + row * job.logits_step; }
  const Stored* logits(i64 row) const { return short_rows() ? padded : given(row); }
  Stored* grad(i64 row) const { return static_cast<Stored*>(job.grad) + row * job.grad_step; }

  // Where a row's exponentials wait for their factor: short rows in a buffer whose vectors are aligned, which rows of
  // any length are not; long ones in the gradient, or in scratch where that is narrower.
  A* exponentials(i64 row, int slot) {
    if (classes * i64(sizeof(A)) <= kStagedBytes) return staging + slot * aligned(classes);
    if constexpr (narrow)
      return scratch + slot * aligned(classes);
    else
      return grad(row);
  }

  // Calls visit(c, here) for the whole vectors, which begin at class c; where `here` is false the label is in another.
  // Blocks at a time: a branch for each vector would be mispredicted in every row.
  template <class Visit, class EndOfFold>
  void for_vectors(i64 label, Visit visit, EndOfFold fold) const {
    for (i64 start = 0; start < whole; start += kBlock) {
      const i64 stop = smaller(start + kBlock, whole);
      if (label >= start && label < stop)
        for (i64 c = start; c < stop; c += lanes) visit(c, Yes());
      else
        for (i64 c = start; c < stop; c += lanes) visit(c, No());
      if (stop % kFold == 0) fold();
    }
  }
  struct Yes {
    static constexpr bool here = true;
  };
  struct No {
    static constexpr bool here = false;
  };

  template <class Label>
  Vector replaced(Vector x, i64 c, i64 label, A by, Label) const {
    if constexpr (Label::here)
      return lane == NumberOf<Bits<Vector>>(label - c) ? Vector{} + by : x;
    else
      return x;
  }

  // First pass of one row: its label's logit, the largest of the others, and what separates them.
  void find_rival(i64 row, int slot) {
    const Stored* z = logits(row);
    const i64 label = job.label[row], last = classes - lanes;
    Vector top = Vector{} - A(kInf);
    const auto take = [&](i64 c, auto here) {
      top = larger(top, replaced(load_vector<S>(z + c), c, label, -A(kInf), here));  // never NaN
    };
    take(last, Yes());
    for_vectors(label, take, [] {});
    rival[slot] = largest_lane(top);
    scalars.weight[slot] = job.row_weight != nullptr ? job.row_weight[row] : 1.0;
    scalars.target_logit[slot] = S::load(z[label]);
  }

  // M of all rows of the tile, and D. An infinite m stays, and exponentials are then relative to 0: with every rival at
  // -inf they are 0 all the same.
  void find_references() {
#pragma omp simd
    for (int i = 0; i < kTile; i++) {
      const double m = rival[i];
      const bool finite = absolute(m) < __builtin_inf();
      const bool large = absolute(m) > Exp::near;
      const double at = finite && !large ? m : 0.0;
      const double k = (at * log2_e<double> + ExpDouble::magic) - ExpDouble::magic;
      const double low = k * ExpDouble::ln2_lo;
      const double p = ExpDouble::less_one((at - k * ExpDouble::ln2_hi) - low);
      double d, rest;
      two_sum(1.0, p, d, rest);
      top_exp[i] = d;
      top_rest[i] = rest;
      top[i] = A(at);
      origin[i] = A(finite && large ? m : 0.0);
      magic[i] = A(double(Exp::magic) + (Exp::exponent_bias + Exp::kRaise) - k);
      const double reference = finite && !large ? k * ExpDouble::ln2_hi : m;  // exactly
      two_sum(reference, -scalars.target_logit[i], d, rest);
      scalars.reference[i] = reference + low;
      scalars.difference[i] = d;
      scalars.difference_rest[i] = absolute(d) < __builtin_inf() ? rest + low : 0.0;
    }
    for (int first = 0; first < kTile; first += lanes) {
      const Vector x = vector_at(top + first);
      alignas(64) A rounded[lanes];
      put_vector(exp_by_power(x, vector_at(magic + first), x + Exp::floor), rounded);
      for (int j = 0; j < lanes; j++) top_rest[first + j] += top_exp[first + j] - double(rounded[j]) * Exp::lower;
    }
  }

  // Second pass: the exponentials, raised, and their sum.
  void exponentiate(i64 row, int slot) {
    A* e = job.grad != nullptr ? exponentials(row, slot) : nullptr;
    scalars.sum[slot] = rival[slot] == A(kInf) ? exponentiate_infinite(row, e) : exponentiate_finite(row, slot, e);
  }

  double exponentiate_finite(i64 row, int slot, A* e) {
    const Stored* z = logits(row);
    const Stored* next = ahead > 0 ? z + ahead * job.logits_step : nullptr;
    const i64 label = job.label[row], last = classes - lanes;
    const Vector from = Vector{} + origin[slot], power = Vector{} + magic[slot];
    const Vector floor = Vector{} + (top[slot] + Exp::floor);
    const auto exp_at = [&](i64 c, auto here) {
      return replaced(exp_by_power(load_vector<S>(z + c) - from, power, floor), c, label, 0, here);
    };
    SumBelow<A> sum(2 * Exp::raise);
    // Taken before the gradient, which may lie where the logits do, is written, and written after it.
    const Vector at_end = exp_at(last, Yes());
    if (whole < classes) sum.add(only_rest(at_end));
    const auto take = [&](i64 c, auto here) {
      const Vector x = exp_at(c, here);
      if (e != nullptr) put_vector(x, e + c);
      if (next != nullptr) __builtin_prefetch(next + c);
      sum.add(x);
    };
    for_vectors(label, take, [&] { sum.fold(); });
    if (e != nullptr) put_vector(at_end, e + last);
    return sum.value() * Exp::lower + top_rest[slot];
  }

  // The lanes of a row's last vector that are in no whole one; 0 in the others.
  Vector only_rest(Vector x) const { return lane >= NumberOf<Bits<Vector>>(lanes - (classes - whole)) ? x : Vector{}; }

  // A rival at +inf: the limit is a prediction that is 1 there, and no prediction at all for several of them.
  double exponentiate_infinite(i64 row, A* e) {
    const Stored* z = logits(row);
    double found = 0;
    for (i64 c = 0; c < classes; c++) {
      const A value = S::load(z[c]);
      const bool hit = c != job.label[row] && value == A(kInf);
      if (e != nullptr) e[c] = value != value ? value : hit ? Exp::raise : A(0);
      found += hit ? 1 : (value != value ? double(value) : 0);
    }
    return found == 1 ? found : __builtin_nan("");
  }

  // Third pass, e_c · factor into the gradient; the entry at the label is minus the sum of the others as they were
  // rounded, so that a row sums to zero. In the subnormal range their rounding is no longer relative: there it has its
  // own formula.
  void scale(i64 row, int slot) {
    Stored* g = short_rows() ? padded : grad(row);
    const A* e = exponentials(row, slot);
    const i64 last = classes - lanes;
    const LoweringFactor<A> by(scalars.others_factor[slot]);
    SumBelow<A> sum(2 * Exp::raise * by.factor * by.power);
    const Vector at_end = vector_at(e + last) * by.factor * by.power;
    if (whole < classes) sum.add(only_rest(at_end));
    const auto take = [&](i64 c, auto) {
      const Vector x = vector_at(e + c) * by.factor * by.power;
      store_vector<S>(x, g + c);
      sum.add(x);
    };
    for_vectors(-1, take, [&] { sum.fold(); });
    store_vector<S>(at_end, g + last);
    const double direct = scalars.target_grad[slot];
    const bool summed = job.z_loss == 0 && absolute(direct) > LoweringFactor<A>::tiny;
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
      for (; row < end && filled < (short_rows() ? 1 : tile_rows<A>(classes)); row++) {
        if (kept(row))
          rows[filled++] = row;
        else
          leave_out(row);
      }
      // Pass by pass over all rows of the tile: their chains of dependent steps overlap.
      if (short_rows() && filled > 0) pad(rows[0]);
      for (int slot = 0; slot < filled; slot++) find_rival(rows[slot], slot);
      fill_unused(filled);
      find_references();
      for (int slot = 0; slot < filled; slot++) exponentiate(rows[slot], slot);
      label_scalars(scalars, filled, job.scale, job.z_loss);
      for (int slot = 0; slot < filled; slot++) {
        total.add(scalars.loss[slot]);
        if (job.loss != nullptr) static_cast<Stored*>(job.loss)[rows[slot]] = S::store(A(scalars.loss[slot]));
        if (job.grad != nullptr) scale(rows[slot], slot);
      }
      if (short_rows() && filled > 0 && job.grad != nullptr)
        __builtin_memcpy(grad(rows[0]), padded, std::size_t(job.classes) * sizeof(Stored));
    }
    return total.value();
  }

  void pad(i64 row) {
    for (int j = 0; j < lanes; j++) padded[j] = j < job.classes ? given(row)[j] : S::store(-A(kInf));
  }

  void fill_unused(int filled) {
    for (int i = filled; i < kTile; i++) {
      scalars.target_logit[i] = rival[i] = 0;
      scalars.sum[i] = scalars.weight[i] = 1;
    }
  }
};

}  // namespace
