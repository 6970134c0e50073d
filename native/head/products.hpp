// The matrix products of a head, a tile at a time on one thread each: the shapes of the products, and so their
// rounding, depend on the sizes alone, not on the threads nor on how many rows are worked on at a time.
#pragma once

#include "../training/blas.hpp"
#include "rows.hpp"

namespace crossent::head {

using training::blas_int;
using training::Gemm;

// (C, d), row by row, of A or of 16-bit numbers.
template <class A>
struct Weight {
  const void* data;
  bool narrow, bfloat;
  std::int64_t classes, features;

  // The rows from `first` on as A: where they are, or in scratch.
  const A* rows(std::int64_t first, std::int64_t count, A* scratch) const {
    const std::int64_t begin = first * features;
    if (!narrow) return static_cast<const A*>(data) + begin;
    head_kernels<A>().widen(static_cast<const std::uint16_t*>(data) + begin, count * features, bfloat, scratch);
    return scratch;
  }
};

// Row-major matrices; a row-major matrix is the transpose of a column-major one, hence the order of the factors.
template <class A>
struct Products {
  Gemm<A> gemm;
  std::int64_t features;
  A scale;

  // z (rows, width) = scale · x (rows, features) · weight (width, features)ᵀ
  void logits(std::int64_t rows, std::int64_t width, const A* x, const A* weight, A* z) const {
    const int m = blas_int(width), n = blas_int(rows), k = blas_int(features), ld = std::max(k, 1);
    const A zero = 0;
    gemm("T", "N", &m, &n, &k, &scale, weight, &ld, x, &ld, &zero, z, &m);
  }

  // weight_grad (width, features) = scale · gradᵀ · x, added to what is there unless fresh
  void weight_grad(std::int64_t rows, std::int64_t width, const A* grad, const A* x, bool fresh, A* out) const {
    const int m = blas_int(features), n = blas_int(width), k = blas_int(rows), ld = std::max(m, 1);
    const A before = fresh ? A(0) : A(1);
    gemm("N", "T", &m, &n, &k, &scale, x, &ld, grad, &n, &before, out, &ld);
  }

  // x_grad (rows, features) = scale · grad · weight, added to what is there unless fresh
  void x_grad(std::int64_t rows, std::int64_t width, const A* grad, const A* weight, bool fresh, A* out) const {
    const int m = blas_int(features), n = blas_int(rows), k = blas_int(width), ld = std::max(m, 1);
    const A before = fresh ? A(0) : A(1);
    gemm("N", "N", &m, &n, &k, &scale, weight, &ld, grad, &k, &before, out, &ld);
  }
};

}  // namespace crossent::head
