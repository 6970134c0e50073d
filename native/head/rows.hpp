// A chunk of rows: its statistics, and the level's kernels on its tiles, spread over threads by rows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <vector>

#include "../dispatch.hpp"

namespace crossent::head {

inline void require(bool holds, const char* expectation) {
  if (!holds) throw std::invalid_argument(expectation);
}

// How the gradient of "unbiased" is rounded.
struct Thinning {
  double threshold = 0;  // of a row of weight 1; 0 for the exact gradient
  std::uint64_t seed = 0;
  const std::int64_t* row_number = nullptr;
};

inline std::uint64_t key_of(std::uint64_t seed, std::int64_t row) {
  std::uint64_t x = seed + 0x9e3779b97f4a7c15ull * (static_cast<std::uint64_t>(row) + 1);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;  // splitmix64
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

template <class A>
struct Chunk {
  Rows<A> rows;
  int n_threads = 1;

  // Takes a description without room for results, and makes that room.
  void take(const Rows<A>& given, int threads) {
    rows = given;
    n_threads = threads;
    const auto count = static_cast<std::size_t>(rows.count), entries = count * static_cast<std::size_t>(rows.entries);
    statistics_.assign(count * static_cast<std::size_t>(rows.groups), Statistics<A>{A(0), -1, 0, 0, 0, 0});
    entry_logit_.resize(entries);
    entry_grad_.resize(entries);
    row_.resize(count);
    loss_.resize(count);
    rows.statistics = statistics_.data();
    rows.entry_logit = entry_logit_.data();
    rows.entry_grad = entry_grad_.data();
    rows.row = row_.data();
    rows.loss = loss_.data();
  }

  void add_bias(const Tile<A>& tile, const A* bias) {
    by_rows(tile, [&](const Tile<A>& part) { kernels().add_bias(part, bias); });
  }

  void survey(const Tile<A>& tile, std::int64_t group) {
    by_rows(tile, [&](const Tile<A>& part) {
      Room room;
      kernels().survey(rows, capped(part, room), group);
    });
  }

  void conclude() {
#pragma omp parallel for schedule(static) num_threads(n_threads) if (n_threads > 1)
    for (std::int64_t begin = 0; begin < rows.count; begin += 16)
      kernels().conclude(rows, begin, std::min(begin + 16, rows.count));
  }

  void gradient(const Tile<A>& tile, double* sums) {
    by_rows(tile, [&](const Tile<A>& part) { gradient_in_place(part); });
    if (sums != nullptr) kernels().column_sums(tile, sums);
  }

  void survey(const NarrowTile<A>& tile, std::int64_t group) {
    by_widened_rows(tile, [&](const Tile<A>& part, std::uint16_t*) {
      Room room;
      kernels().survey(rows, capped(part, room), group);
    });
  }

  // Overwrites the products with the gradient; its entries go to entry_grad_out, (count, entries), and are 0 in the
  // tile, as the largest numbers of a row are not to be rounded to 8 bits.
  void gradient(const NarrowTile<A>& tile, A* entry_grad_out) {
    by_widened_rows(tile, [&](const Tile<A>& part, std::uint16_t* narrow) {
      gradient_in_place(part);
      for_entries(part, [&](std::int64_t at, A& grad) {
        entry_grad_out[at] = grad;
        grad = 0;
      });
      for (std::int64_t i = 0; i < part.end - part.begin; i++)
        kernels().narrow(part.z + i * part.step, part.width, narrow + i * tile.step);
    });
  }

  void thin(const Tile<A>& tile, const Thinning& thinning) {
    by_rows(tile, [&](const Tile<A>& part) {
      std::vector<std::int32_t> kept(static_cast<std::size_t>(part.width));
      for (std::int64_t row = part.begin; row < part.end; row++) {
        A* grad = part.z + (row - part.begin) * part.step;
        const double threshold = thinning.threshold * std::abs(rows.row[row].truth);
        const std::int64_t found = kernels().thin(grad, part.width, part.first, threshold,
                                                  key_of(thinning.seed, thinning.row_number[row]), kept.data());
        std::int64_t next = 0;
        for (std::int64_t k = 0; k < found; k++) {
          const std::int64_t c = kept[static_cast<std::size_t>(k)];
          std::fill(grad + next, grad + c, A(0));
          next = c + 1;
        }
        std::fill(grad + next, grad + part.width, A(0));
      }
    });
  }

  void target_gradient(const Tile<A>& tile, A* out, std::int64_t step) {
    by_rows(tile, [&](const Tile<A>& part) {
      Room room;
      kernels().target_gradient(rows, capped(part, room), out + part.begin * step, step);
    });
  }

  void entry_target_gradient(double* out) const {
    for (std::int64_t at = 0; at < rows.count * rows.entries; ++at) {
      const Row<A>& row = rows.row[at / rows.entries];
      const double weight = rows.class_weight == nullptr ? 1.0 : double(rows.class_weight[rows.entry_class[at]]);
      const double gap = (double(row.top) - double(rows.entry_logit[at])) + row.log_part;
      out[at] = row.truth * (1.0 - rows.smoothing) * weight * gap;
    }
  }

 private:
  static const Kernels<A>& kernels() { return head_kernels<A>(); }

  static constexpr std::int64_t kRows = 16;

  using Room = std::vector<A>;

  // The tile, or its capped logits in the room.
  Tile<A> capped(const Tile<A>& tile, Room& room, A* slope = nullptr) const {
    if (rows.softcap == 0) return tile;
    room.resize(static_cast<std::size_t>((tile.end - tile.begin) * tile.width));
    kernels().cap(tile, rows.softcap, room.data(), slope, tile.width);
    return {room.data(), tile.width, tile.first, tile.width, tile.begin, tile.end};
  }

  void gradient_in_place(const Tile<A>& tile) const {
    if (rows.softcap == 0) {
      kernels().gradient(rows, tile, tile.z, tile.step);
      return;
    }
    Room room, slope(static_cast<std::size_t>((tile.end - tile.begin) * tile.width));
    const Tile<A> seen = capped(tile, room, slope.data());
    kernels().gradient(rows, seen, tile.z, tile.step);
    for (std::int64_t i = 0; i < tile.end - tile.begin; i++)
      for (std::int64_t c = 0; c < tile.width; c++)
        tile.z[i * tile.step + c] *= slope[static_cast<std::size_t>(i * tile.width + c)];
  }

  // Calls visit(place in (count, entries), entry of the tile).
  template <class Visit>
  void for_entries(const Tile<A>& tile, const Visit& visit) const {
    for (std::int64_t at = tile.begin * rows.entries; at < tile.end * rows.entries; at++) {
      const std::int64_t c = rows.entry_class[at] - tile.first;
      if (c >= 0 && c < tile.width) visit(at, tile.z[(at / rows.entries - tile.begin) * tile.step + c]);
    }
  }

  // Calls work(tile of logits, products that they are made from) for a few rows at a time, which stay in cache.
  template <class Work>
  void by_widened_rows(const NarrowTile<A>& tile, const Work& work) const {
    const std::int64_t units = (rows.count + kRows - 1) / kRows;
    const int threads = static_cast<int>(std::min<std::int64_t>(units, n_threads));
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      std::vector<A> wide(static_cast<std::size_t>(kRows * tile.width));
#pragma omp for schedule(static)
      for (std::int64_t unit = 0; unit < units; unit++) {
        Tile<A> part{wide.data(), tile.width, tile.first, tile.width, unit * kRows, 0};
        part.end = std::min(part.begin + kRows, rows.count);
        std::uint16_t* narrow = tile.product + part.begin * tile.step;
        for (std::int64_t i = 0; i < part.end - part.begin; i++)
          kernels().widen(narrow + i * tile.step, tile.width, true, part.z + i * part.step);
        if (tile.entry_product != nullptr)
          for_entries(part, [&](std::int64_t at, A& product) { product = tile.entry_product[at]; });
        if (tile.scale != 1)
          for (A& z : wide) z *= tile.scale;
        if (tile.bias != nullptr) kernels().add_bias(part, tile.bias);
        work(part, narrow);
      }
    }
  }

  template <class Work>
  void by_rows(const Tile<A>& tile, const Work& work) const {
    const std::int64_t units = (tile.end - tile.begin + kRows - 1) / kRows;
    const int threads = static_cast<int>(std::min<std::int64_t>(units, n_threads));
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
    for (std::int64_t unit = 0; unit < units; unit++) {
      Tile<A> part = tile;
      part.begin = tile.begin + unit * kRows;
      part.end = std::min(part.begin + kRows, tile.end);
      part.z = tile.z + (part.begin - tile.begin) * tile.step;
      work(part);
    }
  }

  std::vector<Statistics<A>> statistics_;
  std::vector<A> entry_logit_;
  std::vector<double> entry_grad_, loss_;
  std::vector<Row<A>> row_;
};

}  // namespace crossent::head
