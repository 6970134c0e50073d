// A row of the gradient with few entries and the same expectation; and numbers of 16 bits made wide, and back.
#pragma once

#include "../../kernels/floats.hpp"

namespace {

namespace head {

// 32 bits of which each depends on every bit of the class and of the key (two rounds of multiply and shift; the
// constants are C. Wellons' "lowbias32", 2018).
inline u32 mixed(u32 x) {
  x = (x ^ (x >> 16)) * 0x7feb352du;
  x = (x ^ (x >> 15)) * 0x846ca68bu;
  return x ^ (x >> 16);
}

inline u32 luck(u64 key, u32 c) { return mixed(mixed(c + u32(key)) ^ u32(key >> 32)); }

// A uniform number in [0, 2^24) with 53 bits, of which the first 24 are `whole`.
inline double fine_luck(u32 whole, u64 key, u32 c) {
  const u32 more = luck(key ^ 0x9e3779b97f4a7c15ull, c);
  return double(whole) + double(more >> 3) * 0x1p-29;
}

template <class A>
i64 thin(A* grad, i64 width, i64 first, double threshold, u64 key, std::int32_t* kept_out) {
  constexpr i64 kStep = 64;
  const float limit = float(threshold), per_entry = float(0x1p24 / threshold);
  i64 count = 0;
  alignas(64) u32 whole[kStep];
  alignas(64) std::int32_t chosen[kStep];
  for (i64 start = 0; start < width; start += kStep) {
    const int lanes = int(smaller<i64>(kStep, width - start));
    int any = 0;
#pragma omp simd reduction(| : any)
    for (int j = 0; j < lanes; j++) {
      const float size = absolute(float(grad[start + j]));
      whole[j] = luck(key, u32(first + start + j)) >> 8;
      // A little too often: the finer bits decide below. NaN is kept.
      chosen[j] = !(float(i32(whole[j])) > size * per_entry * 1.000001f) || !(size < limit) ? 1 : 0;
      any |= chosen[j];
    }
    if (any == 0) continue;
    for (int j = 0; j < lanes; j++) {
      if (chosen[j] == 0) continue;
      A& g = grad[start + j];
      const double size = absolute(double(g));
      if (size < threshold) {
        if (!(fine_luck(whole[j], key, u32(first + start + j)) < size * (0x1p24 / threshold))) continue;
        g = A(g < 0 ? -threshold : threshold);
      }
      kept_out[count++] = std::int32_t(start + j);
    }
  }
  return count;
}

template <class A>
void widen(const std::uint16_t* from, i64 count, bool bfloat, A* to) {
  if (bfloat) {
#pragma omp simd
    for (i64 i = 0; i < count; i++) to[i] = A(BFloat16::load(from[i]));
  } else {
#pragma omp simd
    for (i64 i = 0; i < count; i++) to[i] = A(Float16::load(from[i]));
  }
}

template <class A>
void narrow(const A* from, i64 count, std::uint16_t* to) {
#pragma omp simd
  for (i64 i = 0; i < count; i++) to[i] = BFloat16::store(float(from[i]));
}

}  // namespace head

}  // namespace
