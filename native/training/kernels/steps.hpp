// What is done entry by entry: to parameters by a step, to a layer's output, to a row.
#pragma once

#include "../../kernels/floats.hpp"

namespace {

template <class A>
void sgd_step(A* theta, A* velocity, const A* grad, i64 n, A rate, A momentum, bool nesterov, A l2) {
  const A grad_share = nesterov ? A(1) : A(0), velocity_share = nesterov ? momentum : A(1);
#pragma omp simd
  for (i64 i = 0; i < n; i++) {
    const A slope = grad[i] + l2 * theta[i];
    velocity[i] = momentum * velocity[i] + slope;
    theta[i] -= rate * (grad_share * slope + velocity_share * velocity[i]);
  }
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
