#include "idle_workers.hpp"

#include <pthread.h>

#include <mutex>
#include <utility>
#include <vector>

namespace crossent {
namespace {

struct Idle {
  std::mutex lock;
  std::vector<std::unique_ptr<Workers>> all;
};

// Never destroyed: the process may end while they sleep. A forked child has none of its parent's threads, and perhaps a
// locked lock: it starts anew.
Idle*& idle() {
  static Idle* place = [] {
    pthread_atfork(nullptr, nullptr, [] { idle() = new Idle; });
    return new Idle;
  }();
  return place;
}

std::unique_ptr<Workers> take() {
  Idle& from = *idle();
  const std::lock_guard<std::mutex> hold(from.lock);
  if (from.all.empty()) return nullptr;
  std::unique_ptr<Workers> found = std::move(from.all.back());
  from.all.pop_back();
  return found;
}

}  // namespace

BorrowedWorkers::BorrowedWorkers(int n_threads) : workers_(take()) {
  if (!workers_) workers_ = std::make_unique<Workers>(1);
  workers_->grow(n_threads);
}

BorrowedWorkers::~BorrowedWorkers() {
  Idle& to = *idle();
  const std::lock_guard<std::mutex> hold(to.lock);
  to.all.push_back(std::move(workers_));
}

}  // namespace crossent
