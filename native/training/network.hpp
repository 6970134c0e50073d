// A softmax network of dense layers: logits = … relu(x·W0 + b0) … ·Wk + bk, its loss and its gradient.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "dispatch.hpp"
#include "training/blas.hpp"
#include "training/dropout.hpp"
#include "training/rows.hpp"

namespace crossent::training {

template <class T>
class Network {
 public:
  // sizes: features, the width of each hidden layer, classes. At most max_rows rows are worked on at once.
  Network(std::vector<std::int64_t> sizes, std::int64_t max_rows, Gemm<T> gemm, int n_threads)
      : sizes_(std::move(sizes)), max_rows_(max_rows), gemm_(gemm), n_threads_(n_threads) {
    for (std::size_t i = 0; i < sizes_.size(); ++i) {
      activation_.emplace_back(max_rows * sizes_[i]);
      // The logits turn into their own gradient, and nobody asks for the input's.
      const bool is_hidden = i > 0 && i + 1 < sizes_.size();
      activation_bar_.emplace_back(is_hidden ? max_rows * sizes_[i] : 0);
      widest_ = std::max(widest_, sizes_[i]);
    }
    column_sum_.resize(widest_);
    label_.resize(max_rows);
    weight_.resize(max_rows);
  }

  std::int64_t layers() const { return static_cast<std::int64_t>(sizes_.size()) - 1; }
  std::int64_t inputs(std::int64_t layer) const { return sizes_[layer]; }
  std::int64_t outputs(std::int64_t layer) const { return sizes_[layer + 1]; }
  std::int64_t weights(std::int64_t layer) const { return inputs(layer) * outputs(layer); }
  std::int64_t max_rows() const { return max_rows_; }

  // All parameters lie in one vector: W0, b0, W1, b1, …, a weight as (inputs, outputs).
  std::int64_t parameters() const {
    std::int64_t total = 0;
    for (std::int64_t layer = 0; layer < layers(); ++layer) total += weights(layer) + outputs(layer);
    return total;
  }

  // Leaves a share of the hidden units out of each row, until it is set to 0 again.
  void set_dropout(double share, std::uint64_t seed) {
    dropout_ = share;
    dropout_seed_ = seed;
  }

  // Sum of the weighted losses of the n rows named by order; fills grad with scale · its gradient.
  double gradient(const T* theta, const Rows<T>& rows, const std::int64_t* order, std::int64_t n, double scale,
                  T* grad) {
    gather(rows, order, n);
    forward(theta, n);
    const double loss = losses(rows, n, scale, activation_.back().data());
    backward(theta, n, grad);
    return loss;
  }

  // Sum of the weighted losses of the n rows named by order; adds to correct those whose greatest logit is at the
  // label, or at the truth's greatest probability (the first of equals).
  double loss(const T* theta, const Rows<T>& rows, const std::int64_t* order, std::int64_t n, std::int64_t& correct) {
    gather(rows, order, n);
    forward(theta, n);
    const std::int64_t classes = sizes_.back();
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t truth = rows.label ? label_[i] : argmax(&probs_[i * classes], classes);
      correct += argmax(&activation_.back()[i * classes], classes) == truth;
    }
    return losses(rows, n, 1.0, nullptr);
  }

 private:
  static std::int64_t argmax(const T* values, std::int64_t n) { return std::max_element(values, values + n) - values; }

  void gather(const Rows<T>& rows, const std::int64_t* order, std::int64_t n) {
    const std::int64_t features = rows.features, classes = rows.classes;
    if (rows.probs) probs_.resize(max_rows_ * classes);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t row = order[i];
      const T* from = rows.x + row * rows.x_step;
      T* to = &activation_.front()[i * features];
      if (rows.center) {
        for (std::int64_t j = 0; j < features; ++j) to[j] = from[j] - rows.center[j];
      } else {
        std::copy_n(from, features, to);
      }
      if (rows.label) label_[i] = rows.label[row];
      if (rows.probs) std::copy_n(rows.probs + row * rows.probs_step, classes, &probs_[i * classes]);
      if (rows.weight) weight_[i] = rows.weight[row];
    }
  }

  void forward(const T* theta, std::int64_t n) {
    for (std::int64_t layer = 0; layer < layers(); ++layer) {
      const std::int64_t units = outputs(layer);
      const T* weight = theta;
      const T* bias = theta + weights(layer);
      T* out = activation_[layer + 1].data();
      for (std::int64_t i = 0; i < n; ++i) std::copy_n(bias, units, out + i * units);
      add_product(gemm_, n, inputs(layer), units, activation_[layer].data(), weight, out);
      if (layer + 1 < layers()) {
        // Written so that NaN stays NaN: a diverged network must not look like a dead one.
        for (std::int64_t i = 0; i < n * units; ++i) out[i] = out[i] < 0 ? T(0) : out[i];
        if (dropout_ > 0) drop_out(out, n * units, dropout_, dropout_seed_ * layers() + layer);
      }
      theta = bias + units;
    }
  }

  double losses(const Rows<T>& rows, std::int64_t n, double scale, T* grad) {
    constexpr Storage storage = std::is_same_v<T, double> ? Storage::f64 : Storage::f32;
    const std::int64_t classes = sizes_.back();
    const LabelJob job{.logits = activation_.back().data(),
                       .classes = classes,
                       .logits_step = classes,
                       .grad_step = classes,
                       .label = rows.label ? label_.data() : nullptr,
                       .row_weight = rows.weight ? weight_.data() : nullptr,
                       .scale = scale,
                       .z_loss = 0.0,
                       .loss = nullptr,
                       .grad = grad};
    if (!rows.needs_distribution()) return run(job, storage, n, n_threads_);
    const DistributionJob soft_job{.rows = job,
                                   .probs = rows.probs ? probs_.data() : nullptr,
                                   .probs_wide = false,
                                   .probs_step = classes,
                                   .class_weight = rows.class_weight,
                                   .smoothing = rows.smoothing,
                                   .z_weight = nullptr};
    return run(soft_job, storage, n, n_threads_);
  }

  void backward(const T* theta, std::int64_t n, T* grad) {
    const std::int64_t total = parameters();
    theta += total;
    grad += total;
    T* out_bar = activation_.back().data();
    for (std::int64_t layer = layers() - 1; layer >= 0; --layer) {
      const std::int64_t units = outputs(layer);
      theta -= weights(layer) + units;
      grad -= weights(layer) + units;
      const T* input = activation_[layer].data();
      weight_gradient(gemm_, n, inputs(layer), units, input, out_bar, grad);
      sum_columns(out_bar, n, units, grad + weights(layer));
      if (layer == 0) break;
      T* input_bar = activation_bar_[layer].data();
      input_gradient(gemm_, n, inputs(layer), units, out_bar, theta, input_bar);
      const T kept_scale = static_cast<T>(1 / (1 - dropout_));
      for (std::int64_t i = 0; i < n * inputs(layer); ++i) {
        input_bar[i] = input[i] > 0 ? input_bar[i] * kept_scale : T(0);
      }
      out_bar = input_bar;
    }
  }

  void sum_columns(const T* values, std::int64_t n, std::int64_t columns, T* sum_out) {
    std::fill_n(column_sum_.begin(), columns, 0.0);
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t j = 0; j < columns; ++j) column_sum_[j] += values[i * columns + j];
    }
    for (std::int64_t j = 0; j < columns; ++j) sum_out[j] = static_cast<T>(column_sum_[j]);
  }

  std::vector<std::int64_t> sizes_;
  std::int64_t max_rows_;
  Gemm<T> gemm_;
  int n_threads_;
  std::int64_t widest_ = 0;
  double dropout_ = 0;
  std::uint64_t dropout_seed_ = 0;
  std::vector<std::vector<T>> activation_;      // of each layer, the gathered rows first, the logits last
  std::vector<std::vector<T>> activation_bar_;  // the loss's derivative by them, hidden layers only
  std::vector<double> column_sum_;
  std::vector<std::int64_t> label_;
  std::vector<T> probs_;
  std::vector<double> weight_;
};

}  // namespace crossent::training
