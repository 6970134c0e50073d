#include "dispatch.hpp"

#include <atomic>
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "idle_workers.hpp"

namespace crossent {

#ifdef CROSSENT_HAS_LEVEL_baseline
extern const KernelTable table_baseline;
#endif
#ifdef CROSSENT_HAS_LEVEL_x86_v3
extern const KernelTable table_x86_v3;
#endif
#ifdef CROSSENT_HAS_LEVEL_x86_v4
extern const KernelTable table_x86_v4;
#endif
#ifdef CROSSENT_HAS_LEVEL_neon
extern const KernelTable table_neon;
#endif

namespace {

struct Level {
  const char* name;
  const KernelTable* table;
};

// Slowest first, only those that this CPU runs.
std::vector<Level> find_levels() {
  std::vector<Level> levels;
#ifdef CROSSENT_HAS_LEVEL_baseline
  levels.push_back({"baseline", &table_baseline});
#endif
#ifdef CROSSENT_HAS_LEVEL_x86_v3
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
      __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c") && __builtin_cpu_supports("lzcnt"))
    levels.push_back({"x86_v3", &table_x86_v3});
#endif
#ifdef CROSSENT_HAS_LEVEL_x86_v4
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    levels.push_back({"x86_v4", &table_x86_v4});
#endif
#ifdef CROSSENT_HAS_LEVEL_neon
  levels.push_back({"neon", &table_neon});
#endif
  return levels;
}

const std::vector<Level>& levels() {
  static const std::vector<Level> found = find_levels();
  return found;
}

std::atomic<const Level*>& current() {
  static std::atomic<const Level*> level{&levels().back()};
  return level;
}

// Rows per unit of work: it depends on the shape alone, so that the units' sums, added in order, do not depend on the
// threads. 16384 numbers: large beside the cost of handing it out, and little to wait for at the end.
std::int64_t unit_rows(std::int64_t classes) {
  const std::int64_t rows = 16384 / (classes > 0 ? classes : 1);
  return rows < 1 ? 1 : (rows + 15) / 16 * 16;
}

// Units in as many parts as threads: each goes through its own from the first to the last, so that what its core
// fetches ahead is its own too, then helps with the others', unit by unit.
class Parts {
 public:
  Parts(std::int64_t units, int count) : parts_(static_cast<std::size_t>(count)) {
    for (int i = 0; i < count; i++) {
      Part& part = parts_[static_cast<std::size_t>(i)];
      part.next = units * i / count;
      part.end = units * (i + 1) / count;
    }
  }

  template <class Work>
  void work_off(std::int64_t first, const Work& work) {
    for (std::size_t i = 0; i < parts_.size(); i++) {
      Part& part = parts_[(static_cast<std::size_t>(first) + i) % parts_.size()];
      for (std::int64_t unit; (unit = part.next++) < part.end;) work(unit);
    }
  }

 private:
  struct alignas(64) Part {
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
  };
  std::vector<Part> parts_;
};

template <class Job, class Kernel>
double run_units(const Job& job, Kernel kernel, std::int64_t classes, Storage storage, std::int64_t n, int n_threads) {
  const std::int64_t rows = unit_rows(classes);
  const std::int64_t units = (n + rows - 1) / rows;
  const int threads = static_cast<int>(units < n_threads ? units : n_threads);
  const std::size_t bytes = scratch_bytes(storage, classes);
  const std::unique_ptr<char[]> scratch(new char[bytes * static_cast<std::size_t>(threads)]);
  std::vector<double> sums(static_cast<std::size_t>(units));
  const auto work = [&](std::int64_t unit, int thread) {
    const std::int64_t begin = unit * rows;
    const std::int64_t end = begin + rows < n ? begin + rows : n;
    char* const own = scratch.get() + bytes * static_cast<std::size_t>(thread);
    sums[static_cast<std::size_t>(unit)] = kernel(job, begin, end, own);
  };
  if (threads <= 1) {
    for (std::int64_t unit = 0; unit < units; unit++) work(unit, 0);
  } else {
    Parts parts(units, threads);
    const auto take_part = [&](std::int64_t part, int thread) {
      parts.work_off(part, [&](std::int64_t unit) { work(unit, thread); });
    };
    BorrowedWorkers(threads)->run(threads, take_part, threads);
  }
  double total = 0, rest = 0;
  for (const double sum : sums) {  // compensated: a million rows must not cost the last digits
    const double next = total + sum;
    const double of_sum = next - total;
    const double error = (total - (next - of_sum)) + (sum - of_sum);
    if (error - error == 0) rest += error;
    total = next;
  }
  return total + rest;
}

}  // namespace

std::vector<std::string> available_levels() {
  std::vector<std::string> names;
  for (const Level& level : levels()) names.emplace_back(level.name);
  return names;
}

std::string selected_level() { return current().load()->name; }

void select_level(const std::string& name) {
  std::string known;
  for (const Level& level : levels()) {
    if (name == level.name) {
      current() = &level;
      return;
    }
    known += std::string(known.empty() ? "" : ", ") + level.name;
  }
  throw std::invalid_argument("CPU level '" + name + "': expected one that this build has and this CPU runs: " + known);
}

const KernelTable& kernels() { return *current().load()->table; }

std::size_t scratch_bytes(Storage storage, std::int64_t classes) {
  if (storage == Storage::f32 || storage == Storage::f64) return 0;
  // A row of floats, or the several short rows of a tile.
  const std::int64_t one_row = classes * 4;
  return static_cast<std::size_t>(one_row > label_tile_bytes ? one_row : label_tile_bytes);
}

double run(const LabelJob& job, Storage storage, std::int64_t n, int n_threads) {
  return run_units(job, kernels().label[static_cast<int>(storage)], job.classes, storage, n, n_threads);
}

double run(const DistributionJob& job, Storage storage, std::int64_t n, int n_threads) {
  return run_units(job, kernels().distribution[static_cast<int>(storage)], job.rows.classes, storage, n, n_threads);
}

}  // namespace crossent
