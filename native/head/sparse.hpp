// The backward products of a tile whose gradient has few entries.
#pragma once

#include "products.hpp"

namespace crossent::head {

// A tile's entries that are not 0, by rows and by classes.
template <class A>
class SparseTile {
 public:
  // Thins the gradient of the tile's rows, which lie `step` numbers apart, each with a threshold of its own, and takes
  // down what is left, times `scale`.
  template <class ThresholdOf>
  void take(const Tile<A>& tile, A* grad, std::int64_t step, const Thinning& thinning, const ThresholdOf& threshold_of,
            A scale) {
    const std::int64_t count = tile.end - tile.begin;
    row_start_.assign(static_cast<std::size_t>(count) + 1, 0);
    class_start_.assign(static_cast<std::size_t>(tile.width) + 1, 0);
    kept_.resize(static_cast<std::size_t>(tile.width));
    place_.clear();
    value_.clear();
    for (std::int64_t i = 0; i < count; i++) {
      const std::int64_t row = tile.begin + i;
      A* g = grad + i * step;
      const double threshold = std::abs(threshold_of(row));
      // A row without weight has no gradient.
      const std::int64_t found =
          threshold == 0 ? 0
                         : head_kernels<A>().thin(g, tile.width, tile.first, threshold,
                                                  key_of(thinning.seed, thinning.row_number[row]), kept_.data());
      for (std::int64_t k = 0; k < found; k++) {
        const std::int32_t c = kept_[static_cast<std::size_t>(k)];
        place_.push_back(c);
        value_.push_back(scale * g[c]);
        class_start_[static_cast<std::size_t>(c) + 1]++;
      }
      row_start_[static_cast<std::size_t>(i) + 1] = static_cast<std::int64_t>(place_.size());
    }
  }

  // x_grad += grad · weight
  void add_x_grad(std::int64_t features, const A* weight, A* out) const {
    const auto count = static_cast<std::int64_t>(row_start_.size()) - 1;
    training_kernels<A>().add_sparse_product(row_start_.data(), place_.data(), value_.data(), weight, features, 0,
                                             count, out);
  }

  // Sorts the entries by classes, for the weight's gradient.
  void sort() {
    const auto width = static_cast<std::int64_t>(class_start_.size()) - 1;
    for (std::size_t c = 0; c < static_cast<std::size_t>(width); c++) class_start_[c + 1] += class_start_[c];
    next_.assign(class_start_.begin(), class_start_.end() - 1);
    by_class_row_.resize(place_.size());
    by_class_value_.resize(place_.size());
    for (std::size_t i = 0; i + 1 < row_start_.size(); i++) {
      for (auto k = static_cast<std::size_t>(row_start_[i]); k < static_cast<std::size_t>(row_start_[i + 1]); k++) {
        const auto at = static_cast<std::size_t>(next_[static_cast<std::size_t>(place_[k])]++);
        by_class_row_[at] = static_cast<std::int32_t>(i);
        by_class_value_[at] = value_[k];
      }
    }
  }

  // weight_grad += gradᵀ · x, of classes [begin, end) of the tile
  void add_weight_grad(std::int64_t features, const A* x, std::int64_t begin, std::int64_t end, A* out) const {
    training_kernels<A>().add_sparse_product(class_start_.data(), by_class_row_.data(), by_class_value_.data(), x,
                                             features, begin, end, out);
  }

 private:
  std::vector<std::int64_t> row_start_, class_start_, next_;
  std::vector<std::int32_t> kept_, place_, by_class_row_;
  std::vector<A> value_, by_class_value_;
};

// x_grad += grad · weight and weight_grad += gradᵀ · x, of the thinned gradient of all rows of a tile.
template <class A>
void add_thin_products(const Tile<A>& tile, const Thinning& thinning, const double* threshold, std::int64_t features,
                       const A* x, const A* weight, A* x_grad, A* weight_grad, int n_threads) {
  // What is added up in which order does not hang on the number of threads.
  constexpr std::int64_t kRows = 256, kClasses = 64;
  const std::int64_t blocks = (tile.end - tile.begin + kRows - 1) / kRows;
  std::vector<SparseTile<A>> entries(static_cast<std::size_t>(blocks));
#pragma omp parallel for schedule(dynamic) num_threads(n_threads) if (n_threads > 1)
  for (std::int64_t block = 0; block < blocks; block++) {
    SparseTile<A>& of_block = entries[static_cast<std::size_t>(block)];
    Tile<A> part = tile;
    part.begin = tile.begin + block * kRows;
    part.end = std::min(part.begin + kRows, tile.end);
    A* grad = tile.z + (part.begin - tile.begin) * tile.step;
    of_block.take(part, grad, tile.step, thinning, [&](std::int64_t row) { return threshold[row]; }, A(1));
    if (x_grad != nullptr) of_block.add_x_grad(features, weight, x_grad + part.begin * features);
    if (weight_grad != nullptr) of_block.sort();
  }
  if (weight_grad == nullptr) return;
#pragma omp parallel for schedule(dynamic) num_threads(n_threads) if (n_threads > 1)
  for (std::int64_t begin = 0; begin < tile.width; begin += kClasses)
    for (std::int64_t block = 0; block < blocks; block++)
      entries[static_cast<std::size_t>(block)].add_weight_grad(features, x + (tile.begin + block * kRows) * features,
                                                               begin, std::min(begin + kClasses, tile.width),
                                                               weight_grad + begin * features);
}

}  // namespace crossent::head
