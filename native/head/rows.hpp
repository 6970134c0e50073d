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

  void finish(const Tile<A>& tile, const A* bias) {
    if (bias == nullptr && rows.softcap == 0) return;
    by_rows(tile, [&](const Tile<A>& part) { kernels().finish(part, bias, rows.softcap); });
  }

  void survey(const Tile<A>& tile, std::int64_t group) {
    by_rows(tile, [&](const Tile<A>& part) { kernels().survey(rows, part, group); });
  }

  void conclude() { kernels().conclude(rows, 0, rows.count); }

  void gradient(const Tile<A>& tile, double* sums) {
    by_rows(tile, [&](const Tile<A>& part) { kernels().gradient(rows, part); });
    if (sums != nullptr) kernels().column_sums(tile, sums);
  }

  void target_gradient(const Tile<A>& tile, A* out, std::int64_t step) {
    by_rows(tile, [&](const Tile<A>& part) {
      kernels().target_gradient(rows, part, out + part.begin * step, step);
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

  template <class Work>
  void by_rows(const Tile<A>& tile, const Work& work) const {
    constexpr std::int64_t kRows = 16;
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
