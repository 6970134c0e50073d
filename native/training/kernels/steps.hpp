// What a step does to each parameter.
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

}  // namespace
