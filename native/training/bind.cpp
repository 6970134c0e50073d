// What Python sees of the training engine: Rows32/64 and Network32/64.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "training/sgd.hpp"

namespace nb = nanobind;

namespace crossent::training {
namespace {

template <class T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::device::cpu>;
template <class T>
using Vector = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using MutableVector = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

void require(bool holds, const char* expectation) {
  if (!holds) throw std::invalid_argument(expectation);
}

template <class Array>
auto pointer(const std::optional<Array>& array, std::size_t length, const char* expectation) {
  require(!array || array->shape(0) == length, expectation);
  return array ? array->data() : nullptr;
}

// A compressed sparse matrix; its parts as Python passes them.
template <class T>
struct HeldSparse {
  std::optional<Vector<std::int64_t>> start;
  std::optional<Vector<std::int32_t>> column;
  std::optional<Vector<T>> value;

  SparseMatrix<T> matrix(std::int64_t rows, std::int64_t columns) const {
    if (!start) return {};
    require(column && value && column->shape(0) == value->shape(0), "a sparse matrix needs a value per index");
    require(start->shape(0) == static_cast<std::size_t>(rows) + 1,
            "indptr must have an entry more than there are rows");
    const std::int64_t* at = start->data();
    const auto entries = static_cast<std::int64_t>(value->shape(0));
    require(at[0] >= 0 && at[rows] <= entries, "indptr must lie within the indices");
    for (std::int64_t i = 0; i < rows; ++i) require(at[i] <= at[i + 1], "indptr must not fall");
    for (std::int64_t k = 0; k < entries; ++k) {
      require(column->data()[k] >= 0 && column->data()[k] < columns, "indices must lie in [0, columns)");
    }
    return {at, column->data(), value->data()};
  }
};

// Keeps the arrays alive that its rows point into.
template <class T>
struct HeldRows {
  std::optional<Matrix<T>> x;
  std::optional<Matrix<std::uint8_t>> bytes;
  HeldSparse<T> sparse;
  std::optional<Vector<std::int64_t>> label;
  std::optional<Matrix<T>> probs;
  HeldSparse<T> sparse_probs;
  std::optional<Vector<double>> weight;
  std::optional<Vector<T>> class_weight;
  std::optional<Vector<T>> center;
  Rows<T> rows;

  void take_features(std::int64_t count, std::int64_t features, double byte_scale) {
    require(int(x.has_value()) + int(bytes.has_value()) + int(sparse.start.has_value()) == 1,
            "rows have x, bytes or a sparse matrix");
    rows.count = count;
    rows.features = features;
    rows.byte_scale = static_cast<T>(byte_scale);
    if (x) rows.x = dense(*x);
    if (bytes) rows.bytes = dense(*bytes);
    rows.sparse = sparse.matrix(count, features);
    rows.center = pointer(center, static_cast<std::size_t>(features), "the center must have an entry per feature");
  }

  void take_truth(std::int64_t classes, double smoothing) {
    require(int(label.has_value()) + int(probs.has_value()) + int(sparse_probs.start.has_value()) == 1,
            "rows have labels or probs, not both and not neither");
    const std::size_t count = static_cast<std::size_t>(rows.count), width = static_cast<std::size_t>(classes);
    rows.classes = classes;
    rows.smoothing = smoothing;
    rows.label = pointer(label, count, "labels must be as many as the rows");
    rows.weight = pointer(weight, count, "weights must be as many as the rows");
    rows.class_weight = pointer(class_weight, width, "class weights must be as many as the classes");
    rows.sparse_probs = sparse_probs.matrix(rows.count, classes);
    if (probs) {
      require(probs->shape(0) == count && probs->shape(1) == width, "probs must have the shape (rows, classes)");
      require(width <= 1 || probs->stride(1) == 1, "a row's probs must lie next to each other");
      rows.probs = probs->data();
      rows.probs_step = probs->stride(0);
    }
    for (std::int64_t i = 0; rows.label && i < rows.count; ++i) {
      require(rows.label[i] >= 0 && rows.label[i] < classes, "labels must lie in [0, classes)");
    }
  }

 private:
  template <class Stored>
  const Stored* dense(const Matrix<Stored>& matrix) {
    require(static_cast<std::int64_t>(matrix.shape(0)) == rows.count &&
                static_cast<std::int64_t>(matrix.shape(1)) == rows.features,
            "the features must have the shape that is said");
    rows.row_step = matrix.stride(0);
    rows.column_step = matrix.stride(1);
    return matrix.data();
  }
};

// The address in a capsule of scipy.linalg.cython_blas.__pyx_capi__, whose name is its C signature.
template <class T>
Gemm<T> gemm_from(nb::handle capsule) {
  const char* name = PyCapsule_GetName(capsule.ptr());
  if (!name) nb::raise_python_error();
  require(std::string(name).find("int *") != std::string::npos, "the BLAS function must take 32-bit dimensions");
  return reinterpret_cast<Gemm<T>>(PyCapsule_GetPointer(capsule.ptr(), name));
}

template <class T>
void check(const Network<T>& network, const HeldRows<T>& data, const Vector<std::int64_t>& order,
           std::size_t parameters) {
  require(parameters == static_cast<std::size_t>(network.parameters()), "theta must have an entry per parameter");
  require(data.rows.features == network.inputs(0), "rows must have the network's features");
  require(data.rows.classes == network.outputs(network.layers() - 1), "rows must have the network's classes");
  for (std::size_t i = 0; i < order.shape(0); ++i) {
    require(order.data()[i] >= 0 && order.data()[i] < data.rows.count, "order must name rows that there are");
  }
}

template <class T>
std::pair<std::int64_t, double> train(Network<T>& network, const HeldRows<T>& data, Vector<std::int64_t> order,
                                      Vector<std::int64_t> bounds, Vector<double> learning_rate, MutableVector<T> theta,
                                      MutableVector<T> state, std::optional<MutableVector<T>> average,
                                      Vector<double> rate_scale, std::optional<Vector<double>> feature_rate,
                                      int optimizer, double momentum, bool nesterov, double l2, double l1,
                                      double dropout, std::uint64_t seed, double mass_per_row, double loss_limit,
                                      double feature_scale, std::int64_t steps_before, double weight_before,
                                      std::int64_t averaged_before, std::optional<nb::callable> sum,
                                      std::optional<Vector<std::int64_t>> batch_rows,
                                      std::optional<Vector<std::int64_t>> place) {
  check(network, data, order, theta.shape(0));
  require(optimizer >= 0 && optimizer <= 2, "optimizer must be 0, 1 or 2");
  const auto kind = static_cast<Optimizer>(optimizer);
  require(state.shape(0) == theta.shape(0) * state_vectors(kind), "state must have the optimizer's vectors");
  require(!average || average->shape(0) == theta.shape(0), "average must have an entry per parameter");
  require(rate_scale.shape(0) == static_cast<std::size_t>(2 * network.layers()), "rate_scale: one per tensor");
  require(!feature_rate || feature_rate->shape(0) == static_cast<std::size_t>(network.inputs(0)),
          "feature_rate: one per feature");
  require(!feature_rate || !data.rows.is_sparse(), "feature_rate: dense rows only");
  require(dropout >= 0 && dropout < 1, "dropout must lie in [0, 1)");
  const std::size_t batches = learning_rate.shape(0);
  require(bounds.shape(0) == batches + 1, "bounds must have one entry more than learning_rate");
  for (std::size_t k = 0; k < batches; ++k) {
    const std::int64_t begin = bounds.data()[k], end = bounds.data()[k + 1];
    require(begin >= 0 && (begin < end || (sum && begin == end)) && end <= static_cast<std::int64_t>(order.shape(0)),
            "bounds must rise within order");
    require(end - begin <= network.max_rows(), "a batch has more rows than the network takes at once");
  }
  const Descent descent{kind,
                        momentum,
                        nesterov,
                        l2,
                        l1,
                        dropout,
                        seed,
                        mass_per_row,
                        loss_limit,
                        rate_scale.data(),
                        feature_rate ? feature_rate->data() : nullptr,
                        feature_scale,
                        steps_before,
                        weight_before,
                        averaged_before};
  require(sum.has_value() == batch_rows.has_value() && sum.has_value() == place.has_value(),
          "sum, batch_rows and place go together");
  require(!place || place->shape(0) == order.shape(0), "place: one per entry of order");
  require(!batch_rows || batch_rows->shape(0) == batches, "batch_rows: one per batch");
  Others<T> others;
  if (sum) {
    others.batch_rows = batch_rows->data();
    others.place = place->data();
    others.sum = [&sum](T* values, std::int64_t n) {
      const nb::gil_scoped_acquire acquire;
      const std::size_t shape[1] = {static_cast<std::size_t>(n)};
      (*sum)(nb::ndarray<nb::numpy, T>(values, 1, shape, nb::handle()).cast(nb::rv_policy::reference));
    };
  }
  const Parameters<T> parameters{theta.data(), state.data(), average ? average->data() : nullptr};
  nb::gil_scoped_release release;
  const Progress done = descend(network, descent, data.rows, order.data(), bounds.data(), learning_rate.data(),
                                static_cast<std::int64_t>(batches), parameters, std::move(others));
  return {done.batches, done.loss};
}

template <class T>
double gradient(Network<T>& network, const HeldRows<T>& data, Vector<std::int64_t> order, Vector<T> theta, double scale,
                MutableVector<T> grad_out) {
  check(network, data, order, theta.shape(0));
  require(grad_out.shape(0) == theta.shape(0), "grad must have an entry per parameter");
  const auto n = static_cast<std::int64_t>(order.shape(0));
  require(n <= network.max_rows(), "more rows than the network takes at once");
  nb::gil_scoped_release release;
  Workers workers(network.n_threads());
  const bool sparse = data.rows.is_sparse();
  if (sparse) network.sparse_layer().fix(data.rows.center, theta.data());
  network.load(theta.data(), data.rows, order.data(), n, n);
  const double loss = network.backpropagate(theta.data(), scale, workers);
  if (sparse) network.sparse_gradient(workers, grad_out.data());
  const std::vector<Block>& blocks = network.blocks();
  workers.run(static_cast<std::int64_t>(blocks.size()),
              [&](std::int64_t k) { network.block_gradient(blocks[k], grad_out.data()); });
  return loss;
}

template <class T>
std::pair<double, std::int64_t> evaluate(Network<T>& network, const HeldRows<T>& data, Vector<std::int64_t> order,
                                         Vector<T> theta) {
  check(network, data, order, theta.shape(0));
  const auto n = static_cast<std::int64_t>(order.shape(0));
  nb::gil_scoped_release release;
  Workers workers(network.n_threads());
  if (data.rows.is_sparse()) network.sparse_layer().fix(data.rows.center, theta.data());
  double loss = 0;
  std::int64_t correct = 0;
  for (std::int64_t begin = 0; begin < n; begin += network.max_rows()) {
    network.load(theta.data(), data.rows, order.data() + begin, std::min(network.max_rows(), n - begin), n - begin);
    loss += network.loss(theta.data(), workers, correct);
  }
  return {loss, correct};
}

template <class T>
void bind_type(nb::module_& m, const char* rows_name, const char* network_name) {
  nb::class_<HeldRows<T>>(m, rows_name, "The rows that a network learns from; keeps their arrays alive.")
      .def(
          "__init__",
          [](HeldRows<T>* self, std::int64_t count, std::int64_t features, std::int64_t classes,
             std::optional<Matrix<T>> x, std::optional<Matrix<std::uint8_t>> bytes, double byte_scale,
             std::optional<Vector<std::int64_t>> indptr, std::optional<Vector<std::int32_t>> indices,
             std::optional<Vector<T>> data, std::optional<Vector<T>> center, std::optional<Vector<std::int64_t>> labels,
             std::optional<Matrix<T>> probs, std::optional<Vector<std::int64_t>> probs_indptr,
             std::optional<Vector<std::int32_t>> probs_indices, std::optional<Vector<T>> probs_data,
             std::optional<Vector<double>> weight, std::optional<Vector<T>> class_weight, double smoothing) {
            HeldRows<T> held{x,      bytes,        {indptr, indices, data},
                             labels, probs,        {probs_indptr, probs_indices, probs_data},
                             weight, class_weight, center,
                             {}};
            held.take_features(count, features, byte_scale);
            held.take_truth(classes, smoothing);
            new (self) HeldRows<T>(std::move(held));
          },
          nb::arg("count"), nb::arg("features"), nb::arg("classes"), nb::kw_only(),
          nb::arg("x").noconvert() = nb::none(), nb::arg("bytes").noconvert() = nb::none(), nb::arg("byte_scale") = 1.0,
          nb::arg("indptr").noconvert() = nb::none(), nb::arg("indices").noconvert() = nb::none(),
          nb::arg("data").noconvert() = nb::none(), nb::arg("center").noconvert() = nb::none(),
          nb::arg("labels").noconvert() = nb::none(), nb::arg("probs").noconvert() = nb::none(),
          nb::arg("probs_indptr").noconvert() = nb::none(), nb::arg("probs_indices").noconvert() = nb::none(),
          nb::arg("probs_data").noconvert() = nb::none(), nb::arg("weight").noconvert() = nb::none(),
          nb::arg("class_weight").noconvert() = nb::none(), nb::arg("smoothing") = 0.0);

  nb::class_<Network<T>>(m, network_name, "Workspace of a softmax network; its parameters are the caller's vector.")
      .def(
          "__init__",
          [](Network<T>* self, std::vector<std::int64_t> sizes, std::int64_t max_rows, nb::handle gemm, int n_threads) {
            require(sizes.size() >= 2 && max_rows >= 1 && n_threads >= 1, "sizes, max_rows or n_threads too small");
            new (self) Network<T>(std::move(sizes), max_rows, gemm_from<T>(gemm), n_threads);
          },
          nb::arg("sizes"), nb::kw_only(), nb::arg("max_rows"), nb::arg("gemm"), nb::arg("n_threads"))
      .def_prop_ro("n_parameters", &Network<T>::parameters)
      .def("train", &train<T>, nb::arg("rows"), nb::arg("order").noconvert(), nb::arg("bounds").noconvert(),
           nb::arg("learning_rate").noconvert(), nb::arg("theta").noconvert(), nb::arg("state").noconvert(),
           nb::kw_only(), nb::arg("average").noconvert().none(), nb::arg("rate_scale").noconvert(),
           nb::arg("feature_rate").noconvert().none(), nb::arg("optimizer"), nb::arg("momentum"), nb::arg("nesterov"),
           nb::arg("l2"), nb::arg("l1"), nb::arg("dropout"), nb::arg("seed"), nb::arg("mass_per_row"),
           nb::arg("loss_limit"), nb::arg("feature_scale"), nb::arg("steps_before"), nb::arg("weight_before"),
           nb::arg("averaged_before"), nb::arg("sum").none() = nb::none(),
           nb::arg("batch_rows").noconvert().none() = nb::none(), nb::arg("place").noconvert().none() = nb::none(),
           "Take a step per batch; return the steps taken and the sum of their losses.")
      .def("gradient", &gradient<T>, nb::arg("rows"), nb::arg("order").noconvert(), nb::arg("theta").noconvert(),
           nb::arg("scale"), nb::arg("grad_out").noconvert(),
           "Return the sum of the rows' losses; fill grad_out with scale times its gradient.")
      .def("evaluate", &evaluate<T>, nb::arg("rows"), nb::arg("order").noconvert(), nb::arg("theta").noconvert(),
           "Return the sum of the rows' losses and how many predictions are right.");
}

}  // namespace
}  // namespace crossent::training

void bind_training(nb::module_& m) {
  crossent::training::bind_type<float>(m, "Rows32", "Network32");
  crossent::training::bind_type<double>(m, "Rows64", "Network64");
}
