// The rows that a network learns from, where the caller holds them.
#pragma once

#include <cstdint>

namespace crossent::training {

template <class T>
struct Rows {
  std::int64_t count = 0;
  std::int64_t features = 0;
  std::int64_t classes = 0;
  const T* x = nullptr;  // (count, features), a row's features next to each other
  std::int64_t x_step = 0;
  const T* center = nullptr;  // (features) or null: subtracted from every row as it is read

  // The truth: a label or a distribution for each row.
  const std::int64_t* label = nullptr;  // (count) or null
  const T* probs = nullptr;             // (count, classes) or null
  std::int64_t probs_step = 0;

  const double* weight = nullptr;   // (count) or null for 1
  const T* class_weight = nullptr;  // (classes) or null for 1
  double smoothing = 0;

  // Labels alone have the faster kernel; a class weight is then part of the row's weight.
  bool needs_distribution() const { return probs != nullptr || smoothing > 0 || class_weight != nullptr; }
};

}  // namespace crossent::training
