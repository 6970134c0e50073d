// The training's inner loops as the CPU levels provide them.
#pragma once

#include <cstdint>

namespace crossent::training {

// Dense rows where the caller holds them: row order[i] of x, whose features lie next to each other.
template <class T>
struct PlacedRows {
  const void* x;  // of T, or bytes that are multiplied with scale
  bool is_bytes;
  std::int64_t row_step;
  std::int64_t features;
  double scale;
  const T* center;  // subtracted; padded with zeros to a multiple of 16
  const std::int64_t* order;
  std::int64_t known;  // entries of order: those behind the batch are asked for while there is time
};

template <class T>
struct Kernels {
  // Row i of out (columns wide, no gaps) += Σ over k in start[i] … start[i + 1] - 1 of value_k · row index_k of matrix.
  void (*add_sparse_product)(const std::int64_t* start, const std::int32_t* index, const T* value, const T* matrix,
                             std::int64_t columns, std::int64_t begin, std::int64_t end, T* out);
  // velocity = momentum · velocity + (grad + l2 · theta); theta -= rate · velocity, or Nesterov's variant; the rate
  // times factor_i unless that is null.
  void (*sgd_step)(T* theta, T* velocity, const T* grad, std::int64_t n, T rate, const T* factor, T momentum,
                   bool nesterov, T l2);
  // (velocity, theta) = matrix · (velocity, theta), the matrix by rows.
  void (*carry)(T* velocity, T* theta, std::int64_t n, const double* matrix);
  // Rows [begin, end) of out (classes wide, no gaps) += rows · weight', weight's rows being step apart.
  void (*few_forward)(const PlacedRows<T>& rows, std::int64_t begin, std::int64_t end, const T* weight,
                      std::int64_t step, std::int64_t classes, T* out);
  // Columns [begin, end) of grad = bar' · the first n rows; begin is a multiple of 16, grad is padded like the center.
  void (*few_gradient)(const PlacedRows<T>& rows, std::int64_t n, std::int64_t begin, std::int64_t end, const T* bar,
                       std::int64_t classes, T* grad, std::int64_t step);
  // Sums of `count` columns of n rows, which are step apart; they are summed in double.
  void (*sum_columns)(const T* values, std::int64_t n, std::int64_t step, std::int64_t count, T* sum_out);
  void (*relu)(T* values, std::int64_t n);
  // bar_i = output_i > 0 ? scale · bar_i : 0
  void (*relu_gradient)(const T* output, std::int64_t n, T scale, T* bar);
  // to = from - center, which may be null
  void (*copy_row)(const T* from, const T* center, std::int64_t n, T* to);
};

}  // namespace crossent::training
