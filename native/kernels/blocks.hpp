// A row is walked in blocks. A block that holds the class to leave out, or that ends the row, is first copied to a
// buffer where the class left out and the padding are -inf: so no loop over classes needs a test or a remainder.
#pragma once

#include "exp_log.hpp"

namespace {

constexpr int kBlock = 256;
constexpr int kPad = 16;  // loops run over a multiple of this many classes

template <class S>
struct BlockBuffers {
  using A = typename S::Compute;
  alignas(64) A values[kBlock];
  alignas(64) A results[kBlock];
};

inline int padded(int count) { return (count + kPad - 1) / kPad * kPad; }

// count values of source in the computing type, `left_out` (an index into the block, or negative) replaced by `fill`.
// Returns the source itself where nothing has to be changed. Float storage only needs the copy at the edges.
template <class S>
inline const typename S::Compute* block_values(const typename S::Stored* source, int count, i64 left_out,
                                               typename S::Compute fill, typename S::Compute* buffer) {
  using A = typename S::Compute;
  const bool patched = left_out >= 0 && left_out < count;
  if constexpr (sizeof(A) == sizeof(typename S::Stored)) {
    if (!patched && count % kPad == 0) return source;
  }
#pragma omp simd
  for (int j = 0; j < count; j++) buffer[j] = S::load(source[j]);
  for (int j = count; j < padded(count); j++) buffer[j] = fill;
  if (patched) buffer[left_out] = fill;
  return buffer;
}

template <class A>
inline A block_max(const A* z, int count, A so_far) {
  A m = so_far;
#pragma omp simd reduction(max : m)
  for (int j = 0; j < count; j++) m = z[j] > m ? z[j] : m;
  return m;
}

template <class A>
inline void block_exp(const A* z, int count, A m, A* e) {
#pragma omp simd
  for (int j = 0; j < count; j++) e[j] = exp_of_difference(z[j], m);
}

// Sums of a block: in double for float terms, in short runs with the runs' sums compensated for double ones.
inline void add_block(const float* x, int count, ExactishSum<double>& sum) {
  double s = 0;
#pragma omp simd reduction(+ : s)
  for (int j = 0; j < count; j++) s += double(x[j]);
  sum.hi += s;
}

inline void add_block(const double* x, int count, ExactishSum<double>& sum) {
  for (int start = 0; start < count; start += 64) {
    const int stop = count - start < 64 ? count : start + 64;
    double s = 0;
#pragma omp simd reduction(+ : s)
    for (int j = start; j < stop; j++) s += x[j];
    sum.add(s);
  }
}

// Largest of a row's logits, one class left out (negative: none).
template <class S>
inline typename S::Compute row_max(const typename S::Stored* z, i64 classes, i64 left_out, BlockBuffers<S>& buffers) {
  using A = typename S::Compute;
  A m = -A(kInf);
  for (i64 start = 0; start < classes; start += kBlock) {
    const int count = int(smaller<i64>(kBlock, classes - start));
    const A* block = block_values<S>(z + start, count, left_out - start, -A(kInf), buffers.values);
    m = block_max(block, padded(count), m);
  }
  return m;
}

}  // namespace
