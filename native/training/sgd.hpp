// Minibatch gradient descent with momentum and a penalty of alpha/2 · |W|² on the weights, not on the biases.
#pragma once

#include <cstdint>
#include <vector>

#include "training/network.hpp"

namespace crossent::training {

struct Descent {
  double momentum;
  bool nesterov;
  double alpha;
  double mass_per_row;  // a batch's loss is divided by its rows times this: the mean over the whole data
  double loss_limit;    // a batch with a greater mean loss, or one that is NaN, ends the run before its step
};

struct Progress {
  std::int64_t batches;  // steps taken
  double loss;           // sum over them of the weighted losses, each before its step
};

// velocity = momentum · velocity + (grad + alpha · theta); theta -= learning_rate · velocity, or Nesterov's variant.
template <class T>
void step(T* theta, T* velocity, const T* grad, std::int64_t n, T learning_rate, T momentum, bool nesterov, T alpha) {
  const T grad_share = nesterov ? T(1) : T(0), velocity_share = nesterov ? momentum : T(1);
  for (std::int64_t i = 0; i < n; ++i) {
    const T slope = grad[i] + alpha * theta[i];
    velocity[i] = momentum * velocity[i] + slope;
    theta[i] -= learning_rate * (grad_share * slope + velocity_share * velocity[i]);
  }
}

// Batch k has the rows order[bounds[k]] … order[bounds[k + 1] - 1] and the step learning_rate[k].
template <class T>
Progress descend(Network<T>& network, const Descent& descent, const Rows<T>& rows, const std::int64_t* order,
                 const std::int64_t* bounds, const double* learning_rate, std::int64_t batches, T* theta, T* velocity) {
  std::vector<T> grad(network.parameters());
  Progress progress{0, 0.0};
  for (; progress.batches < batches; ++progress.batches) {
    const std::int64_t begin = bounds[progress.batches], n = bounds[progress.batches + 1] - begin;
    const double scale = 1.0 / (descent.mass_per_row * static_cast<double>(n));
    const double loss = network.gradient(theta, rows, order + begin, n, scale, grad.data());
    if (!(loss * scale <= descent.loss_limit)) break;
    progress.loss += loss;
    const T rate = static_cast<T>(learning_rate[progress.batches]), momentum = static_cast<T>(descent.momentum);
    std::int64_t at = 0;
    for (std::int64_t layer = 0; layer < network.layers(); ++layer) {
      const std::int64_t weights = network.weights(layer), biases = network.outputs(layer);
      step(theta + at, velocity + at, grad.data() + at, weights, rate, momentum, descent.nesterov,
           static_cast<T>(descent.alpha));
      at += weights;
      step(theta + at, velocity + at, grad.data() + at, biases, rate, momentum, descent.nesterov, T(0));
      at += biases;
    }
  }
  return progress;
}

}  // namespace crossent::training
