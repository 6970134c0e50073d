// Matrix products through a BLAS that the caller names: SciPy's, found at run time, so that nothing is linked.
#pragma once

#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

namespace crossent::training {

// xGEMM as Fortran calls it: column-major, every argument by address, 32-bit dimensions.
template <class T>
using Gemm = void (*)(const char* trans_a, const char* trans_b, const int* m, const int* n, const int* k,
                      const T* alpha, const T* a, const int* lda, const T* b, const int* ldb, const T* beta, T* c,
                      const int* ldc);

inline int blas_int(std::int64_t size) {
  if (size < 0 || size > std::numeric_limits<int>::max()) {
    throw std::invalid_argument("a matrix has a side of " + std::to_string(size) + ": expected at most 2147483647");
  }
  return static_cast<int>(size);
}

// The three products of a dense layer, all matrices row-major. A row-major matrix is the
// transpose of a column-major one, hence the order of the factors: out' = weight' · input'.

// out (n, outputs) += input (n, inputs) · weight (inputs, outputs)
template <class T>
void add_product(Gemm<T> gemm, std::int64_t n, std::int64_t inputs, std::int64_t outputs, const T* input,
                 const T* weight, T* out) {
  const int rows = blas_int(n), in = blas_int(inputs), units = blas_int(outputs);
  const T one = 1;
  gemm("N", "N", &units, &rows, &in, &one, weight, &units, input, &in, &one, out, &units);
}

// weight_bar (inputs, outputs) = input' · out_bar, the rows of input being input_step apart
template <class T>
void weight_gradient(Gemm<T> gemm, std::int64_t n, std::int64_t inputs, std::int64_t outputs, const T* input,
                     std::int64_t input_step, const T* out_bar, T* weight_bar) {
  const int rows = blas_int(n), in = blas_int(inputs), units = blas_int(outputs), step = blas_int(input_step);
  const T one = 1, zero = 0;
  gemm("N", "T", &units, &in, &rows, &one, out_bar, &units, input, &step, &zero, weight_bar, &units);
}

// input_bar (n, inputs) = out_bar · weight'
template <class T>
void input_gradient(Gemm<T> gemm, std::int64_t n, std::int64_t inputs, std::int64_t outputs, const T* out_bar,
                    const T* weight, T* input_bar) {
  const int rows = blas_int(n), in = blas_int(inputs), units = blas_int(outputs);
  const T one = 1, zero = 0;
  gemm("T", "N", &in, &rows, &units, &one, weight, &units, out_bar, &units, &zero, input_bar, &in);
}

}  // namespace crossent::training
