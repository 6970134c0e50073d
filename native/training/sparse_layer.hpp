// The first layer where rows are sparse. Neither the rows minus their center c nor the gradient are ever built.
//
// With S the stored weights, a vector w and t = c'S the layer's weights are W = S + c w', so that
//   (x - c)'W = x'S + (x'c - |c|²) w' - t'     and     dL/dW = X'G - c g',  g the column sums of G = dL/d(output):
// X'G changes S in the rows of features that the batch has, -g changes w, and c'X'G = Σ_i (x_i'c) G_i changes t. Momentum
// and the l2 penalty act on S, w and t alike; on rows of S that the batch does not have they act later, all at once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "dispatch.hpp"
#include "training/sparse_batch.hpp"
#include "training/transitions.hpp"

namespace crossent::training {

struct SgdStep {
  double rate, momentum;
  bool nesterov;
  double l2;
};

// A few doubles with their velocities.
class Recurrence {
 public:
  std::vector<double> value, velocity;

  void reset(std::int64_t n) {
    value.assign(n, 0.0);
    velocity.assign(n, 0.0);
  }

  // Of the numbers [begin, end), whose gradient it is given.
  void step(const double* grad, std::int64_t begin, std::int64_t end, const SgdStep& step) {
    const double grad_share = step.nesterov ? 1.0 : 0.0, velocity_share = step.nesterov ? step.momentum : 1.0;
    for (std::int64_t c = begin; c < end; ++c) {
      const double slope = grad[c - begin] + step.l2 * value[c];
      velocity[c] = step.momentum * velocity[c] + slope;
      value[c] -= step.rate * (grad_share * slope + velocity_share * velocity[c]);
    }
  }
};

template <class T>
class SparseLayer {
 public:
  static constexpr std::int64_t kBlock = 64;  // touched features in a unit of work

  SparseLayer(std::int64_t features, std::int64_t units) : features_(features), units_(units), batch_(features) {}

  // Takes the center, and its product with weights that change no more until the next call.
  void fix(const T* center, const T* weight) {
    center_ = center;
    square_ = 0;
    rank_.reset(units_);
    shift_.reset(units_);
    if (!center) return;
    for (std::int64_t j = 0; j < features_; ++j) square_ += double(center[j]) * double(center[j]);
    add_center_product(weight, shift_.value);
  }

  void load(const SparseMatrix<T>& rows, const std::int64_t* order, std::int64_t n) {
    batch_.load(rows, order, n);
    if (!center_) return;
    center_dot_.assign(n, 0.0);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t k = batch_.row_start()[i]; k < batch_.row_start()[i + 1]; ++k) {
        center_dot_[i] += double(batch_.value()[k]) * double(center_[batch_.feature()[k]]);
      }
    }
  }

  std::int64_t blocks() const { return (batch_.touched() + kBlock - 1) / kBlock; }

  // out (rows of the whole batch) for rows [begin, end).
  void forward(const T* weight, const T* bias, std::int64_t begin, std::int64_t end, T* out) const {
    for (std::int64_t i = begin; i < end; ++i) {
      const double along = center_ ? center_dot_[i] - square_ : 0.0;
      for (std::int64_t c = 0; c < units_; ++c) {
        out[i * units_ + c] = center_ ? static_cast<T>(bias[c] + along * rank_.value[c] - shift_.value[c]) : bias[c];
      }
    }
    level().add_sparse_product(batch_.row_start(), batch_.feature(), batch_.value(), weight, units_, begin, end,
                               out + begin * units_);
  }

  // The gradient by all weights in two steps: first everywhere what the center gives, then block by block the rest.
  void center_gradient(const T* column_sum, std::int64_t begin, std::int64_t end, T* grad) const {
    for (std::int64_t j = begin; j < end; ++j) {
      for (std::int64_t c = 0; c < units_; ++c) grad[j * units_ + c] = center_ ? -center_[j] * column_sum[c] : T(0);
    }
  }
  void add_gradient(const T* out_bar, std::int64_t block, T* grad) const {
    each_touched(block, [&](std::int64_t slot, std::int64_t feature) {
      product(out_bar, slot, grad + feature * units_);
    });
  }

  // Descent that leaves out the rows of S that a batch does not touch, from start_descent to end_descent: in between
  // weight and velocity hold S and its velocity, each row as of the step at which it was last touched.
  void start_descent(const T* center, const T* weight, const T* velocity) {
    fix(center, weight);
    if (center) add_center_product(velocity, shift_.velocity);
    transitions_ = Transitions();
    as_of_.assign(features_, 0);
  }

  void catch_up(std::int64_t block, T* weight, T* velocity) {
    each_touched(block, [&](std::int64_t, std::int64_t feature) { catch_up_row(feature, weight, velocity); });
  }

  void step(std::int64_t block, const T* out_bar, const SgdStep& step, T* weight, T* velocity) {
    std::vector<T> grad(units_);
    each_touched(block, [&](std::int64_t slot, std::int64_t feature) {
      std::fill(grad.begin(), grad.end(), T(0));
      product(out_bar, slot, grad.data());
      level().sgd_step(weight + feature * units_, velocity + feature * units_, grad.data(), units_,
                       static_cast<T>(step.rate), static_cast<T>(step.momentum), step.nesterov,
                       static_cast<T>(step.l2));
      as_of_[feature] = static_cast<std::int32_t>(transitions_.steps()) + 1;
    });
  }

  // The step of w and t for units [begin, end); out_bar has n rows.
  void step_center(const T* out_bar, std::int64_t n, std::int64_t begin, std::int64_t end, const SgdStep& step) {
    if (!center_) return;
    std::vector<double> rank_grad(end - begin), shift_grad(end - begin);
    for (std::int64_t i = 0; i < n; ++i) {
      const T* bar = out_bar + i * units_ + begin;
      for (std::int64_t c = 0; c < end - begin; ++c) {
        rank_grad[c] -= double(bar[c]);
        shift_grad[c] += center_dot_[i] * double(bar[c]);
      }
    }
    rank_.step(rank_grad.data(), begin, end, step);
    shift_.step(shift_grad.data(), begin, end, step);
  }

  // After the step of all blocks and units.
  void end_step(const SgdStep& step) { transitions_.add(step.rate, step.momentum, step.nesterov, step.l2); }

  void end_descent(std::int64_t begin, std::int64_t end, T* weight, T* velocity) {
    for (std::int64_t j = begin; j < end; ++j) {
      catch_up_row(j, weight, velocity);
      for (std::int64_t c = 0; c < units_ && center_; ++c) {
        weight[j * units_ + c] += static_cast<T>(double(center_[j]) * rank_.value[c]);
        velocity[j * units_ + c] += static_cast<T>(double(center_[j]) * rank_.velocity[c]);
      }
    }
  }

 private:
  static const Kernels<T>& level() { return training_kernels<T>(); }

  template <class Visit>
  void each_touched(std::int64_t block, const Visit& visit) const {
    const std::int64_t end = std::min((block + 1) * kBlock, batch_.touched());
    for (std::int64_t slot = block * kBlock; slot < end; ++slot) visit(slot, std::int64_t(batch_.touched(slot)));
  }

  void product(const T* out_bar, std::int64_t slot, T* grad) const {
    level().add_sparse_product(batch_.slot_start(), batch_.slot_row(), batch_.slot_value(), out_bar, units_, slot,
                               slot + 1, grad);
  }

  void catch_up_row(std::int64_t feature, T* weight, T* velocity) {
    if (as_of_[feature] == transitions_.steps()) return;
    const Transitions::Matrix matrix = transitions_.since(as_of_[feature]);
    level().carry(velocity + feature * units_, weight + feature * units_, units_, matrix.data());
    as_of_[feature] = static_cast<std::int32_t>(transitions_.steps());
  }

  void add_center_product(const T* matrix, std::vector<double>& sum) const {
    for (std::int64_t j = 0; j < features_; ++j) {
      for (std::int64_t c = 0; c < units_; ++c) sum[c] += double(center_[j]) * double(matrix[j * units_ + c]);
    }
  }

  std::int64_t features_, units_;
  SparseBatch<T> batch_;
  const T* center_ = nullptr;
  double square_ = 0;               // |c|²
  std::vector<double> center_dot_;  // x'c of each row of the batch
  Recurrence rank_, shift_;         // w and t
  Transitions transitions_;
  std::vector<std::int32_t> as_of_;  // of each row of weights: the steps that it has taken
};

}  // namespace crossent::training
