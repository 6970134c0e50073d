// What Python sees of the head: HeadRows32/64, a chunk of rows that is worked on a tile of classes at a time.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>
#include <string>

#include "head/head.hpp"

namespace nb = nanobind;

namespace crossent::head {
namespace {

template <class T>
using Given = std::optional<nb::ndarray<const T, nb::c_contig, nb::device::cpu>>;
template <class T>
using Out = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
template <class T>
using Logits = nb::ndarray<T, nb::ndim<2>, nb::device::cpu>;
template <class T>
using Probs = std::optional<nb::ndarray<const T, nb::ndim<2>, nb::device::cpu>>;

template <class Array>
auto pointer(const std::optional<Array>& array, std::int64_t size, const char* expectation) {
  require(!array || static_cast<std::int64_t>(array->size()) == size, expectation);
  return array ? array->data() : nullptr;
}

// Keeps the arrays alive that its rows point into.
template <class A>
struct Held {
  Given<std::int64_t> entry_class;
  Given<double> entry_value;
  Probs<A> probs;
  Given<A> class_weight;
  Given<double> row_weight, z_weight;
  Chunk<A> chunk;

  Held(std::int64_t count, std::int64_t classes, std::int64_t groups, Given<std::int64_t> entry_class,
       Given<double> entry_value, Probs<A> probs, Given<A> class_weight, double smoothing, Given<double> row_weight,
       Given<double> z_weight, double z_loss, double scale, double softcap, int n_threads)
      : entry_class(entry_class),
        entry_value(entry_value),
        probs(probs),
        class_weight(class_weight),
        row_weight(row_weight),
        z_weight(z_weight) {
    require(count >= 0 && classes >= 1 && groups >= 1 && n_threads >= 1,
            "count, classes, groups or n_threads too small");
    require(classes < std::numeric_limits<std::int32_t>::max(), "at most 2147483646 classes");
    const std::int64_t entries = entry_class && count > 0 ? static_cast<std::int64_t>(entry_class->size()) / count : 0;
    Rows<A> rows{};
    rows.count = count;
    rows.classes = classes;
    rows.entries = entries;
    rows.groups = groups;
    rows.entry_class = pointer(entry_class, count * entries, "entry_class must have as many entries for every row");
    rows.entry_value = pointer(entry_value, count * entries, "entry_value must have the shape of entry_class");
    for (std::int64_t i = 0; i < count * entries; ++i)
      require(rows.entry_class[i] >= 0 && rows.entry_class[i] < classes, "entry_class must lie in [0, classes)");
    if (probs) {
      require(static_cast<std::int64_t>(probs->shape(0)) == count &&
                  static_cast<std::int64_t>(probs->shape(1)) == classes && (classes == 1 || probs->stride(1) == 1),
              "probs must have the shape (rows, classes), a row's next to each other");
      rows.probs = probs->data();
      rows.probs_step = probs->stride(0);
    }
    rows.class_weight = pointer(class_weight, classes, "class_weight must have an entry per class");
    rows.row_weight = pointer(row_weight, count, "row_weight must have an entry per row");
    rows.z_weight = pointer(z_weight, count, "z_weight must have an entry per row");
    rows.smoothing = smoothing;
    rows.z_loss = z_loss;
    rows.scale = scale;
    rows.softcap = softcap;
    chunk.take(rows, n_threads);
  }

  Tile<A> tile(const Logits<A>& z, std::int64_t first) const {
    const auto width = static_cast<std::int64_t>(z.shape(1));
    require(static_cast<std::int64_t>(z.shape(0)) == chunk.rows.count && (width == 1 || z.stride(1) == 1),
            "a tile must have the chunk's rows, each in one piece");
    require(first >= 0 && first + width <= chunk.rows.classes, "a tile's classes must lie in [0, classes)");
    return {z.data(), z.stride(0), first, width, 0, chunk.rows.count};
  }

  void add_bias(Logits<A> z, std::int64_t first, Given<A> bias) {
    const Tile<A> all = tile(z, first);
    const A* added = pointer(bias, chunk.rows.classes, "bias must have an entry per class");
    require(added != nullptr, "bias: None");
    nb::gil_scoped_release release;
    chunk.add_bias(all, added);
  }

  void survey(Logits<A> z, std::int64_t first, std::int64_t group) {
    require(group >= 0 && group < chunk.rows.groups, "group must lie in [0, groups)");
    const Tile<A> all = tile(z, first);
    nb::gil_scoped_release release;
    chunk.survey(all, group);
  }

  using Products = nb::ndarray<std::uint16_t, nb::ndim<2>, nb::device::cpu>;

  NarrowTile<A> narrow_tile(const Products& z, std::int64_t first, A scale, const Given<A>& bias,
                            const Given<A>& entry_product) const {
    const auto width = static_cast<std::int64_t>(z.shape(1));
    require(static_cast<std::int64_t>(z.shape(0)) == chunk.rows.count && (width == 1 || z.stride(1) == 1),
            "a tile must have the chunk's rows, each in one piece");
    require(first >= 0 && first + width <= chunk.rows.classes, "a tile's classes must lie in [0, classes)");
    return {z.data(),
            z.stride(0),
            first,
            width,
            scale,
            pointer(bias, chunk.rows.classes, "bias must have an entry per class"),
            pointer(entry_product, chunk.rows.count * chunk.rows.entries, "entry_product must have the rows' entries")};
  }

  void survey_narrow(Products z, std::int64_t first, std::int64_t group, A scale, Given<A> bias,
                     Given<A> entry_product) {
    require(group >= 0 && group < chunk.rows.groups, "group must lie in [0, groups)");
    const NarrowTile<A> all = narrow_tile(z, first, scale, bias, entry_product);
    nb::gil_scoped_release release;
    chunk.survey(all, group);
  }

  void gradient_narrow(Products z, std::int64_t first, A scale, Given<A> bias, Given<A> entry_product,
                       Out<A> entry_grad) {
    const NarrowTile<A> all = narrow_tile(z, first, scale, bias, entry_product);
    require(static_cast<std::int64_t>(entry_grad.shape(0)) == chunk.rows.count * chunk.rows.entries,
            "entry_grad must have the rows' entries");
    nb::gil_scoped_release release;
    chunk.gradient(all, entry_grad.data());
  }

  void results(Out<double> loss, std::optional<Out<double>> lse, std::optional<Out<std::int32_t>> leader) {
    const auto n = static_cast<std::size_t>(chunk.rows.count);
    require(loss.shape(0) == n && (!lse || lse->shape(0) == n) && (!leader || leader->shape(0) == n),
            "loss, lse and leader must have an entry per row");
    for (std::size_t i = 0; i < n; ++i) {
      const Row<A>& row = chunk.rows.row[i];
      loss.data()[i] = chunk.rows.loss[i];
      if (lse) lse->data()[i] = double(row.top) + row.log_part;
      if (leader) leader->data()[i] = row.leader;
    }
  }

  void conclude() {
    nb::gil_scoped_release release;
    chunk.conclude();
  }

  // In place.
  void thin(Logits<A> z, std::int64_t first, double threshold, std::uint64_t seed, Given<std::int64_t> row_number) {
    const Tile<A> all = tile(z, first);
    const std::int64_t* numbers = pointer(row_number, chunk.rows.count, "row_number must have an entry per row");
    require(numbers != nullptr, "row_number: None");
    nb::gil_scoped_release release;
    chunk.thin(all, {threshold, seed, numbers});
  }

  void gradient(Logits<A> z, std::int64_t first, std::optional<Out<double>> sums) {
    const Tile<A> all = tile(z, first);
    require(!sums || static_cast<std::int64_t>(sums->shape(0)) == all.width, "sums must have an entry per class");
    nb::gil_scoped_release release;
    chunk.gradient(all, sums ? sums->data() : nullptr);
  }

  void target_gradient(Logits<A> z, std::int64_t first, Logits<A> target_out) {
    const Tile<A> all = tile(z, first), out = tile(target_out, first);
    require(out.width == all.width, "target_out must have the tile's shape");
    nb::gil_scoped_release release;
    chunk.target_gradient(all, out.z, out.step);
  }

  void entry_target_gradient(Out<double> out) {
    require(static_cast<std::int64_t>(out.shape(0)) == chunk.rows.count * chunk.rows.entries, "one for each entry");
    chunk.entry_target_gradient(out.data());
  }
};

// The address in a capsule of scipy.linalg.cython_blas.__pyx_capi__, whose name is its C signature.
template <class A>
Gemm<A> gemm_from(nb::handle capsule) {
  const char* name = PyCapsule_GetName(capsule.ptr());
  if (!name) nb::raise_python_error();
  require(std::string(name).find("int *") != std::string::npos, "the BLAS function must take 32-bit dimensions");
  return reinterpret_cast<Gemm<A>>(PyCapsule_GetPointer(capsule.ptr(), name));
}

using AnyMatrix = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class A>
using Matrix = nb::ndarray<const A, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <class A>
using MutableMatrix = std::optional<nb::ndarray<A, nb::ndim<2>, nb::c_contig, nb::device::cpu>>;
template <class A>
using Buffer = std::optional<Out<A>>;

template <class A>
A* room(const MutableMatrix<A>& matrix, std::int64_t rows, std::int64_t columns, const char* expectation) {
  require(!matrix || (static_cast<std::int64_t>(matrix->shape(0)) == rows &&
                      static_cast<std::int64_t>(matrix->shape(1)) == columns),
          expectation);
  return matrix ? matrix->data() : nullptr;
}

// Keeps weight and bias alive.
template <class A>
struct HeldHead {
  AnyMatrix weight;
  Given<A> bias;
  Head<A> head;

  HeldHead(nb::handle gemm, AnyMatrix given, bool bfloat, Given<A> bias, double logit_scale, std::int64_t row_block,
           std::int64_t class_tile)
      : weight(given), bias(bias) {
    require(row_block >= 1 && class_tile >= 1, "row_block or class_tile too small");
    const bool narrow = weight.itemsize() == 2;
    require(narrow || weight.dtype() == nb::dtype<A>(), "weight must have the computing type, or 16 bits");
    const auto classes = static_cast<std::int64_t>(weight.shape(0)),
               features = static_cast<std::int64_t>(weight.shape(1));
    head.products = {gemm_from<A>(gemm), features, static_cast<A>(logit_scale)};
    head.weight = {weight.data(), narrow, bfloat, classes, features};
    head.bias = pointer(bias, classes, "bias must have an entry per class");
    head.row_block = row_block;
    head.class_tile = class_tile;
  }

  A* kept_of(const Held<A>& chunk, const Matrix<A>& x, const Buffer<A>& kept) const {
    const std::int64_t count = chunk.chunk.rows.count;
    require(static_cast<std::int64_t>(x.shape(0)) == count &&
                static_cast<std::int64_t>(x.shape(1)) == head.products.features,
            "x must have the chunk's rows and the weight's features");
    require(chunk.chunk.rows.classes == head.weight.classes, "the chunk must have the weight's classes");
    require(!kept || static_cast<std::int64_t>(kept->shape(0)) >= count * head.weight.classes,
            "kept must have room for the chunk's logits");
    return kept ? kept->data() : nullptr;
  }

  void forward(Held<A>& chunk, Matrix<A> x, Buffer<A> kept) const {
    A* logits = kept_of(chunk, x, kept);
    nb::gil_scoped_release release;
    head.forward(chunk.chunk, x.data(), logits);
  }

  void backward(Held<A>& chunk, Matrix<A> x, Buffer<A> kept, Buffer<A> x_parts, MutableMatrix<A> x_grad,
                MutableMatrix<A> weight_grad, bool fresh, Buffer<double> bias_sums, MutableMatrix<A> target_grad,
                double threshold, std::uint64_t seed, Given<std::int64_t> row_number, MutableMatrix<A> stepped,
                MutableMatrix<A> velocity, double rate, double momentum, double decay) const {
    A* logits = kept_of(chunk, x, kept);
    const Rows<A>& rows = chunk.chunk.rows;
    const std::int64_t d = head.products.features, classes = head.weight.classes;
    Outputs<A> out;
    out.x_grad = room(x_grad, rows.count, d, "x_grad must have the shape of x");
    require(bool(x_parts) == bool(x_grad) &&
                (!x_parts || static_cast<std::int64_t>(x_parts->shape(0)) >= rows.groups * rows.count * d),
            "x_parts must have room for x's gradient once per group");
    out.x_parts = x_parts ? x_parts->data() : nullptr;
    out.weight_grad = room(weight_grad, classes, d, "weight_grad must have the shape of the weight");
    out.fresh = fresh;
    out.bias_sums = bias_sums ? bias_sums->data() : nullptr;
    require(!bias_sums || static_cast<std::int64_t>(bias_sums->shape(0)) == classes, "bias_sums: one per class");
    out.target_grad = room(target_grad, rows.count, classes, "target_grad must have the shape of the logits");
    out.thinning = {threshold, seed, pointer(row_number, rows.count, "row_number must have an entry per row")};
    require(threshold == 0 || row_number, "row_number: None");
    A* theta = room(stepped, classes, d, "the weight to step must have its own shape");
    require(!theta || (velocity && theta == head.weight.data), "a step is taken on the weight itself, with a velocity");
    out.step = {theta, room(velocity, classes, d, "velocity must have the shape of the weight"), static_cast<A>(rate),
                static_cast<A>(momentum), static_cast<A>(decay)};
    nb::gil_scoped_release release;
    head.backward(chunk.chunk, x.data(), logits, out);
  }
};

template <class A>
void bind_head_type(nb::module_& m, const char* name) {
  using H = HeldHead<A>;
  nb::class_<H>(m, name, "A linear head: its weight, bias, and the products with them.")
      .def(nb::init<nb::handle, AnyMatrix, bool, Given<A>, double, std::int64_t, std::int64_t>(), nb::arg("gemm"),
           nb::arg("weight").noconvert(), nb::kw_only(), nb::arg("bfloat"), nb::arg("bias").noconvert().none(),
           nb::arg("logit_scale"), nb::arg("row_block"), nb::arg("class_tile"))
      .def("forward", &H::forward, nb::arg("chunk"), nb::arg("x").noconvert(), nb::arg("kept").noconvert().none(),
           "Make the chunk's logits and losses; keep the logits if there is room.")
      .def("backward", &H::backward, nb::arg("chunk"), nb::arg("x").noconvert(), nb::kw_only(),
           nb::arg("kept").noconvert().none(), nb::arg("x_parts").noconvert().none(),
           nb::arg("x_grad").noconvert().none(), nb::arg("weight_grad").noconvert().none(), nb::arg("fresh"),
           nb::arg("bias_sums").noconvert().none(), nb::arg("target_grad").noconvert().none(), nb::arg("threshold"),
           nb::arg("seed"), nb::arg("row_number").noconvert().none(), nb::arg("stepped").noconvert().none(),
           nb::arg("velocity").noconvert().none(), nb::arg("rate"), nb::arg("momentum"), nb::arg("decay"),
           "Make the gradients, or take a step on the weight with its gradient.");
}

template <class A>
void bind_type(nb::module_& m, const char* name) {
  using H = Held<A>;
  nb::class_<H>(m, name, "A chunk of rows of a head; keeps its truth's arrays alive.")
      .def(nb::init<std::int64_t, std::int64_t, std::int64_t, Given<std::int64_t>, Given<double>, Probs<A>, Given<A>,
                    double, Given<double>, Given<double>, double, double, double, int>(),
           nb::arg("count"), nb::arg("classes"), nb::arg("groups"), nb::kw_only(),
           nb::arg("entry_class").noconvert().none(), nb::arg("entry_value").noconvert().none(),
           nb::arg("probs").noconvert().none(), nb::arg("class_weight").noconvert().none(), nb::arg("smoothing"),
           nb::arg("row_weight").noconvert().none(), nb::arg("z_weight").noconvert().none(), nb::arg("z_loss"),
           nb::arg("scale"), nb::arg("softcap"), nb::arg("n_threads"))
      .def("add_bias", &H::add_bias, nb::arg("z").noconvert(), nb::arg("first"), nb::arg("bias").noconvert(),
           "Add the bias to a tile of products.")
      .def("survey", &H::survey, nb::arg("z").noconvert(), nb::arg("first"), nb::arg("group"),
           "Take in a tile of logits, not capped yet; tiles come in the order of their classes.")
      .def("survey_narrow", &H::survey_narrow, nb::arg("product").noconvert(), nb::arg("first"), nb::arg("group"),
           nb::kw_only(), nb::arg("scale"), nb::arg("bias").noconvert().none(),
           nb::arg("entry_product").noconvert().none(),
           "Take in a tile of bfloat16 products, given as their bits: scale · product + bias are logits. The entries' "
           "own products may be given with more digits.")
      .def("gradient_narrow", &H::gradient_narrow, nb::arg("product").noconvert(), nb::arg("first"), nb::kw_only(),
           nb::arg("scale"), nb::arg("bias").noconvert().none(), nb::arg("entry_product").noconvert().none(),
           nb::arg("entry_grad_out").noconvert(),
           "Overwrite a tile of products with the gradient; its entries go to entry_grad_out, and are 0 in the tile.")
      .def("conclude", &H::conclude, "Work out the losses, when all tiles have been taken in.")
      .def("thin", &H::thin, nb::arg("grad").noconvert(), nb::arg("first"), nb::arg("threshold"), nb::arg("seed"),
           nb::arg("row_number").noconvert(), "Round small entries of a tile's gradient to 0 or the threshold.")
      .def("results", &H::results, nb::arg("loss").noconvert(), nb::arg("lse").noconvert().none(),
           nb::arg("leader").noconvert().none(), "Write the rows' losses, log-sum-exp and largest class.")
      .def("gradient", &H::gradient, nb::arg("z").noconvert(), nb::arg("first"), nb::arg("sums").noconvert().none(),
           "Overwrite a tile of logits with the gradient; add its columns to sums.")
      .def("target_gradient", &H::target_gradient, nb::arg("z").noconvert(), nb::arg("first"),
           nb::arg("target_out").noconvert(), "Write the derivative by a distribution's entries.")
      .def("entry_target_gradient", &H::entry_target_gradient, nb::arg("out").noconvert(),
           "Write the derivative by the values of the entries.");
}

template <class A>
void add_thin(Logits<A> grad, std::int64_t first, Given<double> threshold, std::uint64_t seed,
              Given<std::int64_t> row_number, Matrix<A> x, Matrix<A> weight, MutableMatrix<A> x_grad,
              MutableMatrix<A> weight_grad, int n_threads) {
  const auto count = static_cast<std::int64_t>(grad.shape(0)), width = static_cast<std::int64_t>(grad.shape(1)),
             d = static_cast<std::int64_t>(x.shape(1));
  require(width <= 1 || grad.stride(1) == 1, "a row of grad must lie in one piece");
  require(static_cast<std::int64_t>(x.shape(0)) == count, "x must have the rows of grad");
  require(static_cast<std::int64_t>(weight.shape(0)) == width && static_cast<std::int64_t>(weight.shape(1)) == d,
          "weight must have grad's classes and x's features");
  require(threshold && row_number && first >= 0 && n_threads >= 1, "threshold, row_number, first or n_threads");
  const double* limit = pointer(threshold, count, "threshold must have an entry per row");
  const Thinning thinning{1, seed, pointer(row_number, count, "row_number must have an entry per row")};
  A* of_x = room(x_grad, count, d, "x_grad must have the shape of x");
  A* of_weight = room(weight_grad, width, d, "weight_grad must have the shape of the weight");
  const Tile<A> tile{grad.data(), grad.stride(0), first, width, 0, count};
  nb::gil_scoped_release release;
  add_thin_products(tile, thinning, limit, d, x.data(), weight.data(), of_x, of_weight, n_threads);
}

template <class A>
void bind_thin(nb::module_& m) {
  m.def("add_thin_products", &add_thin<A>, nb::arg("grad").noconvert(), nb::arg("first"),
        nb::arg("threshold").noconvert(), nb::arg("seed"), nb::arg("row_number").noconvert(), nb::arg("x").noconvert(),
        nb::arg("weight").noconvert(), nb::arg("x_grad").noconvert().none(), nb::arg("weight_grad").noconvert().none(),
        nb::arg("n_threads"),
        "Round small entries of a gradient's tile at random, and add its products with the weight and x.");
}

}  // namespace
}  // namespace crossent::head

void bind_head(nb::module_& m) {
  crossent::head::bind_type<float>(m, "HeadRows32");
  crossent::head::bind_type<double>(m, "HeadRows64");
  crossent::head::bind_head_type<float>(m, "Head32");
  crossent::head::bind_head_type<double>(m, "Head64");
  crossent::head::bind_thin<float>(m);
  crossent::head::bind_thin<double>(m);
}
