// One level's training kernels.
#pragma once

#include "../kernels.hpp"
#include "few_classes.hpp"
#include "sparse.hpp"
#include "steps.hpp"

namespace {

template <class A>
constexpr crossent::training::Kernels<A> training_kernels() {
  return {add_sparse_product<A>, sgd_step<A>, carry<A>,         few_forward<A>, few_gradient<A>,
          sum_columns<A>,        relu<A>,     relu_gradient<A>, copy_row<A>};
}

}  // namespace
