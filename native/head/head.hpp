// The whole work on a chunk of rows: logits, statistics and losses; then the gradient, tile by tile, into x's and the
// weight's. A tile of logits is still in cache when it is surveyed, and its gradient when it is multiplied.
#pragma once

#include "sparse.hpp"

namespace crossent::head {

// Momentum's step on the rows of the weight, as soon as their gradient is whole.
template <class A>
struct Step {
  A* weight = nullptr;
  A* velocity = nullptr;
  A rate = 0, momentum = 0, decay = 0;
};

template <class A>
struct Outputs {
  A* x_parts = nullptr;      // (groups, count, features), or null: no gradient of x
  A* x_grad = nullptr;       // (count, features)
  A* weight_grad = nullptr;  // (C, features) or null
  bool fresh = true;         // whether the weight's gradient begins with this chunk
  double* bias_sums = nullptr;
  A* target_grad = nullptr;  // (count, C)
  Thinning thinning;
  Step<A> step;
};

template <class A>
class Head {
 public:
  Products<A> products;
  Weight<A> weight;
  const A* bias;
  std::int64_t row_block, class_tile;

  // x (count, features); kept: room for the chunk's logits, or null.
  void forward(Chunk<A>& chunk, const A* x, A* kept) const {
    const std::int64_t blocks = blocks_of(chunk), groups = chunk.rows.groups;
#pragma omp parallel num_threads(chunk.n_threads) if (chunk.n_threads > 1)
    {
      Scratch scratch(*this, kept == nullptr || chunk.rows.softcap != 0);
#pragma omp for schedule(dynamic)
      for (std::int64_t unit = 0; unit < blocks * groups; unit++) {
        const std::int64_t block = unit / groups, group = unit % groups;
        for_tiles(groups, group, [&](std::int64_t first, std::int64_t width) {
          const A* rows = weight.rows(first, width, scratch.weight.data());
          Tile<A> tile = tile_of(chunk, block, first, width, kept, scratch);
          logits(tile, x, rows);
          head_kernels<A>().survey(chunk.rows, capped(chunk, tile, scratch, false), group);
        });
      }
    }
    chunk.conclude();
  }

  void backward(Chunk<A>& chunk, const A* x, A* kept, const Outputs<A>& out) const {
    const std::int64_t groups = chunk.rows.groups;
#pragma omp parallel num_threads(chunk.n_threads) if (chunk.n_threads > 1)
    {
      Scratch scratch(*this, true);
      SparseTile<A> sparse;
#pragma omp for schedule(dynamic)
      for (std::int64_t group = 0; group < groups; group++) {
        bool first_of_group = true;
        for_tiles(groups, group, [&](std::int64_t first, std::int64_t width) {
          backward_tile(chunk, x, kept, out, scratch, sparse, group, first, width, first_of_group);
          first_of_group = false;
        });
      }
    }
    if (out.x_parts != nullptr) add_parts(chunk, out);
  }

 private:
  struct Scratch {
    std::vector<A> tile, slope, weight, weight_grad;
    Scratch(const Head& head, bool with_tile)
        : tile(with_tile ? static_cast<std::size_t>(head.row_block * head.class_tile) : 0),
          weight(head.weight.narrow ? static_cast<std::size_t>(head.class_tile * head.products.features) : 0) {}
  };

  std::int64_t blocks_of(const Chunk<A>& chunk) const { return (chunk.rows.count + row_block - 1) / row_block; }

  template <class Visit>
  void for_tiles(std::int64_t groups, std::int64_t group, const Visit& visit) const {
    const std::int64_t tiles = (weight.classes + class_tile - 1) / class_tile;
    // Those with tile · groups / tiles == group.
    const std::int64_t begin = (group * tiles + groups - 1) / groups, end = ((group + 1) * tiles + groups - 1) / groups;
    for (std::int64_t tile = begin; tile < end; tile++)
      visit(tile * class_tile, std::min(class_tile, weight.classes - tile * class_tile));
  }

  Tile<A> tile_of(const Chunk<A>& chunk, std::int64_t block, std::int64_t first, std::int64_t width, A* kept,
                  Scratch& scratch) const {
    const std::int64_t begin = block * row_block, count = chunk.rows.count;
    A* z = kept == nullptr ? scratch.tile.data() : kept + first * count + begin * width;
    return {z, width, first, width, begin, std::min(begin + row_block, count)};
  }

  // The tile, or its capped logits in scratch, over those that are not kept; and their slopes where they are wanted.
  Tile<A> capped(const Chunk<A>& chunk, const Tile<A>& tile, Scratch& scratch, bool sloped) const {
    if (chunk.rows.softcap == 0) return tile;
    if (sloped) scratch.slope.resize(scratch.tile.size());
    head_kernels<A>().cap(tile, chunk.rows.softcap, scratch.tile.data(), sloped ? scratch.slope.data() : nullptr,
                          tile.width);
    Tile<A> seen = tile;
    seen.z = scratch.tile.data();
    return seen;
  }

  void logits(const Tile<A>& tile, const A* x, const A* rows) const {
    products.logits(tile.end - tile.begin, tile.width, x + tile.begin * products.features, rows, tile.z);
    if (bias != nullptr) head_kernels<A>().add_bias(tile, bias);
  }

  void backward_tile(Chunk<A>& chunk, const A* x, A* kept, const Outputs<A>& out, Scratch& scratch,
                     SparseTile<A>& sparse, std::int64_t group, std::int64_t first, std::int64_t width,
                     bool first_of_group) const {
    const std::int64_t d = products.features;
    const A* rows = weight.rows(first, width, scratch.weight.data());
    A* weight_grad = out.weight_grad == nullptr ? nullptr : out.weight_grad + first * d;
    if (out.step.weight != nullptr) {
      scratch.weight_grad.resize(static_cast<std::size_t>(class_tile * d));
      weight_grad = scratch.weight_grad.data();
    }
    for (std::int64_t block = 0; block < blocks_of(chunk); block++) {
      Tile<A> tile = tile_of(chunk, block, first, width, kept, scratch);
      if (kept == nullptr) logits(tile, x, rows);
      const Tile<A> seen = capped(chunk, tile, scratch, true);
      if (out.target_grad != nullptr)
        head_kernels<A>().target_gradient(chunk.rows, seen, out.target_grad + tile.begin * chunk.rows.classes + first,
                                          chunk.rows.classes);
      // Into scratch rather than over kept logits, whose lines would have to be written back to memory.
      A* grad = scratch.tile.data();
      head_kernels<A>().gradient(chunk.rows, seen, grad, width);
      if (chunk.rows.softcap != 0)
        for (std::int64_t i = 0; i < (tile.end - tile.begin) * width; i++)
          grad[i] *= scratch.slope[static_cast<std::size_t>(i)];
      if (out.bias_sums != nullptr) {
        Tile<A> made = tile;
        made.z = grad;
        head_kernels<A>().column_sums(made, out.bias_sums + first);
      }
      const bool fresh = out.step.weight != nullptr ? block == 0 : out.fresh && block == 0;
      A* part = out.x_parts == nullptr ? nullptr : out.x_parts + (group * chunk.rows.count + tile.begin) * d;
      multiply(chunk, tile, x + tile.begin * d, rows, grad, out.thinning, sparse, weight_grad, fresh, part,
               first_of_group);
    }
    if (out.step.weight != nullptr)
      training_kernels<A>().sgd_step(out.step.weight + first * d, out.step.velocity + first * d, weight_grad, width * d,
                                     out.step.rate, nullptr, out.step.momentum, false, out.step.decay);
  }

  void multiply(const Chunk<A>& chunk, const Tile<A>& tile, const A* x, const A* rows, A* grad,
                const Thinning& thinning, SparseTile<A>& sparse, A* weight_grad, bool fresh, A* part,
                bool fresh_part) const {
    const std::int64_t count = tile.end - tile.begin, d = products.features;
    if (thinning.threshold == 0) {
      if (weight_grad != nullptr) products.weight_grad(count, tile.width, grad, x, fresh, weight_grad);
      if (part != nullptr) products.x_grad(count, tile.width, grad, rows, fresh_part, part);
      return;
    }
    sparse.take(
        tile, grad, tile.width, thinning,
        [&](std::int64_t row) { return thinning.threshold * chunk.rows.row[row].truth; }, products.scale);
    if (weight_grad != nullptr && fresh) std::fill(weight_grad, weight_grad + tile.width * d, A(0));
    if (part != nullptr && fresh_part) std::fill(part, part + count * d, A(0));
    if (part != nullptr) sparse.add_x_grad(d, rows, part);
    if (weight_grad == nullptr) return;
    sparse.sort();
    sparse.add_weight_grad(d, x, 0, tile.width, weight_grad);
  }

  void add_parts(const Chunk<A>& chunk, const Outputs<A>& out) const {
    const std::int64_t size = chunk.rows.count * products.features;
#pragma omp parallel for schedule(static) num_threads(chunk.n_threads) if (chunk.n_threads > 1)
    for (std::int64_t begin = 0; begin < size; begin += 4096) {
      const std::int64_t end = std::min<std::int64_t>(begin + 4096, size);
      for (std::int64_t i = begin; i < end; i++) out.x_grad[i] = out.x_parts[i];
      for (std::int64_t group = 1; group < chunk.rows.groups; group++)
        for (std::int64_t i = begin; i < end; i++) out.x_grad[i] += out.x_parts[group * size + i];
    }
  }
};

}  // namespace crossent::head
