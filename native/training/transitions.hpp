// What steps without a gradient do to a parameter and its velocity: a 2 x 2 matrix each, and the product of the last of
// them for every place to begin at. With it a row of weights that many batches do not touch catches up in one go.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace crossent::training {

class Transitions {
 public:
  using Matrix = std::array<double, 4>;  // by rows; acts on (velocity, theta)

  std::int64_t steps() const { return steps_; }

  // Adds a step: slope = l2 · theta; velocity = momentum · velocity + slope; theta -= rate · velocity, or Nesterov's
  // variant.
  void add(double rate, double momentum, bool nesterov, double l2) {
    const double grad_share = nesterov ? 1.0 : 0.0, velocity_share = nesterov ? momentum : 1.0;
    const Matrix step{momentum, l2, -rate * velocity_share * momentum, 1.0 - rate * l2 * (grad_share + velocity_share)};
    if (steps_ % kBlock == 0) {
      if (steps_ > 0) {
        // The block that ends here begins the way from every block before it to the new one.
        const Matrix whole = to_end_[steps_ - kBlock];
        for (std::size_t k = 0; k + 1 < to_block_.size(); ++k) to_block_[k] = times(whole, to_block_[k]);
      }
      to_block_.push_back({1, 0, 0, 1});
    }
    to_end_.push_back({1, 0, 0, 1});
    for (std::int64_t from = steps_ / kBlock * kBlock; from <= steps_; ++from) to_end_[from] = times(step, to_end_[from]);
    ++steps_;
  }

  // The product of all steps from number `from` on. Only products, no inverses: nothing cancels or overflows.
  Matrix since(std::int64_t from) const {
    const std::int64_t block = from / kBlock, last = (steps_ - 1) / kBlock;
    if (block == last) return to_end_[from];
    return times(to_end_[last * kBlock], times(to_block_[block], to_end_[from]));
  }

 private:
  static constexpr std::int64_t kBlock = 64;

  static Matrix times(const Matrix& a, const Matrix& b) {
    return {a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3], a[2] * b[0] + a[3] * b[2], a[2] * b[1] + a[3] * b[3]};
  }

  std::int64_t steps_ = 0;
  std::vector<Matrix> to_end_;    // of each step: the product from it to the end of its block
  std::vector<Matrix> to_block_;  // of each block: the product from its end to the beginning of the last block
};

}  // namespace crossent::training
