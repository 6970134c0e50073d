// Passes over the classes of one row: the two largest logits, the exponentials, sums. A row is its body, a multiple of
// the lanes, walked where it lies, and its tail, copied to a buffer that is padded.
#pragma once

#include "exp_log.hpp"

namespace {

constexpr int kBlock = 256;  // classes worked on before they are summed: they are still in the first-level cache
constexpr int kPad = 16;     // a body is a multiple of this many classes, a tail is padded to it

inline i64 body_of(i64 classes) { return classes / kPad * kPad; }

// The two largest values seen, with multiplicity: without the first, the second is the largest of the rest.
template <class A>
struct TopTwo {
  static constexpr int kRunning = 2 * kPad;  // a single running pair would make every step wait for the last
  alignas(64) A first[kRunning], second[kRunning];

  TopTwo() {
    for (int j = 0; j < kRunning; j++) first[j] = second[j] = -A(kInf);
  }

  void take(const A* z, int count) {
    int start = 0;
    for (; start + kRunning <= count; start += kRunning) take_some<kRunning>(z + start);
    if (start < count) take_some<kPad>(z + start);
  }

  // The largest, or the second largest if the largest is `without`.
  A rival_of(A without) {
    fold<kRunning / 2>();
    fold<kRunning / 4>();
    fold<kRunning / 8>();
    fold<kRunning / 16>();
    fold<kRunning / 32>();
    return without == first[0] ? second[0] : first[0];
  }

 private:
  template <int n>
  void take_some(const A* z) {
#pragma omp simd
    for (int j = 0; j < n; j++) {
      const A lower = smaller(first[j], z[j]);
      second[j] = larger(second[j], lower);
      first[j] = larger(first[j], z[j]);
    }
  }

  template <int n>
  void fold() {
#pragma omp simd
    for (int j = 0; j < n; j++) {
      const A lower = smaller(first[j], first[j + n]);
      second[j] = larger(larger(second[j], second[j + n]), lower);
      first[j] = larger(first[j], first[j + n]);
    }
  }
};

template <class A>
inline void block_exp(const A* z, int count, A m, A* e) {
#pragma omp simd
  for (int j = 0; j < count; j++) e[j] = exp_of_difference(z[j], m);
}

// Sums of non-negative terms, lane by lane: floats in double, doubles compensated.
template <class A>
struct LaneSum;

template <>
struct LaneSum<float> {
  alignas(64) double sum[kPad] = {};

  void add(const float* x, int count) {
    // A copy that the compiler can keep in registers.
    alignas(64) double s[kPad];
    for (int j = 0; j < kPad; j++) s[j] = sum[j];
    int start = 0;
    for (; start + 4 * kPad <= count; start += 4 * kPad)
#pragma omp simd
      for (int j = 0; j < kPad; j++) {
        const float* at = x + start + j;
        const float a = at[0], b = at[kPad], c = at[2 * kPad], d = at[3 * kPad];
        s[j] += (double(a) + double(b)) + (double(c) + double(d));
      }
    for (; start < count; start += kPad)
#pragma omp simd
      for (int j = 0; j < kPad; j++) s[j] += double(x[start + j]);
    for (int j = 0; j < kPad; j++) sum[j] = s[j];
  }

  double value() const {
    double s = 0;
#pragma omp simd reduction(+ : s)
    for (int j = 0; j < kPad; j++) s += sum[j];
    return s;
  }
};

template <>
struct LaneSum<double> {
  alignas(64) double sum[kPad] = {}, rest[kPad] = {};

  void add(const double* x, int count) {
    for (int start = 0; start < count; start += kPad)
#pragma omp simd
      for (int j = 0; j < kPad; j++) {
        double error;
        two_sum(sum[j], x[start + j], sum[j], error);
        rest[j] += error;
      }
  }

  double value() const {
    ExactishSum<double> total;
    for (int j = 0; j < kPad; j++) total.add(sum[j]);
    for (int j = 0; j < kPad; j++) total.lo += rest[j] - rest[j] == 0 ? rest[j] : 0;
    return total.value();
  }
};

inline int tail_skip(i64 classes) { return int(body_of(classes) + kPad - classes); }

// The classes after the body, in the last of kPad lanes; the lanes before them hold -inf. Where the row is long enough
// the lanes are the row's last ones, loaded as they lie: copying them one by one would stall the next vector load.
template <class S>
inline void load_tail(const typename S::Stored* z, i64 classes, typename S::Compute* tail) {
  using A = typename S::Compute;
  const int skip = tail_skip(classes);
  if (classes >= kPad) {
    const auto* last = z + (classes - kPad);
#pragma omp simd
    for (int j = 0; j < kPad; j++) {
      const A value = S::load(last[j]);
      tail[j] = j >= skip ? value : -A(kInf);
    }
  } else {
    for (int j = 0; j < kPad; j++) tail[j] = j >= skip ? S::load(z[j - skip]) : -A(kInf);
  }
}

// `count` values in the computing type: where they lie if they are in it, else converted to the buffer.
template <class S>
inline const typename S::Compute* in_compute(const typename S::Stored* z, int count, typename S::Compute* buffer) {
  if constexpr (sizeof(typename S::Stored) == sizeof(typename S::Compute)) {
    (void)count, (void)buffer;
    return z;
  } else {
#pragma omp simd
    for (int j = 0; j < count; j++) buffer[j] = S::load(z[j]);
    return buffer;
  }
}

// Calls visit(start, values, lanes, skip) for the blocks of a row: lane j >= skip holds class start + j, the lanes
// before it are padding. Blocks of the body have no padding; the tail, loaded before, has kPad lanes where there is
// one.
template <class S, class Visit>
inline void for_blocks(const typename S::Stored* z, i64 classes, const typename S::Compute* tail,
                       typename S::Compute* buffer, Visit visit) {
  const i64 body = body_of(classes);
  for (i64 start = 0; start < body; start += kBlock) {
    const int lanes = int(smaller<i64>(kBlock, body - start));
    visit(start, in_compute<S>(z + start, lanes, buffer), lanes, 0);
  }
  if (body < classes) visit(classes - kPad, tail, kPad, tail_skip(classes));
}

}  // namespace
