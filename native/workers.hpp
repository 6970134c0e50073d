// Threads that help with one job after another, and that nobody has to wait for: the caller takes units of work like
// the helpers, so that a helper without a core of its own costs nothing but its help.
#pragma once

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif

#include <atomic>
#include <cstdint>
#include <memory>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

namespace crossent {

class Workers {
 public:
  explicit Workers(int n_threads) { grow(n_threads); }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  ~Workers() {
    stopping_ = true;
    wake();
    for (const auto& helper : helpers_) helper->thread.join();
  }

  int n_threads() const { return 1 + static_cast<int>(helpers_.size()); }

  // Has at least n_threads, the caller's counted, or as many as the system grants. Not while a job runs.
  void grow(int n_threads) {
    try {
      for (int i = this->n_threads(); i < n_threads; ++i) {
        auto helper = std::make_unique<Helper>();
        helper->thread = std::thread([this, i, &cpu = helper->cpu] { help(i, cpu); });
        helpers_.push_back(std::move(helper));
      }
    } catch (const std::system_error&) {
      // The caller alone would do.
    }
  }

  // Calls work(unit), or work(unit, thread), for 0 … units - 1, each once, in any order and on any thread, of which it
  // uses at most n_threads; returns when all are done.
  template <class Work>
  void run(std::int64_t units, const Work& work, int n_threads) {
    if (units <= 1 || n_threads <= 1 || helpers_.empty()) {
      for (std::int64_t unit = 0; unit < units; ++unit) call(work, unit, 0);
      return;
    }
    // Closed first: a late helper must not take a unit of the last job's number by this job's count.
    next_ = (next_ & kJob) + kNextJob + kClosed;
    call_ = [](const void* context, std::int64_t unit, int thread) {
      call(*static_cast<const Work*>(context), unit, thread);
    };
    context_ = &work;
    units_ = static_cast<std::uint32_t>(units);
    threads_ = n_threads;
    done_ = 0;
    next_ = (next_ & kJob) + kNextJob;
    make_way();
    wake();
    while (take_unit(0)) {
    }
    for (int done = done_; done < units; done = done_) {
      if (!polled([&] { return done_ != done; })) done_.wait(done);
    }
  }

  template <class Work>
  void run(std::int64_t units, const Work& work) {
    run(units, work, n_threads());
  }

 private:
  // A job's number in the upper half, its next unit in the lower one: a helper that slept through the end of a job
  // cannot take a unit of the next one for its own.
  static constexpr std::uint64_t kNextJob = std::uint64_t(1) << 32, kClosed = kNextJob - 1, kJob = ~kClosed;
  // Looks before a thread sleeps. Each offers the core to others, so that a busy machine is not made busier; on an idle
  // one they bridge the time between two jobs, 100 to 200 µs: to sleep and be woken takes as long.
  static constexpr int kLooks = 400;

  struct Helper {
    std::thread thread;
    std::atomic<int> cpu{-1};  // where it ran last
  };

  template <class Work>
  static void call(const Work& work, std::int64_t unit, int thread) {
    if constexpr (std::is_invocable_v<const Work&, std::int64_t, int>) {
      work(unit, thread);
    } else {
      work(unit);
    }
  }

  template <class Condition>
  static bool polled(const Condition& condition) {
    for (int look = 0; look < kLooks; ++look) {
      if (condition()) return true;
      std::this_thread::yield();
    }
    return false;
  }

  bool take_unit(int thread) {
    std::uint64_t at = next_;
    while (true) {
      const auto call = call_.load();
      const void* const context = context_;
      const std::uint32_t unit = static_cast<std::uint32_t>(at), units = units_;
      if (unit >= units || thread >= threads_) return false;
      // If this succeeds the job is still the one that was read, and it stays until its units are done.
      if (next_.compare_exchange_weak(at, at + 1)) {
        call(context, unit, thread);
        if (++done_ == static_cast<int>(units)) done_.notify_one();
        return true;
      }
    }
  }

  void help(int thread, std::atomic<int>& cpu) {
    while (true) {
      const int wakes = wakes_;
      while (take_unit(thread)) {
      }
      if (stopping_) return;
      if (polled([&] { return wakes_ != wakes; })) continue;
      cpu = current_cpu();
      wakes_.wait(wakes);
    }
  }

#if defined(__linux__)
  static int current_cpu() { return sched_getcpu(); }

  // A helper that is woken where it ran last waits for the caller's core when the caller has moved there meanwhile, for
  // ten milliseconds or more until the system evens out, though another core is idle: send it elsewhere.
  void make_way() {
    const int here = current_cpu();
    for (const auto& helper : helpers_) {
      if (here < 0 || helper->cpu != here) continue;
      cpu_set_t others;
      if (pthread_getaffinity_np(pthread_self(), sizeof others, &others)) return;
      CPU_CLR(static_cast<unsigned>(here), &others);
      if (CPU_COUNT(&others)) pthread_setaffinity_np(helper->thread.native_handle(), sizeof others, &others);
    }
  }
#else
  static int current_cpu() { return -1; }
  void make_way() {}
#endif

  void wake() {
    ++wakes_;
    wakes_.notify_all();
  }

  std::atomic<void (*)(const void*, std::int64_t, int)> call_{nullptr};
  std::atomic<const void*> context_{nullptr};
  std::atomic<std::uint32_t> units_{0};
  std::atomic<int> threads_{0};
  std::atomic<std::uint64_t> next_{0};
  std::atomic<int> done_{0};
  std::atomic<int> wakes_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::unique_ptr<Helper>> helpers_;
};

}  // namespace crossent
