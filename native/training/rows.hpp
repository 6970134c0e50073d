// The rows that a network learns from, where the caller holds them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace crossent::training {

// Compressed sparse rows: row i has the entries start[i] … start[i + 1] - 1.
template <class T>
struct SparseMatrix {
  const std::int64_t* start = nullptr;  // (rows + 1) or null: there is no such matrix
  const std::int32_t* column = nullptr;
  const T* value = nullptr;
};

template <class T>
struct Rows {
  std::int64_t count = 0;
  std::int64_t features = 0;
  std::int64_t classes = 0;

  // The features, in one of three forms.
  const T* x = nullptr;                 // (count, features) or null
  const std::uint8_t* bytes = nullptr;  // (count, features) or null: a feature is byte_scale times it
  T byte_scale = 1;
  std::int64_t row_step = 0, column_step = 0;  // of x or bytes
  SparseMatrix<T> sparse;
  const T* center = nullptr;  // (features) or null: subtracted from every row as it is read

  // The truth: a label or a distribution for each row.
  const std::int64_t* label = nullptr;  // (count) or null
  const T* probs = nullptr;             // (count, classes) or null
  std::int64_t probs_step = 0;
  SparseMatrix<T> sparse_probs;

  const double* weight = nullptr;   // (count) or null for 1
  const T* class_weight = nullptr;  // (classes) or null for 1
  double smoothing = 0;

  bool is_sparse() const { return sparse.start != nullptr; }
  // Labels alone have the faster kernel; a class weight is then part of the row's weight.
  bool needs_distribution() const { return label == nullptr || smoothing > 0 || class_weight != nullptr; }

  // Row's features minus the center, dense.
  void copy_features(std::int64_t row, T* to) const {
    if (bytes) {
      copy_scaled(bytes + row * row_step, to);
    } else {
      copy_scaled(x + row * row_step, to);
    }
  }

  // Row's truth, dense.
  void copy_probs(std::int64_t row, T* to) const {
    if (probs) {
      std::copy_n(probs + row * probs_step, classes, to);
      return;
    }
    std::fill_n(to, classes, T(0));
    for (std::int64_t k = sparse_probs.start[row]; k < sparse_probs.start[row + 1]; ++k) {
      to[sparse_probs.column[k]] += sparse_probs.value[k];
    }
  }

 private:
  template <class Stored>
  void copy_scaled(const Stored* from, T* to) const {
    if (column_step == 1) {
      copy_steps(from, std::integral_constant<std::int64_t, 1>(), to);
    } else {
      copy_steps(from, column_step, to);
    }
  }

  template <class Stored, class Step>
  void copy_steps(const Stored* from, Step step, T* to) const {
    const T scale = sizeof(Stored) == 1 ? byte_scale : T(1);
    if (center) {
      for (std::int64_t j = 0; j < features; ++j) to[j] = static_cast<T>(from[j * step]) * scale - center[j];
    } else {
      for (std::int64_t j = 0; j < features; ++j) to[j] = static_cast<T>(from[j * step]) * scale;
    }
  }
};

}  // namespace crossent::training
