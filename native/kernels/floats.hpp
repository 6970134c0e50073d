// Storage types, their conversions, and error-free addition. No standard-library templates: a template instantiated
// in a level's object file may be merged with another level's copy by the linker, and then run on a CPU without it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace {

using i32 = std::int32_t;
using u32 = std::uint32_t;
using i64 = std::int64_t;
using u64 = std::uint64_t;

constexpr float kInf = __builtin_inff();

template <class To, class From>
inline To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}

// What numbers are made of, one or a vector of them: the type of one, and the integers that hold their bits.
template <class F>
struct Made {
  using number = decltype(F{}[0] + 0);
  using bits = decltype(F{} < F{});
};
template <>
struct Made<float> {
  using number = float;
  using bits = i32;
};
template <>
struct Made<double> {
  using number = double;
  using bits = i64;
};
template <class F>
using NumberOf = typename Made<F>::number;
template <class F>
using Bits = typename Made<F>::bits;

template <class A>
inline A larger(A a, A b) {
  return a < b ? b : a;  // a when either is NaN
}

template <class A>
inline A smaller(A a, A b) {
  return b < a ? b : a;
}

inline double absolute(double x) { return bits_as<double>(bits_as<u64>(x) & 0x7fffffffffffffffull); }
inline float absolute(float x) { return bits_as<float>(bits_as<u32>(x) & 0x7fffffffu); }

// hi + lo == a + b exactly (TwoSum: Knuth 1969, The Art of Computer Programming 2, section 4.2.2).
template <class A>
inline void two_sum(A a, A b, A& hi, A& lo) {
  hi = a + b;
  const A of_b = hi - a;
  lo = (a - (hi - of_b)) + (b - of_b);
}

// A running sum whose error stays that of one addition however many terms it has (Neumaier 1974).
template <class A>
struct ExactishSum {
  A hi = 0, lo = 0;
  void add(A term) {
    A rest;
    two_sum(hi, term, hi, rest);
    // An infinite or NaN sum has no rest: inf - inf would turn inf into NaN.
    lo += rest - rest == 0 ? rest : A(0);
  }
  A value() const { return hi + lo; }
};

// One type per storage: Compute is the type in which its rows are computed.
struct Float64 {
  using Stored = double;
  using Compute = double;
  static double load(double x) { return x; }
  static double store(double x) { return x; }
};

struct Float32 {
  using Stored = float;
  using Compute = float;
  static float load(float x) { return x; }
  static float store(float x) { return x; }
};

struct BFloat16 {
  using Stored = std::uint16_t;
  using Compute = float;
  static float load(std::uint16_t x) { return bits_as<float>(u32(x) << 16); }
  // To nearest, ties to even; a NaN stays one even when its low bits are all it had.
  static std::uint16_t store(float x) {
    const u32 b = bits_as<u32>(x);
    const u32 rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
    const u32 nan = (b >> 16) | 0x40u;
    return std::uint16_t((b & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
  }
};

struct Float16 {
  using Stored = std::uint16_t;
  using Compute = float;
  // The exponent is shifted by a multiplication, which also makes subnormals normal numbers.
  static float load(std::uint16_t x) {
    const u32 magnitude = u32(x & 0x7fffu) << 13;
    const u32 finite = bits_as<u32>(bits_as<float>(magnitude) * 0x1p112f);
    const u32 special = magnitude | 0x7f800000u;
    return bits_as<float>((magnitude >= 0x0f800000u ? special : finite) | (u32(x & 0x8000u) << 16));
  }
  // To nearest, ties to even. Below 2^-14 the addition of 0.5 aligns the last place of float16 with that of float.
  static std::uint16_t store(float x) {
    const u32 b = bits_as<u32>(x);
    const u32 magnitude = b & 0x7fffffffu;
    const u32 normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    const u32 subnormal = bits_as<u32>(bits_as<float>(magnitude) + 0.5f) - 0x3f000000u;
    const u32 special = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
    const u32 small_or_normal = magnitude < 0x38800000u ? subnormal : normal;
    const u32 any = magnitude >= 0x477ff000u ? special : small_or_normal;
    return std::uint16_t(any | ((b >> 16) & 0x8000u));
  }
};

}  // namespace
