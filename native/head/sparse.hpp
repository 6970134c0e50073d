// The backward products of a tile whose gradient has few entries.
#pragma once

#include "products.hpp"

namespace crossent::head {

// A tile's entries that are not 0, by rows and by classes.
template <class A>
class SparseTile {
 public:
  // Thins the gradient of the tile's rows, and takes down what is left, times `scale`.
  void take(const Rows<A>& rows, const Tile<A>& tile, A* grad, const Thinning& thinning, A scale) {
    const std::int64_t count = tile.end - tile.begin;
    row_start_.assign(static_cast<std::size_t>(count) + 1, 0);
    class_start_.assign(static_cast<std::size_t>(tile.width) + 1, 0);
    kept_.resize(static_cast<std::size_t>(tile.width));
    place_.clear();
    value_.clear();
    for (std::int64_t i = 0; i < count; i++) {
      const std::int64_t row = tile.begin + i;
      A* g = grad + i * tile.width;
      const double threshold = thinning.threshold * rows.row[row].truth;
      const std::int64_t found = head_kernels<A>().thin(g, tile.width, tile.first, threshold,
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

  // weight_grad += gradᵀ · x
  void add_weight_grad(std::int64_t features, const A* x, A* out) {
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
    training_kernels<A>().add_sparse_product(class_start_.data(), by_class_row_.data(), by_class_value_.data(), x,
                                             features, 0, width, out);
  }

  std::int64_t entries() const { return static_cast<std::int64_t>(place_.size()); }

 private:
  std::vector<std::int64_t> row_start_, class_start_, next_;
  std::vector<std::int32_t> kept_, place_, by_class_row_;
  std::vector<A> value_, by_class_value_;
};

}  // namespace crossent::head
