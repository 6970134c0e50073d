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
  typedef u32 words __attribute__((vector_size(sizeof(F))));  // of floats, without a sign
};
template <>
struct Made<float> {
  using number = float;
  using bits = i32;
  using words = u32;
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
template <class F>
using Words = typename Made<F>::words;

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

// One type per storage: Compute is the type in which its rows are computed. Of sixteen bits, which are widened to 32
// first, one number or a vector of them is turned into floats, and back.
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
  template <class F>
  static F widened(Words<F> x) {
    return bits_as<F>(x << 16);
  }
  // To nearest, ties to even; a NaN stays one even when its low bits are all it had.
  template <class F>
  static Words<F> narrowed(F x) {
    const Words<F> b = bits_as<Words<F>>(x);
    const Words<F> rounded = (b + 0x7fffu + ((b >> 16) & 1u)) >> 16;
    const Words<F> nan = (b >> 16) | 0x40u;
    return (b & 0x7fffffffu) > 0x7f800000u ? nan : rounded;
  }
  static float load(std::uint16_t x) { return widened<float>(x); }
  static std::uint16_t store(float x) { return std::uint16_t(narrowed(x)); }
};

struct Float16 {
  using Stored = std::uint16_t;
  using Compute = float;
  // The exponent is shifted by a multiplication, which also makes subnormals normal numbers.
  template <class F>
  static F widened(Words<F> x) {
    const Words<F> magnitude = (x & 0x7fffu) << 13;
    const Words<F> finite = bits_as<Words<F>>(bits_as<F>(magnitude) * 0x1p112f);
    const Words<F> special = magnitude | 0x7f800000u;
    return bits_as<F>((magnitude >= 0x0f800000u ? special : finite) | ((x & 0x8000u) << 16));
  }
  // To nearest, ties to even. Below 2^-14 the addition of 0.5 aligns the last place of float16 with that of float.
  template <class F>
  static Words<F> narrowed(F x) {
    const Words<F> b = bits_as<Words<F>>(x);
    const Words<F> magnitude = b & 0x7fffffffu;
    const Words<F> normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
    const Words<F> subnormal = bits_as<Words<F>>(bits_as<F>(magnitude) + 0.5f) - 0x3f000000u;
    const Words<F> nan = Words<F>{} + 0x7e00u, infinite = Words<F>{} + 0x7c00u;
    const Words<F> special = magnitude > 0x7f800000u ? nan : infinite;
    const Words<F> small_or_normal = magnitude < 0x38800000u ? subnormal : normal;
    return (magnitude >= 0x477ff000u ? special : small_or_normal) | ((b >> 16) & 0x8000u);
  }
  static float load(std::uint16_t x) { return widened<float>(x); }
  static std::uint16_t store(float x) { return std::uint16_t(narrowed(x)); }
};

}  // namespace
