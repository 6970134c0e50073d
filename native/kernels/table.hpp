// The one symbol that a level's object file exports: its kernels. Everything above is local to the file.
#pragma once

#include "../head/kernels/gradient.hpp"
#include "../training/kernels/table.hpp"
#include "distribution_rows.hpp"
#include "label_tile.hpp"

#define CROSSENT_DEFINE_LEVEL(name)                                                                  \
  namespace crossent {                                                                               \
  extern const KernelTable name;                                                                     \
  const KernelTable name = {                                                                         \
      {label_kernel<Float16>, label_kernel<BFloat16>, label_kernel<Float32>, label_kernel<Float64>}, \
      {distribution_kernel<Float16>, distribution_kernel<BFloat16>, distribution_kernel<Float32>,    \
       distribution_kernel<Float64>},                                                                \
      training_kernels<float>(),                                                                     \
      training_kernels<double>(),                                                                    \
      head_kernels<float>(),                                                                         \
      head_kernels<double>(),                                                                        \
  };                                                                                                 \
  }
