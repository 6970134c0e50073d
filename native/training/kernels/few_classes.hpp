// A linear model of few classes on dense rows that stay where they are: products with the weights on their side (a
// class a row), so that the vector lanes run along the features, and as many sums as there are registers.
#pragma once

#include "../kernels.hpp"
#include "vectors.hpp"

namespace {

template <class A, class Stored>
struct FewClasses {
  using V = Vector<A>;
  using Type = typename V::Type;
  using Rows = crossent::training::PlacedRows<A>;
  static constexpr int lanes = V::lanes;
  static constexpr int kClasses = 6;                   // worked on at once, at most
  static constexpr int kSide = V::bytes > 32 ? 4 : 2;  // rows or vectors of features worked on with them

  const Rows& rows;
  const A scale;

  explicit FewClasses(const Rows& rows) : rows(rows), scale(A(rows.scale)) {}

  const Stored* row(i64 i) const { return static_cast<const Stored*>(rows.x) + rows.order[i] * rows.row_step; }

  // Features j … of a row minus the center.
  Type read(const Stored* x, i64 j) const { return centred(x + j, j); }

  // The same where the row ends before the vector does; beyond it 0.
  Type read_last(const Stored* x, i64 j) const {
    alignas(64) Stored padded[lanes] = {};
    for (i64 at = j; at < rows.features; at++) padded[at - j] = x[at];
    return centred(padded, j);
  }

  Type centred(const Stored* x, i64 j) const {
    if constexpr (sizeof(Stored) == sizeof(A)) {
      return V::load(x) - V::load(rows.center + j);
    } else {
      typedef Stored Bytes __attribute__((vector_size(lanes * sizeof(Stored))));
      Bytes bytes;
      __builtin_memcpy(&bytes, x, sizeof(bytes));
      return __builtin_convertvector(bytes, Type) * scale - V::load(rows.center + j);
    }
  }

  static A sum_of(const Type& value) {
    A lane[lanes];
    V::store(value, lane);
    for (int width = lanes / 2; width > 0; width /= 2)
      for (int j = 0; j < width; j++) lane[j] += lane[j + width];
    return lane[0];
  }

  // out (a row's classes next to each other) += rows' products with `count` classes' weights; `next` rows are asked
  // for.
  template <int side, int count>
  void forward(const Stored* const* x, const Stored* const* next, const A* weight, i64 step, A* out,
               i64 classes) const {
    Type sum[side][count] = {};
    const i64 whole = rows.features / lanes * lanes;
    const auto add = [&](i64 j, const auto& read_at) __attribute__((always_inline)) {
      Type value[side];
#pragma GCC unroll 8
      for (int i = 0; i < side; i++) value[i] = read_at(x[i], j);
#pragma GCC unroll 8
      for (int c = 0; c < count; c++) {
        const Type w = V::load(weight + c * step + j);
#pragma GCC unroll 8
        for (int i = 0; i < side; i++) sum[i][c] += value[i] * w;
      }
    };
    for (i64 j = 0; j < whole; j += lanes) {
      add(j, [&](const Stored* from, i64 at) { return read(from, at); });
      if (next == nullptr) continue;
#pragma GCC unroll 8
      for (int i = 0; i < side; i++) __builtin_prefetch(next[i] + j);
    }
    if (whole < rows.features) add(whole, [&](const Stored* from, i64 at) { return read_last(from, at); });
#pragma GCC unroll 8
    for (int i = 0; i < side; i++)
#pragma GCC unroll 8
      for (int c = 0; c < count; c++) out[i * classes + c] += sum_of(sum[i][c]);
  }

  // grad (a class a row) = Σ over the first n rows of bar_c · features j …, for `count` classes; a last vector that the
  // row does not fill comes alone.
  template <int side, int count>
  void gradient(i64 n, i64 j, bool ask, const A* bar, i64 classes, A* grad, i64 step) const {
    Type sum[count][side] = {};
    const bool whole = j + side * lanes <= rows.features;
    // Of the next batch's rows, one after another, this stretch of features asks for its share.
    const i64 per_row = (rows.features + side * lanes - 1) / (side * lanes), share = j / (side * lanes) * n;
    i64 asked_row = n + share / per_row, asked = share % per_row * side * lanes;
    for (i64 i = 0; i < n; i++) {
      const Stored* x = row(i);
      if (ask && asked_row < rows.known) {
        const Stored* next = row(asked_row) + asked;
#pragma GCC unroll 8
        for (int v = 0; v < side; v++) __builtin_prefetch(next + v * lanes);
        asked += side * lanes;
        if (asked >= rows.features) asked = 0, ++asked_row;
      }
      Type value[side];
#pragma GCC unroll 8
      for (int v = 0; v < side; v++) value[v] = side > 1 || whole ? read(x, j + v * lanes) : read_last(x, j);
#pragma GCC unroll 8
      for (int c = 0; c < count; c++) {
        const Type factor = A(bar[i * classes + c]) - Type{};
#pragma GCC unroll 8
        for (int v = 0; v < side; v++) sum[c][v] += value[v] * factor;
      }
    }
#pragma GCC unroll 8
    for (int c = 0; c < count; c++)
#pragma GCC unroll 8
      for (int v = 0; v < side; v++) V::store(sum[c][v], grad + c * step + j + v * lanes);
  }

  // Calls work.template operator()<count>(first) for stretches of the classes of about the same size.
  template <class Work>
  static void by_classes(i64 classes, const Work& work) {
    const i64 stretches = (classes + kClasses - 1) / kClasses;
    for (i64 k = 0; k < stretches; k++) {
      const i64 first = classes * k / stretches, count = classes * (k + 1) / stretches - first;
      switch (count) {
        case 1:
          work.template operator()<1>(first);
          break;
        case 2:
          work.template operator()<2>(first);
          break;
        case 3:
          work.template operator()<3>(first);
          break;
        case 4:
          work.template operator()<4>(first);
          break;
        case 5:
          work.template operator()<5>(first);
          break;
        default:
          work.template operator()<6>(first);
      }
    }
  }
};

template <class A, class Stored>
void few_forward_of(const crossent::training::PlacedRows<A>& rows, i64 begin, i64 end, const A* weight, i64 step,
                    i64 classes, A* out) {
  using Few = FewClasses<A, Stored>;
  const Few few(rows);
  constexpr int side = Few::kSide;
  i64 i = begin;
  for (; i + side <= end; i += side) {
    const Stored *x[side], *next[side];
    const bool more = i + 2 * side <= end;
    for (int k = 0; k < side; k++) {
      x[k] = few.row(i + k);
      next[k] = few.row(more ? i + side + k : i + k);
    }
    Few::by_classes(classes, [&]<int count>(i64 first) {
      few.template forward<side, count>(x, first == 0 && more ? next : nullptr, weight + first * step, step,
                                        out + i * classes + first, classes);
    });
  }
  for (; i < end; i++) {
    const Stored* const x = few.row(i);
    Few::by_classes(classes, [&]<int count>(i64 first) {
      few.template forward<1, count>(&x, nullptr, weight + first * step, step, out + i * classes + first, classes);
    });
  }
}

template <class A, class Stored>
void few_gradient_of(const crossent::training::PlacedRows<A>& rows, i64 n, i64 begin, i64 end, const A* bar,
                     i64 classes, A* grad, i64 step) {
  using Few = FewClasses<A, Stored>;
  const Few few(rows);
  constexpr int side = Few::kSide, wide = side * Few::lanes;
  i64 j = begin;
  for (; j + wide <= end && j + wide <= rows.features; j += wide)
    Few::by_classes(classes, [&]<int count>(i64 first) {
      few.template gradient<side, count>(n, j, first == 0, bar + first, classes, grad + first * step, step);
    });
  for (; j < end; j += Few::lanes)
    Few::by_classes(classes, [&]<int count>(i64 first) {
      few.template gradient<1, count>(n, j, first == 0, bar + first, classes, grad + first * step, step);
    });
}

template <class A>
void few_forward(const crossent::training::PlacedRows<A>& rows, i64 begin, i64 end, const A* weight, i64 step,
                 i64 classes, A* out) {
  if (rows.is_bytes)
    few_forward_of<A, std::uint8_t>(rows, begin, end, weight, step, classes, out);
  else
    few_forward_of<A, A>(rows, begin, end, weight, step, classes, out);
}

template <class A>
void few_gradient(const crossent::training::PlacedRows<A>& rows, i64 n, i64 begin, i64 end, const A* bar, i64 classes,
                  A* grad, i64 step) {
  if (rows.is_bytes)
    few_gradient_of<A, std::uint8_t>(rows, n, begin, end, bar, classes, grad, step);
  else
    few_gradient_of<A, A>(rows, n, begin, end, bar, classes, grad, step);
}

}  // namespace
