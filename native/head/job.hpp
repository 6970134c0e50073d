// A block of rows of a head, whose logits come a tile of classes at a time, and the kernels that work on such tiles.
// Plain data, no code: it is the contract between the levels and the rest of the module.
//
// The truth of row i is p_c = class_weight_c · ((1 - smoothing) · base_c + smoothing / C), base being a row of probs,
// or value_j at class_j for j = 0 … entries - 1 and 0 elsewhere: a label is one entry of value 1.
#pragma once

#include <cstdint>

namespace crossent::head {

// What is known of a row's logits so far, over a group of tiles: with m the largest and k its class, the sums leave k
// out, so that a confident row keeps what is left to the others.
template <class A>
struct Statistics {
  A top;                // m
  std::int32_t leader;  // k, -1 before the first tile
  double sum;           // Σ exp(z_c - m)
  double mass;          // Σ p_c, without sparse entries
  double dot;           // Σ p_c (m - z_c), likewise
  double leader_mass;   // p_k, likewise
};

// What the tiles' second pass needs of a row, in a mean's scale and with all weights.
template <class A>
struct Row {
  A top;
  std::int32_t leader;
  double factor;     // gradient at c: exp(z_c - m) · factor - pull_of_truth · p_c
  double truth;      // the row's weight · scale
  double at_leader;  // gradient at k
  double log_part;   // lse - m
};

template <class A>
struct Rows {
  std::int64_t count, classes, entries, groups;
  const std::int64_t* entry_class;  // (count, entries)
  const double* entry_value;        // (count, entries), or null for 1
  const A* probs;                   // (count, C) or null
  std::int64_t probs_step;
  const A* class_weight;  // (C) or null
  double smoothing;
  const double* row_weight;       // (count) or null
  const double* z_weight;         // (count) or null
  double z_loss, scale, softcap;  // softcap 0: none
  Statistics<A>* statistics;      // (groups, count)
  A* entry_logit;                 // (count, entries)
  double* entry_grad;             // (count, entries)
  Row<A>* row;                    // (count)
  double* loss;                   // (count)
};

// A tile: rows [begin, end), classes [first, first + width). The rows lie `step` numbers apart, begin at tile row 0.
template <class A>
struct Tile {
  A* z;
  std::int64_t step, first, width, begin, end;
};

// A tile of another library's products, in bfloat16, of which the logits are scale · product + bias. Those of the rows'
// entries, (count, entries), may be given with more digits.
template <class A>
struct NarrowTile {
  std::uint16_t* product;
  std::int64_t step, first, width;
  A scale;
  const A* bias;           // (C) or null
  const A* entry_product;  // or null
};

template <class A>
struct Kernels {
  // z += bias.
  void (*add_bias)(const Tile<A>& tile, const A* bias);
  // softcap · tanh(z / softcap) into capped_out, and its derivative into slope_out, unless that is null; rows lie step
  // numbers apart in both.
  void (*cap)(const Tile<A>& tile, double softcap, A* capped_out, A* slope_out, std::int64_t step);
  // Adds the tile to the statistics of a group. Writes into the tile, but leaves it as it was.
  void (*survey)(const Rows<A>& rows, const Tile<A>& tile, std::int64_t group);
  // Losses, and what the second pass needs, of rows [begin, end), from all statistics.
  void (*conclude)(const Rows<A>& rows, std::int64_t begin, std::int64_t end);
  // The gradient into grad_out, whose rows lie grad_step apart; it may be the logits.
  void (*gradient)(const Rows<A>& rows, const Tile<A>& tile, A* grad_out, std::int64_t grad_step);
  // target_out (step as given) = derivative of the scaled loss with respect to the base of each class.
  void (*target_gradient)(const Rows<A>& rows, const Tile<A>& tile, A* target_out, std::int64_t target_step);
  // sum[c] += Σ over the tile's rows.
  void (*column_sums)(const Tile<A>& tile, double* sum);
  // Of a row's entries below the threshold each becomes 0, or the threshold with its sign, at random, so that its
  // expectation stays. Writes the places of those that are not 0, and returns how many there are; leaves the others.
  // An entry's luck depends on the key and on its class alone.
  std::int64_t (*thin)(A* grad, std::int64_t width, std::int64_t first, double threshold, std::uint64_t key,
                       std::int32_t* kept_out);
  // Numbers of 16 bits, bfloat16 or float16, to A.
  void (*widen)(const std::uint16_t* from, std::int64_t count, bool bfloat, A* to);
  // To bfloat16.
  void (*narrow)(const A* from, std::int64_t count, std::uint16_t* to);
};

}  // namespace crossent::head
