// A softmax network of dense layers: logits = … relu(x·W0 + b0) … ·Wk + bk, its loss and its gradient.
//
// The work is cut into shards of a batch's rows and blocks of the parameters. How, depends on shapes alone, and no
// number is summed by more than one of them: so the threads, however many there are, change no bit.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "dispatch.hpp"
#include "training/blas.hpp"
#include "training/dropout.hpp"
#include "training/few_class_layer.hpp"
#include "training/rows.hpp"
#include "training/sparse_layer.hpp"
#include "workers.hpp"

namespace crossent::training {

// Parameters that are worked on together: the weights of a layer's inputs [begin, end), or the biases of its units.
struct Block {
  std::int64_t layer;
  bool is_weight;
  std::int64_t begin, end;
  std::int64_t offset, size;  // in the vector of all parameters
};

template <class T>
class Network {
 public:
  // sizes: features, the width of each hidden layer, classes. At most max_rows rows are worked on at once.
  Network(std::vector<std::int64_t> sizes, std::int64_t max_rows, Gemm<T> gemm, int n_threads)
      : sizes_(std::move(sizes)), max_rows_(max_rows), gemm_(gemm), n_threads_(n_threads) {
    for (const std::int64_t size : sizes_) blas_int(size);
    activation_.resize(sizes_.size());
    activation_bar_.resize(sizes_.size());
    for (std::size_t i = 1; i < sizes_.size(); ++i) {
      activation_[i].resize(max_rows * sizes_[i]);
      // The logits turn into their own gradient, and nobody asks for the input's.
      if (i + 1 < sizes_.size()) activation_bar_[i].resize(max_rows * sizes_[i]);
    }
    label_.resize(max_rows);
    weight_.resize(max_rows);
    cut();
  }

  std::int64_t layers() const { return static_cast<std::int64_t>(sizes_.size()) - 1; }
  std::int64_t inputs(std::int64_t layer) const { return sizes_[layer]; }
  std::int64_t outputs(std::int64_t layer) const { return sizes_[layer + 1]; }
  std::int64_t weights(std::int64_t layer) const { return inputs(layer) * outputs(layer); }
  std::int64_t max_rows() const { return max_rows_; }
  int n_threads() const { return n_threads_; }

  // All parameters lie in one vector: W0, b0, W1, b1, …, a weight as (inputs, outputs).
  std::int64_t parameters() const { return blocks_.back().offset + blocks_.back().size; }
  const std::vector<Block>& blocks() const { return blocks_; }

  // Leaves a share of the hidden units out of each row, until it is set to 0 again. `place`, where it is not null, says
  // which of the whole batch's rows each is, of which others are elsewhere.
  void set_dropout(double share, std::uint64_t seed, const std::int64_t* place) {
    dropout_ = share;
    dropout_seed_ = seed;
    dropout_place_ = place;
  }

  // The first layer of sparse rows.
  SparseLayer<T>& sparse_layer() {
    if (!sparse_layer_) sparse_layer_ = std::make_unique<SparseLayer<T>>(inputs(0), outputs(0));
    return *sparse_layer_;
  }

  // The n rows named by order become the batch, theta the parameters that the next calls take.
  // `known` entries of order, n at least, tell which rows come later.
  void load(const T* theta, const Rows<T>& rows, const std::int64_t* order, std::int64_t n, std::int64_t known) {
    rows_ = &rows, order_ = order, n_ = n;
    few_classes_ = layers() == 1 && FewClassLayer<T>::fits(rows);
    if (few_classes_) {
      few_class_layer_.load(rows, order, known, theta);
    } else if (rows.is_sparse()) {
      sparse_layer().load(rows.sparse, order, n);
    } else {
      activation_[0].resize(max_rows_ * inputs(0));
    }
    if (!rows.label) probs_.resize(max_rows_ * rows.classes);
  }

  // Sum of the batch's weighted losses, scale times whose gradient is ready for block_gradient.
  double backpropagate(const T* theta, double scale, Workers& workers) {
    return over_shards(workers, [&](std::int64_t begin, std::int64_t end) {
      forward(theta, begin, end);
      const double loss = losses(begin, end, scale, activation_.back().data());
      backward(theta, begin, end);
      return loss;
    });
  }

  // Sum of the batch's weighted losses; adds to correct the rows whose greatest logit is at the label, or at the
  // truth's greatest probability (the first of equals).
  double loss(const T* theta, Workers& workers, std::int64_t& correct) {
    std::vector<std::int64_t> right((n_ + shard_rows() - 1) / shard_rows());
    const double loss = over_shards(workers, [&](std::int64_t begin, std::int64_t end) {
      forward(theta, begin, end);
      right[begin / shard_rows()] = count_correct(begin, end);
      return losses(begin, end, 1.0, nullptr);
    });
    for (const std::int64_t count : right) correct += count;
    return loss;
  }

  // Fills the block's part of grad, the gradient by all parameters. The first layer's weights for sparse rows are left
  // to sparse_gradient.
  void block_gradient(const Block& block, T* grad) {
    const std::int64_t units = outputs(block.layer);
    const T* bar = out_bar(block.layer);
    if (!block.is_weight) {
      sum_columns(bar, units, block.begin, block.end, grad + block.offset);
    } else if (few_classes_) {
      few_class_layer_.gradient(n_, block.begin, block.end, bar, grad + block.offset);
    } else if (block.layer > 0 || !rows_->is_sparse()) {
      const T* input = activation_[block.layer].data() + block.begin;
      weight_gradient(gemm_, n_, block.end - block.begin, units, input, inputs(block.layer), bar, grad + block.offset);
    }
  }

  void sparse_gradient(Workers& workers, T* grad) {
    SparseLayer<T>& layer = sparse_layer();
    const T* bar = out_bar(0);
    std::vector<T> column_sum(outputs(0));
    sum_columns(bar, outputs(0), 0, outputs(0), column_sum.data());
    workers.run(static_cast<std::int64_t>(blocks_.size()), [&](std::int64_t k) {
      const Block& block = blocks_[k];
      if (block.layer == 0 && block.is_weight) layer.center_gradient(column_sum.data(), block.begin, block.end, grad);
    });
    workers.run(layer.blocks(), [&](std::int64_t k) { layer.add_gradient(bar, k, grad); });
  }

  // The loss's derivative by a layer's output before its activation, a row for each of the batch's.
  const T* out_bar(std::int64_t layer) const {
    return layer + 1 == layers() ? activation_.back().data() : activation_bar_[layer + 1].data();
  }
  std::int64_t batch_rows() const { return n_; }

 private:
  static constexpr std::int64_t kBlockWeights = 131072, kFewestInputs = 64, kBlockBiases = 512;
  static constexpr std::int64_t kShortShard = 64, kLongShard = 512, kShards = 8;
  static constexpr std::int64_t kShardLogits = 1 << 20, kFewestRows = 8;

  static std::int64_t argmax(const T* values, std::int64_t n) { return std::max_element(values, values + n) - values; }

  void cut() {
    std::int64_t offset = 0;
    const auto add = [&](std::int64_t layer, bool is_weight, std::int64_t count, std::int64_t step,
                         std::int64_t width) {
      for (std::int64_t begin = 0; begin < count; begin += step) {
        const std::int64_t end = std::min(begin + step, count), size = (end - begin) * width;
        blocks_.push_back({layer, is_weight, begin, end, offset, size});
        offset += size;
      }
    };
    for (std::int64_t layer = 0; layer < layers(); ++layer) {
      // A quarter of the inputs, but neither a product too small for a BLAS nor weights that leave the cache.
      const std::int64_t most = std::max(kFewestInputs, kBlockWeights / outputs(layer));
      const std::int64_t rows = (std::clamp(inputs(layer) / 4, kFewestInputs, most) + 15) / 16 * 16;
      add(layer, true, inputs(layer), rows, outputs(layer));
      add(layer, false, outputs(layer), kBlockBiases, 1);
    }
  }

  std::int64_t shard_rows() const {
    // Of many classes fewer rows: their logits are to be in the cache still when the loss comes to them.
    const std::int64_t cached = std::max(kFewestRows, kShardLogits / sizes_.back());
    return std::min(std::clamp((n_ / kShards + 15) / 16 * 16, kShortShard, kLongShard), cached);
  }

  // Sum of work(begin, end) over the batch's shards, in their order.
  template <class Work>
  double over_shards(Workers& workers, const Work& work) {
    const std::int64_t rows = shard_rows(), shards = (n_ + rows - 1) / rows;
    std::vector<double> losses(shards);
    workers.run(shards, [&](std::int64_t k) { losses[k] = work(k * rows, std::min((k + 1) * rows, n_)); });
    double total = 0;
    for (const double loss : losses) total += loss;
    return total;
  }

  void gather(std::int64_t begin, std::int64_t end) {
    const Rows<T>& rows = *rows_;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = order_[i];
      if (!few_classes_ && !rows.is_sparse()) copy_features(row, &activation_[0][i * rows.features]);
      if (rows.label) {
        label_[i] = rows.label[row];
      } else {
        rows.copy_probs(row, &probs_[i * rows.classes]);
      }
      if (rows.weight) weight_[i] = rows.weight[row];
    }
  }

  void copy_features(std::int64_t row, T* to) const {
    const Rows<T>& rows = *rows_;
    if (rows.x && rows.column_step == 1) {
      training_kernels<T>().copy_row(rows.x + row * rows.row_step, rows.center, rows.features, to);
    } else {
      rows.copy_features(row, to);
    }
  }

  void forward(const T* theta, std::int64_t begin, std::int64_t end) {
    gather(begin, end);
    for (std::int64_t layer = 0; layer < layers(); ++layer) {
      const std::int64_t units = outputs(layer);
      const T* weight = theta;
      const T* bias = theta + weights(layer);
      T* out = activation_[layer + 1].data();
      if (few_classes_) {
        few_class_layer_.forward(bias, begin, end, out);
      } else if (layer == 0 && rows_->is_sparse()) {
        sparse_layer().forward(weight, bias, begin, end, out);
      } else {
        for (std::int64_t i = begin; i < end; ++i) std::copy_n(bias, units, out + i * units);
        const T* input = activation_[layer].data() + begin * inputs(layer);
        add_product(gemm_, end - begin, inputs(layer), units, input, weight, out + begin * units);
      }
      if (layer + 1 < layers()) {
        training_kernels<T>().relu(out + begin * units, (end - begin) * units);
        if (dropout_ > 0) drop_units_out(out, begin, end, layer);
      }
      theta = bias + units;
    }
  }

  void drop_units_out(T* out, std::int64_t begin, std::int64_t end, std::int64_t layer) const {
    const std::int64_t units = outputs(layer);
    const std::uint64_t seed = dropout_seed_ * layers() + layer;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t place = dropout_place_ ? dropout_place_[i] : i;
      drop_out(out + i * units, units, place * units, dropout_, seed);
    }
  }

  std::int64_t count_correct(std::int64_t begin, std::int64_t end) const {
    const std::int64_t classes = sizes_.back();
    std::int64_t correct = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t truth = rows_->label ? label_[i] : argmax(&probs_[i * classes], classes);
      correct += argmax(&activation_.back()[i * classes], classes) == truth;
    }
    return correct;
  }

  double losses(std::int64_t begin, std::int64_t end, double scale, T* grad) {
    constexpr Storage storage = std::is_same_v<T, double> ? Storage::f64 : Storage::f32;
    const std::int64_t classes = sizes_.back();
    const LabelJob job{.logits = activation_.back().data() + begin * classes,
                       .classes = classes,
                       .logits_step = classes,
                       .grad_step = classes,
                       .label = rows_->label ? label_.data() + begin : nullptr,
                       .row_weight = rows_->weight ? weight_.data() + begin : nullptr,
                       .scale = scale,
                       .z_loss = 0.0,
                       .loss = nullptr,
                       .grad = grad ? grad + begin * classes : nullptr};
    if (!rows_->needs_distribution()) return run(job, storage, end - begin, 1);
    const DistributionJob soft_job{.rows = job,
                                   .probs = rows_->label ? nullptr : probs_.data() + begin * classes,
                                   .probs_wide = false,
                                   .probs_step = classes,
                                   .class_weight = rows_->class_weight,
                                   .smoothing = rows_->smoothing,
                                   .z_weight = nullptr};
    return run(soft_job, storage, end - begin, 1);
  }

  // From the logits' derivative to that of every hidden layer before its activation.
  void backward(const T* theta, std::int64_t begin, std::int64_t end) {
    theta += parameters();
    const T kept_scale = static_cast<T>(1 / (1 - dropout_));
    for (std::int64_t layer = layers() - 1; layer > 0; --layer) {
      const std::int64_t units = outputs(layer), width = inputs(layer);
      theta -= weights(layer) + units;
      const T* input = activation_[layer].data();
      T* input_bar = activation_bar_[layer].data();
      input_gradient(gemm_, end - begin, width, units, out_bar(layer) + begin * units, theta,
                     input_bar + begin * width);
      training_kernels<T>().relu_gradient(input + begin * width, (end - begin) * width, kept_scale,
                                          input_bar + begin * width);
    }
  }

  // Sums of columns [begin, end) of the batch's rows.
  void sum_columns(const T* values, std::int64_t columns, std::int64_t begin, std::int64_t end, T* sum_out) const {
    training_kernels<T>().sum_columns(values + begin, n_, columns, end - begin, sum_out);
  }

  std::vector<std::int64_t> sizes_;
  std::int64_t max_rows_;
  Gemm<T> gemm_;
  int n_threads_;
  std::vector<Block> blocks_;
  double dropout_ = 0;
  std::uint64_t dropout_seed_ = 0;
  const std::int64_t* dropout_place_ = nullptr;
  std::unique_ptr<SparseLayer<T>> sparse_layer_;

  FewClassLayer<T> few_class_layer_;
  bool few_classes_ = false;  // whether that is the layer of the batch

  // The batch.
  const Rows<T>* rows_ = nullptr;
  const std::int64_t* order_ = nullptr;
  std::int64_t n_ = 0;
  std::vector<std::vector<T>> activation_;      // of each layer, the gathered rows first, the logits last
  std::vector<std::vector<T>> activation_bar_;  // the loss's derivative by them, hidden layers only
  std::vector<std::int64_t> label_;
  std::vector<T> probs_;
  std::vector<double> weight_;
};

}  // namespace crossent::training
