// One level's training kernels.
#pragma once

#include "../kernels.hpp"
#include "sparse.hpp"
#include "steps.hpp"

namespace {

template <class A>
constexpr crossent::training::Kernels<A> training_kernels() {
  return {add_sparse_product<A>, sgd_step<A>, carry<A>};
}

}  // namespace
