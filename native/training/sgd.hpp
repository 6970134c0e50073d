// Minibatch gradient descent on the loss and a penalty on the weights, not on the biases.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "training/network.hpp"
#include "training/optimizers.hpp"

namespace crossent::training {

struct Descent {
  Optimizer optimizer;
  double momentum;
  bool nesterov;
  double l2, l1;
  double dropout;            // share of the hidden units that a row leaves out
  std::uint64_t seed;        // of the dropout
  double mass_per_row;       // a batch's loss is divided by its rows times this: the mean over the whole data
  double loss_limit;         // a batch with a greater mean loss, or one that is NaN, ends the run before its step
  const double* rate_scale;  // (2 · layers) factors of the learning rate: W0, b0, W1, b1, …
  std::int64_t steps_before;
  double weight_before;          // schedule-free: summed squares of the rates so far
  std::int64_t averaged_before;  // steps in the average so far
};

struct Progress {
  std::int64_t batches;  // steps taken
  double loss;           // sum over them of the weighted losses, each before its step
};

// The vectors that a step changes, each of the parameters' length; state holds the optimizer's, one after another.
template <class T>
struct Parameters {
  T* theta;
  T* state;
  T* average;  // null, or the mean of theta after each step
};

template <class T>
void step(const Network<T>& network, const Descent& descent, double rate, std::int64_t steps, double share,
          const T* grad, const T* at_y, Parameters<T> parameters) {
  const std::int64_t total = network.parameters();
  const double correction1 = 1 - std::pow(descent.momentum, static_cast<double>(steps));
  const double beta2 = 0.999, correction2 = 1 - std::pow(beta2, static_cast<double>(steps));
  std::int64_t at = 0;
  for (std::int64_t tensor = 0; tensor < 2 * network.layers(); ++tensor) {
    const bool is_weight = tensor % 2 == 0;
    const std::int64_t n = is_weight ? network.weights(tensor / 2) : network.outputs(tensor / 2);
    const T scaled = static_cast<T>(rate * descent.rate_scale[tensor]), momentum = static_cast<T>(descent.momentum);
    const T l2 = static_cast<T>(is_weight ? descent.l2 : 0), l1 = static_cast<T>(is_weight ? descent.l1 : 0);
    T *theta = parameters.theta + at, *state = parameters.state + at;
    if (descent.optimizer == Optimizer::sgd) {
      sgd_step(theta, state, grad + at, n, scaled, momentum, descent.nesterov, l2, l1);
    } else if (descent.optimizer == Optimizer::adam) {
      adam_step(theta, state, state + total, grad + at, n, static_cast<T>(scaled / correction1), momentum,
                static_cast<T>(beta2), static_cast<T>(std::sqrt(correction2)), l2, l1);
    } else {
      schedule_free_step(theta, state, at_y + at, grad + at, n, scaled, static_cast<T>(share), l2, l1);
    }
    at += n;
  }
}

// Batch k has the rows order[bounds[k]] … order[bounds[k + 1] - 1] and the step learning_rate[k].
template <class T>
Progress descend(Network<T>& network, const Descent& descent, const Rows<T>& rows, const std::int64_t* order,
                 const std::int64_t* bounds, const double* learning_rate, std::int64_t batches,
                 Parameters<T> parameters) {
  const std::int64_t total = network.parameters();
  const bool schedule_free = descent.optimizer == Optimizer::schedule_free;
  std::vector<T> grad(total), y(schedule_free ? total : 0);
  const T* at = schedule_free ? y.data() : parameters.theta;
  const T beta = static_cast<T>(descent.momentum);
  double weight = descent.weight_before;
  Progress progress{0, 0.0};
  for (; progress.batches < batches; ++progress.batches) {
    const std::int64_t begin = bounds[progress.batches], n = bounds[progress.batches + 1] - begin;
    const double scale = 1.0 / (descent.mass_per_row * static_cast<double>(n)), rate = learning_rate[progress.batches];
    const std::int64_t steps = descent.steps_before + progress.batches + 1;
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(y.size()); ++i) {
      y[i] = (T(1) - beta) * parameters.state[i] + beta * parameters.theta[i];
    }
    network.set_dropout(descent.dropout, descent.seed + static_cast<std::uint64_t>(steps));
    const double loss = network.gradient(at, rows, order + begin, n, scale, grad.data());
    network.set_dropout(0, 0);
    if (!(loss * scale <= descent.loss_limit)) break;
    progress.loss += loss;
    weight += rate * rate;
    step(network, descent, rate, steps, rate * rate / weight, grad.data(), y.data(), parameters);
    if (parameters.average) {
      const T share = static_cast<T>(1.0 / static_cast<double>(descent.averaged_before + progress.batches + 1));
      for (std::int64_t i = 0; i < total; ++i) {
        parameters.average[i] += share * (parameters.theta[i] - parameters.average[i]);
      }
    }
  }
  return progress;
}

}  // namespace crossent::training
