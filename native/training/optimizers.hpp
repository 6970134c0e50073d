// One step of each optimizer on one tensor. The penalty is l2/2 · |W|² + l1 · |W|, the second by its proximal map.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "dispatch.hpp"

namespace crossent::training {

enum class Optimizer : int { sgd = 0, adam = 1, schedule_free = 2 };

// Vectors of the parameters' length that an optimizer keeps from step to step.
constexpr std::int64_t state_vectors(Optimizer optimizer) { return optimizer == Optimizer::adam ? 2 : 1; }

// argmin over w of (w - value)²/2 + threshold · |w|
template <class T>
T shrink(T value, T threshold) {
  const T size = std::abs(value) - threshold;
  return size > 0 ? std::copysign(size, value) : T(0);
}

template <class T>
void sgd_step(T* theta, T* velocity, const T* grad, std::int64_t n, T rate, T momentum, bool nesterov, T l2, T l1) {
  training_kernels<T>().sgd_step(theta, velocity, grad, n, rate, momentum, nesterov, l2);
  if (l1 == 0) return;
  // A slope that stays becomes a velocity 1 / (1 - momentum) times as large: the penalty must keep up with it.
  const T threshold = rate * l1 / (T(1) - momentum);
  for (std::int64_t i = 0; i < n; ++i) theta[i] = shrink(theta[i], threshold);
}

// Kingma and Ba, "Adam", 2015, algorithm 1; rate and correction_root hold the corrections for the start from zero.
template <class T>
void adam_step(T* theta, T* first, T* second, const T* grad, std::int64_t n, T rate, T beta1, T beta2,
               T correction_root, T l2, T l1) {
  constexpr T epsilon = T(1e-8);
  for (std::int64_t i = 0; i < n; ++i) {
    const T slope = grad[i] + l2 * theta[i];
    first[i] = beta1 * first[i] + (T(1) - beta1) * slope;
    second[i] = beta2 * second[i] + (T(1) - beta2) * slope * slope;
    const T scale = rate / (std::sqrt(second[i]) / correction_root + epsilon);
    const T moved = theta[i] - scale * first[i];
    theta[i] = l1 == 0 ? moved : shrink(moved, scale * l1);
  }
}

// Defazio et al., "The Road Less Scheduled", 2024, equations 1 to 3: grad was taken at y = (1 - beta) z + beta theta,
// and theta is the average of the z.
template <class T>
void schedule_free_step(T* theta, T* z, const T* y, const T* grad, std::int64_t n, T rate, T share, T l2, T l1) {
  for (std::int64_t i = 0; i < n; ++i) {
    const T moved = z[i] - rate * (grad[i] + l2 * y[i]);
    z[i] = l1 == 0 ? moved : shrink(moved, rate * l1);
    theta[i] += share * (z[i] - theta[i]);
  }
}

}  // namespace crossent::training
