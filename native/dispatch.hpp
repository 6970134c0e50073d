// Chooses the level whose kernels run, and spreads rows over threads so that no thread count changes a bit.
#pragma once

#include <string>
#include <vector>

#include "job.hpp"

namespace crossent {

// Names of the levels that this build has and this CPU runs, slowest first.
std::vector<std::string> available_levels();
// The level in use: the fastest one unless select_level chose another.
std::string selected_level();
// Makes a level the one in use; throws std::invalid_argument for one that is not available.
void select_level(const std::string& name);

// The kernels of the level in use. For callers that already run on several threads of their own.
const KernelTable& kernels();

template <class T>
const training::Kernels<T>& training_kernels() {
  if constexpr (sizeof(T) == sizeof(float)) {
    return kernels().training32;
  } else {
    return kernels().training64;
  }
}

template <class T>
const head::Kernels<T>& head_kernels() {
  if constexpr (sizeof(T) == sizeof(float)) {
    return kernels().head32;
  } else {
    return kernels().head64;
  }
}

// Sum over rows [0, n) of the weighted losses; fills job.loss and job.grad where they are not null.
double run(const LabelJob& job, Storage storage, std::int64_t n, int n_threads);
double run(const DistributionJob& job, Storage storage, std::int64_t n, int n_threads);

// Bytes of scratch that one thread needs for rows of this many classes.
std::size_t scratch_bytes(Storage storage, std::int64_t classes);

}  // namespace crossent
