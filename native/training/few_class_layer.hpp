// The only layer of a linear model of few classes on dense rows. A BLAS would want the rows copied together, and leaves
// most of the vector lanes empty that would hold classes: here the rows stay where they are, and the lanes hold
// features.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "dispatch.hpp"
#include "training/rows.hpp"

namespace crossent::training {

template <class T>
class FewClassLayer {
 public:
  static constexpr std::int64_t kMostClasses = 24;  // from here on the BLAS is as fast

  static bool fits(const Rows<T>& rows) {
    return !rows.is_sparse() && rows.classes <= kMostClasses && rows.column_step == 1 &&
           rows.features >= std::max(kFewestFeatures, 4 * rows.classes);
  }

  // Of fewer features the lanes would be empty, and summing them up would take longer than filling them.
  static constexpr std::int64_t kFewestFeatures = 16;

  // The rows named by order become the batch, the weights (features, classes) those of forward. `known` entries of
  // order say which rows come later.
  void load(const Rows<T>& rows, const std::int64_t* order, std::int64_t known, const T* weight) {
    step_ = (rows.features + kPadding - 1) / kPadding * kPadding;
    classes_ = rows.classes;
    center_.assign(step_, T(0));
    if (rows.center) std::copy_n(rows.center, rows.features, center_.data());
    weight_.resize(step_ * classes_);
    grad_.resize(step_ * classes_);
    for (std::int64_t c = 0; c < classes_; ++c) {
      for (std::int64_t j = 0; j < rows.features; ++j) weight_[c * step_ + j] = weight[j * classes_ + c];
    }
    const void* x = rows.bytes ? static_cast<const void*>(rows.bytes) : rows.x;
    placed_ = {
        x, rows.bytes != nullptr, rows.row_step, rows.features, double(rows.byte_scale), center_.data(), order, known};
  }

  void forward(const T* bias, std::int64_t begin, std::int64_t end, T* out) const {
    for (std::int64_t i = begin; i < end; ++i) std::copy_n(bias, classes_, out + i * classes_);
    training_kernels<T>().few_forward(placed_, begin, end, weight_.data(), step_, classes_, out);
  }

  // Rows [begin, end) of the gradient by the weights, from that by the n rows' outputs; begin is a multiple of 16.
  void gradient(std::int64_t n, std::int64_t begin, std::int64_t end, const T* out_bar, T* grad) {
    training_kernels<T>().few_gradient(placed_, n, begin, end, out_bar, classes_, grad_.data(), step_);
    for (std::int64_t j = begin; j < end; ++j) {
      for (std::int64_t c = 0; c < classes_; ++c) grad[(j - begin) * classes_ + c] = grad_[c * step_ + j];
    }
  }

 private:
  static constexpr std::int64_t kPadding = 16;

  std::int64_t step_ = 0, classes_ = 0;
  std::vector<T> center_, weight_, grad_;  // padded with zeros; a class a row
  PlacedRows<T> placed_{};
};

}  // namespace crossent::training
