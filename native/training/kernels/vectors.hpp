// A vector register of the level, as the compiler's own vector type.
#pragma once

#include "../../kernels/floats.hpp"

namespace {

template <class A>
struct Vector {
  static constexpr int bytes = __BIGGEST_ALIGNMENT__;  // what the level's registers hold
  static constexpr int lanes = bytes / int(sizeof(A));
  typedef A Type __attribute__((vector_size(bytes)));

  static Type load(const A* from) {
    Type value;
    __builtin_memcpy(&value, from, sizeof(value));
    return value;
  }
  static void store(const Type& value, A* to) { __builtin_memcpy(to, &value, sizeof(value)); }
};

}  // namespace
