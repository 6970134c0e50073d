// What the callers of the kernels fill in: one description of the rows, the truth and the outputs.
// Plain data, no code: it is the contract between the levels and the rest of the module.
#pragma once

#include <cstdint>

#include "head/job.hpp"
#include "training/kernels.hpp"

namespace crossent {

// Of the rows of labels that are worked on together; one row may be longer.
constexpr std::int64_t label_tile_bytes = 16384;

// The storage of logits and gradient. f16 and bf16 are computed in float and rounded once.
enum class Storage : int { f16 = 0, bf16 = 1, f32 = 2, f64 = 3 };
constexpr int storage_count = 4;

// Rows whose truth is one label.
struct LabelJob {
  const void* logits;         // (n, classes), a row's classes next to each other
  std::int64_t classes;       // C
  std::int64_t logits_step;   // elements from one row of the logits to the next
  std::int64_t grad_step;     // elements from one row of the gradient to the next
  const std::int64_t* label;  // (n): 0 … C-1, or negative for a row that takes no part
  const double* row_weight;   // (n) or null for 1: multiplies the row's loss and gradient
  double scale;               // multiplies every gradient entry: 1 / the denominator of a mean
  double z_loss;              // adds z_loss · lse² to each row
  void* loss;                 // (n) or null: each row's weighted loss, in the logits' storage
  void* grad;                 // (n, C) or null; may be the logits themselves
};

// Rows whose truth is a distribution: p_c = class_weight_c · ((1 - smoothing) · base_c + smoothing / C),
// base being a row of probs, or 1 at the label.
struct DistributionJob {
  LabelJob rows;             // rows.label may be null when probs is not
  const void* probs;         // (n, C), or null: the base is the label
  bool probs_wide;           // probs are in the computing type (float, double) rather than in the logits' storage
  std::int64_t probs_step;   // elements from one row of probs to the next
  const void* class_weight;  // (C) in the computing type, or null for 1
  double smoothing;          // label smoothing, in [0, 1]
  const double* z_weight;    // (n) or null for 1: multiplies the row's z-loss, on top of row_weight
};

// One level's kernels. Each works through rows [begin, end) and returns the sum of their weighted losses.
// scratch: room for C numbers of the computing type and for label_tile_bytes, used where the output cannot hold them
// (16-bit storage, no grad).
using LabelKernel = double (*)(const LabelJob& job, std::int64_t begin, std::int64_t end, void* scratch);
using DistributionKernel = double (*)(const DistributionJob& job, std::int64_t begin, std::int64_t end, void* scratch);

struct KernelTable {
  LabelKernel label[storage_count];
  DistributionKernel distribution[storage_count];
  training::Kernels<float> training32;
  training::Kernels<double> training64;
  head::Kernels<float> head32;
  head::Kernels<double> head64;
};

}  // namespace crossent
