// Dropout by a hash of (seed, unit's position): no state, so any order of work and any restart gives the same units.
#pragma once

#include <cstdint>

namespace crossent::training {

// Steele et al., "Fast splittable pseudorandom number generators", 2014: the finaliser of SplitMix64.
inline std::uint64_t scrambled(std::uint64_t bits) {
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
  return bits ^ (bits >> 31);
}

// Sets a share of n values to 0 and divides the others by what is left, so that the expected value stays. The first is
// the one at `position` of all that the seed is for.
template <class T>
void drop_out(T* values, std::int64_t n, std::int64_t position, double share, std::uint64_t seed) {
  const T kept_scale = static_cast<T>(1 / (1 - share));
  const auto threshold = static_cast<std::uint64_t>(share * 0x1p32);
  const std::uint64_t start =
      scrambled(seed * 0x9e3779b97f4a7c15u) + static_cast<std::uint64_t>(position + 1) * 0x9e3779b97f4a7c15u;
  for (std::int64_t i = 0; i < n; ++i) {
    const std::uint64_t draw = scrambled(start + static_cast<std::uint64_t>(i) * 0x9e3779b97f4a7c15u) >> 32;
    values[i] = draw < threshold ? T(0) : values[i] * kept_scale;
  }
}

}  // namespace crossent::training
