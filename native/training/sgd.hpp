// Minibatch gradient descent on the loss and a penalty on the weights, not on the biases.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "training/network.hpp"
#include "training/optimizers.hpp"

namespace crossent::training {

struct Descent {
  Optimizer optimizer;
  double momentum;
  bool nesterov;
  double l2, l1;
  double dropout;              // share of the hidden units that a row leaves out
  std::uint64_t seed;          // of the dropout
  double mass_per_row;         // a batch's loss is divided by its rows times this: the mean over the whole data
  double loss_limit;           // a batch with a greater mean loss, or one that is NaN, ends the run before its step
  const double* rate_scale;    // (2 · layers) factors of the learning rate: W0, b0, W1, b1, …
  const double* feature_rate;  // (features) further ones of the rows of W0, or null
  double feature_scale;        // Adam's epsilon for W0 is relative to it, as W0's gradient is
  std::int64_t steps_before;
  double weight_before;          // schedule-free: summed squares of the rates so far
  std::int64_t averaged_before;  // steps in the average so far
};

// Where a batch's rows are spread over processes: replaces the n values, this process's gradient by all parameters and
// its loss behind them, by their sums over the processes; how many rows each batch has in all of them; and, for each
// entry of order, which of those rows of its batch it is.
template <class T>
struct Others {
  std::function<void(T* values, std::int64_t n)> sum;
  const std::int64_t* batch_rows = nullptr;
  const std::int64_t* place = nullptr;
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

// One step of the optimizer: the factors that all parameters share.
struct Step {
  double rate;
  double correction1, correction2;  // Adam's
  double share;                     // of the newest z in schedule-free's average
  double average_share;             // of the newest theta in the average
};

// The step of one block, whose gradient was taken at at_y.
template <class T>
void step_block(const Descent& descent, const Step& step, const Block& block, std::int64_t total, const T* grad,
                const T* at_y, const T* factor, Parameters<T> parameters) {
  constexpr double beta2 = 0.999;
  const std::int64_t n = block.size, at = block.offset;
  const T rate = static_cast<T>(step.rate * descent.rate_scale[2 * block.layer + (block.is_weight ? 0 : 1)]);
  const T l2 = static_cast<T>(block.is_weight ? descent.l2 : 0), l1 = static_cast<T>(block.is_weight ? descent.l1 : 0);
  const T momentum = static_cast<T>(descent.momentum);
  T *theta = parameters.theta + at, *state = parameters.state + at;
  if (descent.optimizer == Optimizer::sgd) {
    sgd_step(theta, state, grad + at, n, rate, factor, momentum, descent.nesterov, l2, l1);
  } else if (descent.optimizer == Optimizer::adam) {
    const bool sees_features = block.is_weight && block.layer == 0;
    const T epsilon = static_cast<T>(1e-8 * (sees_features ? descent.feature_scale : 1));
    adam_step(theta, state, state + total, grad + at, n, static_cast<T>(rate / step.correction1), factor, momentum,
              static_cast<T>(beta2), static_cast<T>(std::sqrt(step.correction2)), epsilon, l2, l1);
  } else {
    schedule_free_step(theta, state, at_y + at, grad + at, n, rate, factor, static_cast<T>(step.share), l2, l1);
  }
  if (!parameters.average) return;
  T* average = parameters.average + at;
  for (std::int64_t i = 0; i < n; ++i) average[i] += static_cast<T>(step.average_share) * (theta[i] - average[i]);
}

// A run of steps.
template <class T>
class Descending {
 public:
  Descending(Network<T>& network, const Descent& descent, const Rows<T>& rows, Parameters<T> parameters,
             Others<T> others)
      : network_(network),
        descent_(descent),
        rows_(rows),
        parameters_(parameters),
        others_(std::move(others)),
        workers_(network.n_threads()),
        // Other optimizers, the l1 penalty and an average change rows of weights that a batch does not touch in ways
        // that cannot be caught up with, and other processes have rows that touch others: there every step takes all.
        lazy_(rows.is_sparse() && descent.optimizer == Optimizer::sgd && descent.l1 == 0 && !parameters.average &&
              !others_.sum),
        grad_(std::make_unique_for_overwrite<T[]>(network.parameters() + 1)),
        y_(descent.optimizer == Optimizer::schedule_free ? network.parameters() : 0),
        weight_(descent.weight_before) {
    const std::vector<Block>& all = network.blocks();
    for (const Block& block : all) {
      if (!lazy_ || block.layer > 0 || !block.is_weight) blocks_.push_back(block);
    }
    if (descent.feature_rate) {
      const std::int64_t units = network.outputs(0);
      for (std::int64_t k = 0; k < network.weights(0); ++k) {
        factor_.push_back(static_cast<T>(descent.feature_rate[k / units]));
      }
    }
    if (lazy_) network.sparse_layer().start_descent(rows.center, parameters.theta, parameters.state);
  }

  // Takes the step of a batch unless its loss is over the limit. Its n rows are those from `begin` of `known` on.
  bool step(std::int64_t batch, const std::int64_t* order, std::int64_t begin, std::int64_t n, std::int64_t known,
            double rate, double& loss) {
    const T* at = look_ahead();
    const std::int64_t batch_rows = others_.sum ? others_.batch_rows[batch] : n;
    const double scale = 1.0 / (descent_.mass_per_row * static_cast<double>(batch_rows));
    const std::int64_t steps = descent_.steps_before + batch + 1;
    load(at, order + begin, n, known - begin);
    network_.set_dropout(descent_.dropout, descent_.seed + static_cast<std::uint64_t>(steps),
                         others_.place ? others_.place + begin : nullptr);
    loss = network_.backpropagate(at, scale, workers_);
    network_.set_dropout(0, 0, nullptr);
    if (others_.sum) loss = sum_over_processes(loss);
    if (!(loss * scale <= descent_.loss_limit)) return false;
    weight_ += rate * rate;
    update({rate, 1 - std::pow(descent_.momentum, static_cast<double>(steps)),
            1 - std::pow(0.999, static_cast<double>(steps)), rate * rate / weight_,
            1.0 / static_cast<double>(descent_.averaged_before + batch + 1)});
    return true;
  }

  void end() {
    if (!lazy_) return;
    workers_.run(static_cast<std::int64_t>(network_.blocks().size()), [&](std::int64_t k) {
      const Block& block = network_.blocks()[k];
      if (block.layer > 0 || !block.is_weight) return;
      network_.sparse_layer().end_descent(block.begin, block.end, parameters_.theta, parameters_.state);
    });
  }

 private:
  // Where the gradient is taken.
  const T* look_ahead() {
    const T beta = static_cast<T>(descent_.momentum);
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(y_.size()); ++i) {
      y_[i] = (T(1) - beta) * parameters_.state[i] + beta * parameters_.theta[i];
    }
    return y_.empty() ? parameters_.theta : y_.data();
  }

  void load(const T* at, const std::int64_t* order, std::int64_t n, std::int64_t known) {
    if (rows_.is_sparse() && !lazy_) network_.sparse_layer().fix(rows_.center, at);
    network_.load(at, rows_, order, n, known);
    if (!lazy_) return;
    SparseLayer<T>& layer = network_.sparse_layer();
    workers_.run(layer.blocks(), [&](std::int64_t k) { layer.catch_up(k, parameters_.theta, parameters_.state); });
  }

  const T* factor_of(const Block& block) const {
    return factor_.empty() || block.layer > 0 || !block.is_weight ? nullptr : factor_.data() + block.offset;
  }

  // Leaves the gradient over all processes' rows in grad_, and returns their loss.
  double sum_over_processes(double loss) {
    if (rows_.is_sparse()) network_.sparse_gradient(workers_, grad_.get());
    workers_.run(static_cast<std::int64_t>(blocks_.size()),
                 [&](std::int64_t k) { network_.block_gradient(blocks_[k], grad_.get()); });
    T& summed = grad_[network_.parameters()];
    summed = static_cast<T>(loss);
    others_.sum(grad_.get(), network_.parameters() + 1);
    return static_cast<double>(summed);
  }

  void update(const Step& step) {
    if (rows_.is_sparse() && !lazy_ && !others_.sum) network_.sparse_gradient(workers_, grad_.get());
    const SgdStep first{step.rate * descent_.rate_scale[0], descent_.momentum, descent_.nesterov, descent_.l2};
    const std::int64_t touched = lazy_ ? network_.sparse_layer().blocks() : 0;
    workers_.run(touched + static_cast<std::int64_t>(blocks_.size()), [&](std::int64_t k) {
      if (k < touched) {
        network_.sparse_layer().step(k, network_.out_bar(0), first, parameters_.theta, parameters_.state);
        return;
      }
      const Block& block = blocks_[k - touched];
      if (!others_.sum) network_.block_gradient(block, grad_.get());
      step_block(descent_, step, block, network_.parameters(), grad_.get(), y_.data(), factor_of(block), parameters_);
      if (lazy_ && block.layer == 0) {
        network_.sparse_layer().step_center(network_.out_bar(0), network_.batch_rows(), block.begin, block.end, first);
      }
    });
    if (lazy_) network_.sparse_layer().end_step(first);
  }

  Network<T>& network_;
  const Descent& descent_;
  const Rows<T>& rows_;
  Parameters<T> parameters_;
  Others<T> others_;
  Workers workers_;
  bool lazy_;
  // By all parameters, and room for the loss. Not filled: of sparse rows most of it is never touched.
  std::unique_ptr<T[]> grad_;
  std::vector<T> y_;
  std::vector<T> factor_;  // of each weight of the first layer, if features have rates of their own
  double weight_;
  std::vector<Block> blocks_;
};

// Batch k has the rows order[bounds[k]] … order[bounds[k + 1] - 1] and the step learning_rate[k].
template <class T>
Progress descend(Network<T>& network, const Descent& descent, const Rows<T>& rows, const std::int64_t* order,
                 const std::int64_t* bounds, const double* learning_rate, std::int64_t batches,
                 Parameters<T> parameters, Others<T> others = {}) {
  Descending<T> run(network, descent, rows, parameters, std::move(others));
  Progress progress{0, 0.0};
  for (; progress.batches < batches; ++progress.batches) {
    const std::int64_t k = progress.batches;
    double loss = 0;
    if (!run.step(k, order, bounds[k], bounds[k + 1] - bounds[k], bounds[batches], learning_rate[k], loss)) break;
    progress.loss += loss;
  }
  run.end();
  return progress;
}

}  // namespace crossent::training
