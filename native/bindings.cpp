// The module's table of contents: what Python can call, and the checks that keep a wrong call from touching memory.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <omp.h>

#include <optional>
#include <stdexcept>

#include "dispatch.hpp"
#include "pages.hpp"

void bind_head(nanobind::module_& m);
#ifdef CROSSENT_HAS_TRAINING
void bind_training(nanobind::module_& m);
#endif

namespace nb = nanobind;

namespace {

using crossent::Storage;

// An array seen through the buffer protocol: read-only arrays are welcome where nothing is written.
class View {
 public:
  View(nb::handle array, bool writable) {
    if (PyObject_GetBuffer(array.ptr(), &buffer_, writable ? PyBUF_STRIDED : PyBUF_STRIDED_RO) != 0)
      throw nb::python_error();
  }
  View(const View&) = delete;
  View& operator=(const View&) = delete;
  ~View() { PyBuffer_Release(&buffer_); }

  void* data() const { return buffer_.buf; }
  Py_ssize_t rows() const { return buffer_.shape[0]; }

  // Elements from one row to the next; the row itself must be contiguous.
  std::int64_t row_step() const { return buffer_.strides[0] / buffer_.itemsize; }

  void expect(const char* name, std::int64_t item, std::int64_t rows, std::int64_t classes) const {
    const bool matrix = classes >= 0;
    bool fits = buffer_.itemsize == item && buffer_.ndim == (matrix ? 2 : 1) && buffer_.shape[0] == rows;
    if (fits && matrix)
      fits =
          buffer_.shape[1] == classes && (classes <= 1 || buffer_.strides[1] == item) && buffer_.strides[0] % item == 0;
    if (fits && !matrix) fits = rows <= 1 || buffer_.strides[0] == item;
    if (!fits) throw std::invalid_argument(std::string(name) + ": array of the wrong item size, shape or layout");
  }

  Py_ssize_t columns() const { return buffer_.ndim == 2 ? buffer_.shape[1] : -1; }

 private:
  Py_buffer buffer_;
};

using MaybeView = std::optional<View>;

void view(MaybeView& into, nb::handle array, bool writable) {
  if (!array.is_none()) into.emplace(array, writable);
}

constexpr std::int64_t item_size(Storage storage) {
  return storage == Storage::f64 ? 8 : storage == Storage::f32 ? 4 : 2;
}

// What the two kinds of truth have in common: rows in, weights, and the outputs.
class Rows {
 public:
  Rows(int storage_index, nb::handle logits, nb::handle label, nb::handle row_weight, double scale, double z_loss,
       nb::handle loss, nb::handle grad) {
    if (storage_index < 0 || storage_index >= crossent::storage_count) throw std::invalid_argument("storage");
    storage = static_cast<Storage>(storage_index);
    const std::int64_t item = item_size(storage);
    view(logits_, logits, false);
    n = logits_->rows();
    classes = logits_->columns();
    logits_->expect("logits", item, n, classes);
    if (classes < 1) throw std::invalid_argument("logits: a matrix with at least one class");
    view(label_, label, false);
    if (label_) label_->expect("label", 8, n, -1);
    view(row_weight_, row_weight, false);
    if (row_weight_) row_weight_->expect("row_weight", 8, n, -1);
    view(loss_, loss, true);
    if (loss_) loss_->expect("loss", item, n, -1);
    view(grad_, grad, true);
    if (grad_) grad_->expect("grad", item, n, classes);
    if (label_) check_labels();
    job = {logits_->data(),
           classes,
           logits_->row_step(),
           grad_ ? grad_->row_step() : 0,
           label_ ? static_cast<const std::int64_t*>(label_->data()) : nullptr,
           row_weight_ ? static_cast<const double*>(row_weight_->data()) : nullptr,
           scale,
           z_loss,
           loss_ ? loss_->data() : nullptr,
           grad_ ? grad_->data() : nullptr};
  }

  crossent::LabelJob job;
  Storage storage;
  std::int64_t n, classes;

 private:
  // The kernels index with labels: one out of range must not reach them, whoever calls.
  void check_labels() const {
    const auto* label = static_cast<const std::int64_t*>(label_->data());
    std::int64_t all_below = -1;  // its sign stays while every label is below `classes`
    for (std::int64_t i = 0; i < n; i++) all_below &= (label[i] < 0 ? -1 : label[i]) - classes;
    if (all_below >= 0) throw std::out_of_range("label: an entry is not a class");
  }

  MaybeView logits_, label_, row_weight_, loss_, grad_;
};

double label_loss(int storage, nb::handle logits, nb::handle label, nb::handle row_weight, double scale, double z_loss,
                  nb::handle loss, nb::handle grad, int n_threads) {
  const Rows rows(storage, logits, label, row_weight, scale, z_loss, loss, grad);
  if (rows.job.label == nullptr) throw std::invalid_argument("label: None");
  const nb::gil_scoped_release unlocked;
  return crossent::run(rows.job, rows.storage, rows.n, n_threads);
}

double distribution_loss(int storage, nb::handle logits, nb::handle label, nb::handle probs, bool probs_wide,
                         nb::handle class_weight, double smoothing, nb::handle row_weight, double scale, double z_loss,
                         nb::handle z_weight, nb::handle loss, nb::handle grad, int n_threads) {
  const Rows rows(storage, logits, label, row_weight, scale, z_loss, loss, grad);
  const std::int64_t wide = rows.storage == Storage::f64 ? 8 : 4;
  MaybeView p, w, z;
  view(p, probs, false);
  if (p) p->expect("probs", probs_wide ? wide : item_size(rows.storage), rows.n, rows.classes);
  view(w, class_weight, false);
  if (w) w->expect("class_weight", wide, rows.classes, -1);
  view(z, z_weight, false);
  if (z) z->expect("z_weight", 8, rows.n, -1);
  if (!p && rows.job.label == nullptr) throw std::invalid_argument("label and probs: both None");
  const crossent::DistributionJob job{rows.job,
                                      p ? p->data() : nullptr,
                                      probs_wide,
                                      p ? p->row_step() : 0,
                                      w ? w->data() : nullptr,
                                      smoothing,
                                      z ? static_cast<const double*>(z->data()) : nullptr};
  const nb::gil_scoped_release unlocked;
  return crossent::run(job, rows.storage, rows.n, n_threads);
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "Kernels of crossent. Private: crossent.loss and crossent.training call it with checked arrays.";
  m.def("label_loss", &label_loss, nb::arg("storage"), nb::arg("logits"), nb::arg("label"),
        nb::arg("row_weight").none(), nb::arg("scale"), nb::arg("z_loss"), nb::arg("loss").none(),
        nb::arg("grad").none(), nb::arg("n_threads"));
  m.def("distribution_loss", &distribution_loss, nb::arg("storage"), nb::arg("logits"), nb::arg("label").none(),
        nb::arg("probs").none(), nb::arg("probs_wide"), nb::arg("class_weight").none(), nb::arg("smoothing"),
        nb::arg("row_weight").none(), nb::arg("scale"), nb::arg("z_loss"), nb::arg("z_weight").none(),
        nb::arg("loss").none(), nb::arg("grad").none(), nb::arg("n_threads"));
  m.def("available_levels", &crossent::available_levels);
  m.def("selected_level", &crossent::selected_level);
  m.def("select_level", &crossent::select_level, nb::arg("name"));
  m.def("max_threads", [] { return omp_get_max_threads(); });
  bind_pages(m);
  bind_head(m);
#ifdef CROSSENT_HAS_TRAINING
  bind_training(m);
#endif
}
