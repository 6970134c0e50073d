// The training's inner loops as the CPU levels provide them.
#pragma once

#include <cstdint>

namespace crossent::training {

template <class T>
struct Kernels {
  // Row i of out (columns wide, no gaps) += Σ over k in start[i] … start[i + 1] - 1 of value_k · row index_k of matrix.
  void (*add_sparse_product)(const std::int64_t* start, const std::int32_t* index, const T* value, const T* matrix,
                             std::int64_t columns, std::int64_t begin, std::int64_t end, T* out);
  // velocity = momentum · velocity + (grad + l2 · theta); theta -= rate · velocity, or Nesterov's variant.
  void (*sgd_step)(T* theta, T* velocity, const T* grad, std::int64_t n, T rate, T momentum, bool nesterov, T l2);
  // (velocity, theta) = matrix · (velocity, theta), the matrix by rows.
  void (*carry)(T* velocity, T* theta, std::int64_t n, const double* matrix);
};

}  // namespace crossent::training
