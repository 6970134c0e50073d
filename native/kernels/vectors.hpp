// Numbers in the level's vector registers, where a loop would not stay in them; squares of them turned on their side.
#pragma once

#include "floats.hpp"

namespace {

constexpr int kVectorBytes = __BIGGEST_ALIGNMENT__;  // of the level's vectors

template <class T>
struct VectorOf {
  static constexpr int lanes = kVectorBytes / int(sizeof(T));
  typedef T type __attribute__((vector_size(kVectorBytes)));
};

template <class T>
inline typename VectorOf<T>::type vector_at(const T* x) {
  typename VectorOf<T>::type found;
  __builtin_memcpy(&found, x, sizeof found);
  return found;
}

template <class V, class T>
inline void put_vector(V x, T* at) {
  __builtin_memcpy(at, &x, sizeof x);
}

template <class S>
constexpr bool is_narrow = sizeof(typename S::Stored) < sizeof(typename S::Compute);

// Sixteen bits of each number.
typedef std::uint16_t NarrowVector __attribute__((vector_size(kVectorBytes / 2)));

// Of stored numbers, as the computing type. In registers throughout: what a loop over the lanes leaves in memory in two
// halves, a whole vector could not be read from before both had arrived there.
template <class S>
inline auto load_vector(const typename S::Stored* x) {
  if constexpr (is_narrow<S>) {
    using Vector = typename VectorOf<float>::type;
    NarrowVector stored;
    __builtin_memcpy(&stored, x, sizeof stored);
    return S::template widened<Vector>(__builtin_convertvector(stored, Words<Vector>));
  } else {
    return vector_at(x);
  }
}

template <class S>
inline void store_vector(typename VectorOf<typename S::Compute>::type x, typename S::Stored* at) {
  if constexpr (is_narrow<S>)
    put_vector(__builtin_convertvector(S::narrowed(x), NarrowVector), at);
  else
    put_vector(x, at);
}

template <int... j>
struct Indices {};
template <int n, int... j>
struct CountTo : CountTo<n - 1, n - 1, j...> {};
template <int... j>
struct CountTo<0, j...> {
  using type = Indices<j...>;
};

// a_start, b_start, a_(start+1), b_(start+1), …
template <int start, class V, int... j>
inline V interleave(const V& a, const V& b, Indices<j...>) {
  constexpr int lanes = sizeof...(j);
  return __builtin_shufflevector(a, b, (start + j / 2 + j % 2 * lanes)...);
}

// Each round moves the top bit of a number's place, counted through all vectors, to the bottom; after as many rounds as
// a lane's number has bits, row and column have changed places.
// Inlined by order: called, it would take its vectors from memory and put them back there.
template <class V, int lanes>
[[gnu::always_inline]] inline void turn(V (&square)[lanes]) {
  using All = typename CountTo<lanes>::type;
#pragma GCC unroll 8
  for (int round = 1; round < lanes; round *= 2) {
    V next[lanes];
#pragma GCC unroll 16
    for (int i = 0; i < lanes / 2; i++) {
      next[2 * i] = interleave<0>(square[i], square[i + lanes / 2], All());
      next[2 * i + 1] = interleave<lanes / 2>(square[i], square[i + lanes / 2], All());
    }
#pragma GCC unroll 16
    for (int i = 0; i < lanes; i++) square[i] = next[i];
  }
}

template <int distance, class V, int... j>
inline V exchange(const V& x, Indices<j...>) {
  return __builtin_shufflevector(x, x, (j ^ distance)...);
}

template <class V, int lanes = int(sizeof(V) / sizeof(NumberOf<V>))>
inline NumberOf<V> largest_lane(V x) {
  if constexpr (lanes == 1)
    return x[0];
  else
    return largest_lane<V, lanes / 2>(
        larger(x, exchange<lanes / 2>(x, typename CountTo<sizeof(V) / sizeof(NumberOf<V>)>::type())));
}

// hi + lo grows by x, where |x| <= |hi|; only lo is rounded (FastTwoSum: Dekker 1971).
template <class V>
inline void add_smaller(V x, V& hi, V& lo) {
  const V sum = hi + x;
  lo += x - (sum - hi);
  hi = sum;
}

// Sum of numbers of one sign, none of them larger than the first, which is not counted. Lane by lane, exact but for the
// rounding of what is lost in each addition; `fold` adds up the lanes, and wants to be called every few hundred terms.
template <class A>
struct SumBelow {
  using Vector = typename VectorOf<A>::type;
  static constexpr int lanes = VectorOf<A>::lanes;

  Vector first, hi, lo = {};
  ExactishSum<double> total;

  explicit SumBelow(A largest) : first(Vector{} + largest), hi(first) {}

  void add(Vector x) { add_smaller(x, hi, lo); }

  void fold() {
    Vector rest;
    two_sum(hi, -first, hi, rest);
    alignas(64) A whole[lanes], parts[lanes];
    put_vector(hi, whole);
    put_vector(lo + rest, parts);
    if constexpr (sizeof(A) == 4) {
      double sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int j = 0; j < lanes; j++) sum += double(whole[j]) + double(parts[j]);
      total.hi += sum;
    } else {
      for (int j = 0; j < lanes; j++) total.add(whole[j]);
      for (int j = 0; j < lanes; j++) total.lo += parts[j] - parts[j] == 0 ? parts[j] : 0;
    }
    hi = first;
    lo = Vector{};
  }

  double value() {
    fold();
    return total.value();
  }
};

}  // namespace
