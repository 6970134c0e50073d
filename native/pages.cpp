// Memory for large outputs, taken from the system in huge pages and used again.
//
// Filling fresh 4 KiB pages costs several times the arithmetic of a gradient. A block given back is therefore kept, a
// few of them at most, and handed to the system with MADV_FREE: until the next use the kernel may take its pages for
// others, so that what is kept here is not withheld from anyone. Handing over interrupts the other cores, which takes
// as long as a tenth of a small gradient: the last block, if it is not large, is handed over only when the next comes.
#include "pages.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

namespace nb = nanobind;

namespace {

constexpr std::size_t kHugePage = std::size_t(2) << 20;
constexpr std::size_t kBlocksKept = 4;
constexpr std::size_t kLarge = std::size_t(64) << 20;

struct Block {
  void* start;
  std::size_t bytes;
};

// Mapped one huge page larger than asked for, and cut to begin and end on one. The last is made of small pages unless
// all of it is used: of a small gradient what is left of it would be half as much again.
Block map(std::size_t bytes, std::size_t used) {
  const std::size_t mapped = bytes + kHugePage;
  void* found = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (found == MAP_FAILED) throw std::bad_alloc();
  const auto address = reinterpret_cast<std::uintptr_t>(found);
  const std::size_t before = (kHugePage - address % kHugePage) % kHugePage;
  char* const start = static_cast<char*>(found) + before;
  if (before > 0) munmap(found, before);
  if (before < kHugePage) munmap(start + bytes, kHugePage - before);
#ifdef MADV_HUGEPAGE
  const std::size_t whole = used / kHugePage * kHugePage;
  madvise(start, whole, MADV_HUGEPAGE);
  madvise(start + whole, bytes - whole, MADV_NOHUGEPAGE);
#endif
  return {start, bytes};
}

void unmap(Block block) {
  if (block.start != nullptr) munmap(block.start, block.bytes);
}

class Pages {
 public:
  Block take(std::size_t bytes) {
    const std::size_t rounded = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    {
      const std::lock_guard<std::mutex> hold(lock_);
      for (std::size_t i = kept_.size(); i-- > 0;) {  // the last one first: it may still be in the cache
        if (kept_[i].bytes != rounded) continue;
        const Block block = kept_[i];
        if (i + 1 == kept_.size()) last_is_held_ = false;
        kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(i));
        return block;
      }
    }
    return map(rounded, bytes);
  }

  void give_back(Block block) {
    Block oldest{nullptr, 0};
    {
      const std::lock_guard<std::mutex> hold(lock_);
      // Under the lock: nobody must take a block between the two.
      if (last_is_held_ && !kept_.empty()) hand_over(kept_.back());
      if (kept_.size() == kBlocksKept) {
        oldest = kept_.front();
        kept_.erase(kept_.begin());
      }
      last_is_held_ = block.bytes <= kLarge;
      if (!last_is_held_) hand_over(block);
      kept_.push_back(block);
    }
    unmap(oldest);
  }

 private:
  static void hand_over(Block block) {
#ifdef MADV_FREE
    madvise(block.start, block.bytes, MADV_FREE);
#endif
  }

  std::mutex lock_;
  std::vector<Block> kept_;
  bool last_is_held_ = false;  // whether the last of them is not handed over yet
};

Pages& pages() {
  static Pages* const all = new Pages;  // outlives every array, at interpreter exit too
  return *all;
}

// What a NumPy array holds on to: a writable buffer over a block, given back with the last reference.
struct Buffer {
  PyObject_HEAD Block block;
  Py_ssize_t length;
};

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  auto* buffer = reinterpret_cast<Buffer*>(self);
  return PyBuffer_FillInfo(view, self, buffer->block.start, buffer->length, 0, flags);
}

void dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  pages().give_back(reinterpret_cast<Buffer*>(self)->block);
  type->tp_free(self);
  Py_DECREF(type);
}

PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(get_buffer)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
                       {0, nullptr}};
PyType_Spec spec = {"crossent._native.Pages", sizeof(Buffer), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

}  // namespace

void bind_pages(nb::module_& m) {
  static PyTypeObject* const type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (type == nullptr) throw nb::python_error();
  m.def(
      "take_pages",
      [](std::size_t bytes) {
        const Block block = pages().take(bytes);
        auto* buffer = reinterpret_cast<Buffer*>(type->tp_alloc(type, 0));
        if (buffer == nullptr) {
          pages().give_back(block);
          throw nb::python_error();
        }
        buffer->block = block;
        buffer->length = static_cast<Py_ssize_t>(bytes);
        return nb::steal<nb::object>(reinterpret_cast<PyObject*>(buffer));
      },
      nb::arg("bytes"));
}
