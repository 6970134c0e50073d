// exp and log1p as straight-line code that the compiler can put in vector registers.
// The coefficients are minimax fits, printed by tools/fit_polynomials.py with their errors.
#pragma once

#include "floats.hpp"

namespace {

template <class A>
constexpr A log2_e = A(1.44269504088896340736);

// exp(d + delta) = 2^n · (1 + p), for d <= 0 and |delta| far below 1: d = n·ln 2 + r, |r| <= ln(2)/2. A magic number
// rounds d / ln 2 to an integer by pushing the fraction out of the register; kRaise is the power of 2 by which the
// result is multiplied so that none of it is subnormal, and the magic number already holds it and the exponent's bias.
struct ExpFloat {
  static constexpr int exponent_bias = 127, exponent_at = 23;
  static constexpr float magic = 0x1.8p23f;
  // ln 2 in two parts: the first, times the n of any logit that is `near` or a `floor` below it, is exact.
  static constexpr float ln2_hi = 0x1.62ep-1f, ln2_lo = 0x1.0bfbe8p-15f;
  static constexpr float near = 512.0f;     // for a larger m, z - m is exact where it is above `floor`
  static constexpr float lowest = -105.0f;  // exp of it rounds to 0
  static constexpr float floor = -125.0f;   // exp of it is far below the smallest float
  static constexpr float far = 0x1p24f;     // up to here sums with `floor` are accurate
  static constexpr int kRaise = 64;
  static constexpr float raise = 0x1p64f, lower = 0x1p-64f;

  // exp(r) - 1 for |r| <= ln(2)/2.
  template <class F>
  static F less_one(F r) {
    F q = 0.0013950036274875775f * r + 0.0083686895131750674f;
    q = q * r + 0.041666214878639240f;
    q = q * r + 0.16666520992696929f;
    q = q * r + 0.50000000908462400f;
    return q * (r * r) + r;
  }

  // exp(d + delta) · 2^64 for d >= -130.
  template <class F>  // float, or a vector of them
  static F raised(F d, F delta) {
    const float biased = magic + float(exponent_bias + kRaise);
    const F shifted = d * log2_e<float> + biased;
    const F n = shifted - biased;
    // The second part of ln 2 and delta are as small, and join before their sum is rounded into r.
    const F p = less_one<F>((d - n * ln2_hi) + (delta - n * ln2_lo));
    const F power = bits_as<F>(bits_as<Bits<F>>(shifted) << 23);
    return power * p + power;
  }
};

struct ExpDouble {
  static constexpr int exponent_bias = 1023, exponent_at = 52;
  static constexpr double magic = 0x1.8p52;
  static constexpr double ln2_hi = 0x1.62e42fefap-1, ln2_lo = 0x1.cf79abc9e3b3ap-40;
  static constexpr double near = 4096.0;
  static constexpr double lowest = -746.0;
  static constexpr double floor = -780.0;
  static constexpr double far = 0x1p52;
  static constexpr int kRaise = 128;
  static constexpr double raise = 0x1p128, lower = 0x1p-128;

  // exp(r) - 1 for |r| <= ln(2)/2.
  template <class F>
  static F less_one(F r) {
    F q = 2.5117091123565709008e-8 * r + 2.7630008101443748123e-7;
    q = q * r + 2.7557219036271285579e-6;
    q = q * r + 2.4801493879108496863e-5;
    q = q * r + 0.00019841269913870739026;
    q = q * r + 0.0013888888942735643103;
    q = q * r + 0.0083333333333091167934;
    q = q * r + 0.041666666666534345015;
    q = q * r + 0.16666666666666695406;
    q = q * r + 0.50000000000000099824;
    return q * (r * r) + r;
  }

  // p and n of exp(d + delta) = 2^n · (1 + p).
  template <class F>  // double, or a vector of them
  static void parts(F d, F delta, F& p, Bits<F>& n) {
    const F shifted = d * log2_e<double> + magic;
    const F whole = shifted - magic;
    p = less_one<F>((d - whole * ln2_hi) + (delta - whole * ln2_lo));
    n = bits_as<Bits<F>>(shifted) - bits_as<i64>(magic);
  }

  // exp(d + delta) · 2^128 for d >= -790.
  template <class F>
  static F raised(F d, F delta) {
    F p;
    Bits<F> n;
    parts(d, delta, p, n);
    const F power = bits_as<F>((n + (1023 + kRaise)) << 52);
    return power * p + power;
  }
};

template <class A>
struct ExpOf;
template <>
struct ExpOf<float> : ExpFloat {};
template <>
struct ExpOf<double> : ExpDouble {};

// exp(z - m) for z <= m, of the exact difference: its rounding error (up to half an ulp of m) becomes delta.
// A subnormal result is rounded once, -inf gives 0, NaN stays NaN.
template <class F>
inline F exp_of_difference(F z, F m) {
  using Exp = ExpOf<NumberOf<F>>;
  F d, delta;
  two_sum(z, -m, d, delta);
  const auto below = d < Exp::lowest;
  const F lowest = F{} + Exp::lowest;
  return Exp::raised(below ? lowest : d, below ? F{} : delta) * Exp::lower;
}

// The same times Exp::raise, so that it is not subnormal, for |m| <= Exp::far; below `floor`, m + Exp::floor, it is 0.
template <class F>
inline F raised_exp_of_difference(F z, F m, F floor) {
  F d, delta;
  two_sum(z, -m, d, delta);
  const F any = ExpOf<NumberOf<F>>::raised(d, delta);
  return z < floor ? F{} : any;
}

// exp(x) · 2^-k · Exp::raise for any x that is near, and whose exp is not far below 2^k; 0 below `floor`. The power is
// part of the magic number: Exp::magic + Exp::exponent_bias + Exp::kRaise - k.
template <class F>
inline F exp_by_power(F x, F magic, F floor) {
  using Exp = ExpOf<NumberOf<F>>;
  const F shifted = x * log2_e<NumberOf<F>> + magic;
  const F n = shifted - magic;
  const F p = Exp::less_one((x - n * Exp::ln2_hi) - n * Exp::ln2_lo);
  const F power = bits_as<F>(bits_as<Bits<F>>(shifted) << Exp::exponent_at);
  const F any = power * p + power;
  return x < floor ? F{} : any;
}

// x · 2^n in two exact steps and one rounding, for |n| <= 2040.
inline double scale_by_power(double x, i64 n) {
  const i64 half = i64(u64(n + 4096) >> 1) - 2048;  // AVX2 has no shift that keeps the sign
  return x * bits_as<double>((half + 1023) << 52) * bits_as<double>((n - half + 1023) << 52);
}

// log(1 + x) for x >= 1/sqrt 2 - 1 or hardly less, error < 1 ulp where x >= 0, and 1 / (1 + x). With
// 1 + x = 2^k · (1 + t), t in [1/sqrt 2 - 1, sqrt 2 - 1]:
// log(1 + t) = 2 atanh(s), s = t / (2 + t), arranged so that the leading term t carries no rounding error. Both
// quotients come from one division, which costs as much as ten multiplications. Inlined by order: a loop with a call in
// it is not vectorised.
[[gnu::always_inline]] inline double log1p_and_inverse(double x, double& inverse_out) {
  double u, rest;
  two_sum(1.0, x, u, rest);
  // The exponent of u / (1/sqrt 2), found on the bits, is k. Less than 1/sqrt 2 by 2e-12: u may be as small, and k must
  // not be negative.
  constexpr u64 half_root = 0x3fe6a09e667f0000ull, root = half_root + (u64(1) << 52);
  const u64 k = (bits_as<u64>(u) - half_root) >> 52;
  const double down = bits_as<double>((1023 - k) << 52);
  // Exact: u · 2^-k is in [0.707, 1.42), and rest · 2^-k is below an ulp of it.
  const double t = u < bits_as<double>(root) ? x : (u * down - 1.0) + rest * down;
  const double v = 2.0 + t;
  const double both = 1.0 / (u * v);
  inverse_out = both * v;
  const double s = t * (both * u);
  const double z = s * s;
  double p = 0.1476961045430832124;
  p = p * z + 0.15316892834680567379;
  p = p * z + 0.18183443205583079291;
  p = p * z + 0.222222011480713577;
  p = p * z + 0.28571428714127883146;
  p = p * z + 0.39999999999562130886;
  p = p * z + 0.66666666666667072071;
  const double half_square = 0.5 * t * t;
  const double correction = s * (half_square + z * p);
  const double whole = bits_as<double>(k | 0x4330000000000000ull) - 0x1p52;  // k, by means that every level has
  const double result = whole * 0x1.62e42fefa38p-1 + (t - (half_square - (correction + whole * 0x1.ef35793c7673p-45)));
  // inf and NaN have no exponent to take out.
  return x < 0x1p1000 ? result : x;
}

inline double log1p_nonnegative(double x) {
  double inverse;
  return log1p_and_inverse(x, inverse);
}

}  // namespace
