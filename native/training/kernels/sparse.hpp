// Products of sparse rows with a dense matrix: a stretch of the result stays in registers while its terms come in.
#pragma once

#include "vectors.hpp"

namespace {

// Columns c … c + count · lanes - 1 of one row.
template <class A, int count>
inline void add_terms(i64 begin, i64 end, const i32* index, const A* value, const A* matrix, i64 columns, A* out) {
  using V = Vector<A>;
  typename V::Type sum[count];
  for (int j = 0; j < count; j++) sum[j] = V::load(out + j * V::lanes);
  for (i64 k = begin; k < end; k++) {
    const A* from = matrix + index[k] * columns;
    const A x = value[k];
    for (int j = 0; j < count; j++) sum[j] += V::load(from + j * V::lanes) * x;
  }
  for (int j = 0; j < count; j++) V::store(sum[j], out + j * V::lanes);
}

template <class A>
void add_sparse_product(const i64* start, const i32* index, const A* value, const A* matrix, i64 columns, i64 begin,
                        i64 end, A* out) {
  constexpr int lanes = Vector<A>::lanes, wide = 4;
  i64 c = 0;
  // Stretch by stretch over all rows: a stretch of the matrix that several rows need is still in the cache.
  for (; c + wide * lanes <= columns; c += wide * lanes)
    for (i64 i = begin; i < end; i++)
      add_terms<A, wide>(start[i], start[i + 1], index, value, matrix + c, columns, out + (i - begin) * columns + c);
  for (; c + lanes <= columns; c += lanes)
    for (i64 i = begin; i < end; i++)
      add_terms<A, 1>(start[i], start[i + 1], index, value, matrix + c, columns, out + (i - begin) * columns + c);
  if (c == columns) return;
  const int rest = int(columns - c);
  for (i64 i = begin; i < end; i++) {
    A* const to = out + (i - begin) * columns + c;
    alignas(64) A sum[lanes];
    for (int j = 0; j < rest; j++) sum[j] = to[j];
    for (i64 k = start[i]; k < start[i + 1]; k++) {
      const A* from = matrix + index[k] * columns + c;
      const A x = value[k];
      for (int j = 0; j < rest; j++) sum[j] += from[j] * x;
    }
    for (int j = 0; j < rest; j++) to[j] = sum[j];
  }
}

}  // namespace
