// The sparse rows of a batch, by row and by feature.
#pragma once

#include <cstdint>
#include <vector>

#include "training/rows.hpp"

namespace crossent::training {

template <class T>
class SparseBatch {
 public:
  explicit SparseBatch(std::int64_t features) : slot_of_(features, -1) {}

  // By row: the entries of row i of the batch, their features and values.
  const std::int64_t* row_start() const { return row_start_.data(); }
  const std::int32_t* feature() const { return feature_.data(); }
  const T* value() const { return value_.data(); }

  // By feature: the features that the batch has, in the order in which it first has them; the rows and values of each.
  std::int64_t touched() const { return static_cast<std::int64_t>(touched_.size()); }
  std::int32_t touched(std::int64_t slot) const { return touched_[slot]; }
  const std::int64_t* slot_start() const { return slot_start_.data(); }
  const std::int32_t* slot_row() const { return slot_row_.data(); }
  const T* slot_value() const { return slot_value_.data(); }

  void load(const SparseMatrix<T>& rows, const std::int64_t* order, std::int64_t n) {
    touched_.clear(), feature_.clear(), value_.clear(), slot_.clear();
    row_start_.assign(1, 0), count_.clear();
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t k = rows.start[order[i]]; k < rows.start[order[i] + 1]; ++k) add(rows.column[k], rows.value[k]);
      row_start_.push_back(static_cast<std::int64_t>(feature_.size()));
    }
    for (const std::int32_t feature : touched_) slot_of_[feature] = -1;
    turn(n);
  }

 private:
  void add(std::int32_t feature, T value) {
    std::int32_t& slot = slot_of_[feature];
    if (slot < 0) {
      slot = static_cast<std::int32_t>(touched_.size());
      touched_.push_back(feature);
      count_.push_back(0);
    }
    ++count_[slot];
    slot_.push_back(slot);
    feature_.push_back(feature);
    value_.push_back(value);
  }

  void turn(std::int64_t n) {
    slot_start_.assign(1, 0);
    for (std::int64_t& count : count_) {
      slot_start_.push_back(slot_start_.back() + count);
      count = slot_start_[slot_start_.size() - 2];  // from here on: where the slot's next entry goes
    }
    slot_row_.resize(slot_.size());
    slot_value_.resize(slot_.size());
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t k = row_start_[i]; k < row_start_[i + 1]; ++k) {
        const std::int64_t at = count_[slot_[k]]++;
        slot_row_[at] = static_cast<std::int32_t>(i);
        slot_value_[at] = value_[k];
      }
    }
  }

  std::vector<std::int32_t> slot_of_;  // of each feature: its place among the touched ones, or -1
  std::vector<std::int32_t> touched_, feature_, slot_, slot_row_;
  std::vector<std::int64_t> row_start_, slot_start_, count_;
  std::vector<T> value_, slot_value_;
};

}  // namespace crossent::training
