// Workers between two jobs: whoever has one takes some, and leaves them for the next.
#pragma once

#include <memory>

#include "workers.hpp"

namespace crossent {

// Workers of one's own while this lives: callers on several threads at once do not wait for each other.
class BorrowedWorkers {
 public:
  explicit BorrowedWorkers(int n_threads);
  BorrowedWorkers(const BorrowedWorkers&) = delete;
  BorrowedWorkers& operator=(const BorrowedWorkers&) = delete;
  ~BorrowedWorkers();

  Workers* operator->() { return workers_.get(); }

 private:
  std::unique_ptr<Workers> workers_;
};

}  // namespace crossent
