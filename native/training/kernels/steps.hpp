// What is done entry by entry: to parameters by a step, to a layer's output, to a row.
#pragma once

#include "../../kernels/floats.hpp"

namespace {

template <bool factors, class A>
void sgd_steps(A* theta, A* velocity, const A* grad, i64 n, A rate, const A* factor, A momentum, bool nesterov, A l2) {
  const A grad_share = nesterov ? A(1) : A(0), velocity_share = nesterov ? momentum : A(1);
#pragma omp simd
  for (i64 i = 0; i < n; i++) {
    const A slope = grad[i] + l2 * theta[i];
    velocity[i] = momentum * velocity[i] + slope;
    const A own = factors ? rate * factor[i] : rate;
    theta[i] -= own * (grad_share * slope + velocity_share * velocity[i]);
  }
}

template <class A>
void sgd_step(A* theta, A* velocity, const A* grad, i64 n, A rate, const A* factor, A momentum, bool nesterov, A l2) {
  factor ? sgd_steps<true>(theta, velocity, grad, n, rate, factor, momentum, nesterov, l2)
         : sgd_steps<false>(theta, velocity, grad, n, rate, factor, momentum, nesterov, l2);
}

template <class A>
void carry(A* velocity, A* theta, i64 n, const double* matrix) {
  const A vv = A(matrix[0]), vt = A(matrix[1]), tv = A(matrix[2]), tt = A(matrix[3]);
#pragma omp simd
  for (i64 i = 0; i < n; i++) {
    const A v = velocity[i], t = theta[i];
    velocity[i] = vv * v + vt * t;
    theta[i] = tv * v + tt * t;
  }
}

template <class A>
void sum_columns(const A* values, i64 n, i64 step, i64 count, A* sum_out) {
  constexpr i64 stretch = 512;
  for (i64 begin = 0; begin < count; begin += stretch) {
    const i64 width = count - begin < stretch ? count - begin : stretch;
    double sum[stretch] = {};
    for (i64 i = 0; i < n; i++) {
      const A* const row = values + i * step + begin;
#pragma omp simd
      for (i64 j = 0; j < width; j++) sum[j] += double(row[j]);
    }
    for (i64 j = 0; j < width; j++) sum_out[begin + j] = A(sum[j]);
  }
}

// Written so that NaN stays NaN: a diverged network must not look like a dead one.
template <class A>
void relu(A* values, i64 n) {
#pragma omp simd
  for (i64 i = 0; i < n; i++) values[i] = values[i] < 0 ? A(0) : values[i];
}

template <class A>
void relu_gradient(const A* output, i64 n, A scale, A* bar) {
#pragma omp simd
  for (i64 i = 0; i < n; i++) bar[i] = output[i] > 0 ? bar[i] * scale : A(0);
}

template <class A>
void copy_row(const A* from, const A* center, i64 n, A* to) {
  if (center == nullptr) {
    __builtin_memcpy(to, from, std::size_t(n) * sizeof(A));
    return;
  }
#pragma omp simd
  for (i64 i = 0; i < n; i++) to[i] = from[i] - center[i];
}

}  // namespace
