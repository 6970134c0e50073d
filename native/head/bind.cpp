// What Python sees of the head: HeadRows32/64, a chunk of rows that is worked on a tile of classes at a time.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <optional>

#include "head/rows.hpp"

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
    require(count >= 0 && classes >= 1 && groups >= 1 && n_threads >= 1, "count, classes, groups or n_threads too small");
    require(classes < std::numeric_limits<std::int32_t>::max(), "at most 2147483646 classes");
    const std::int64_t entries =
        entry_class && count > 0 ? static_cast<std::int64_t>(entry_class->size()) / count : 0;
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

  void finish(Logits<A> z, std::int64_t first, Given<A> bias) {
    const Tile<A> all = tile(z, first);
    const A* added = pointer(bias, chunk.rows.classes, "bias must have an entry per class");
    nb::gil_scoped_release release;
    chunk.finish(all, added);
  }

  void survey(Logits<A> z, std::int64_t first, std::int64_t group) {
    require(group >= 0 && group < chunk.rows.groups, "group must lie in [0, groups)");
    const Tile<A> all = tile(z, first);
    nb::gil_scoped_release release;
    chunk.survey(all, group);
  }

  void conclude(Out<double> loss, std::optional<Out<double>> lse, std::optional<Out<std::int32_t>> leader) {
    const auto n = static_cast<std::size_t>(chunk.rows.count);
    require(loss.shape(0) == n && (!lse || lse->shape(0) == n) && (!leader || leader->shape(0) == n),
            "loss, lse and leader must have an entry per row");
    nb::gil_scoped_release release;
    chunk.conclude();
    for (std::size_t i = 0; i < n; ++i) {
      const Row<A>& row = chunk.rows.row[i];
      loss.data()[i] = chunk.rows.loss[i];
      if (lse) lse->data()[i] = double(row.top) + row.log_part;
      if (leader) leader->data()[i] = row.leader;
    }
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

template <class A>
void bind_type(nb::module_& m, const char* name) {
  using H = Held<A>;
  nb::class_<H>(m, name, "A chunk of rows of a head; keeps its truth's arrays alive.")
      .def(nb::init<std::int64_t, std::int64_t, std::int64_t, Given<std::int64_t>, Given<double>, Probs<A>, Given<A>,
                    double, Given<double>, Given<double>, double, double, double, int>(),
           nb::arg("count"), nb::arg("classes"), nb::arg("groups"), nb::kw_only(), nb::arg("entry_class").noconvert().none(),
           nb::arg("entry_value").noconvert().none(), nb::arg("probs").noconvert().none(),
           nb::arg("class_weight").noconvert().none(), nb::arg("smoothing"), nb::arg("row_weight").noconvert().none(),
           nb::arg("z_weight").noconvert().none(), nb::arg("z_loss"), nb::arg("scale"), nb::arg("softcap"),
           nb::arg("n_threads"))
      .def("finish", &H::finish, nb::arg("z").noconvert(), nb::arg("first"), nb::arg("bias").noconvert().none(),
           "Add the bias to a tile of products and cap it.")
      .def("survey", &H::survey, nb::arg("z").noconvert(), nb::arg("first"), nb::arg("group"),
           "Take in a tile of logits; tiles come in the order of their classes.")
      .def("conclude", &H::conclude, nb::arg("loss").noconvert(), nb::arg("lse").noconvert().none(),
           nb::arg("leader").noconvert().none(), "Write the rows' losses, when all tiles have been taken in.")
      .def("gradient", &H::gradient, nb::arg("z").noconvert(), nb::arg("first"), nb::arg("sums").noconvert().none(),
           "Overwrite a tile of logits with the gradient; add its columns to sums.")
      .def("target_gradient", &H::target_gradient, nb::arg("z").noconvert(), nb::arg("first"),
           nb::arg("target_out").noconvert(), "Write the derivative by a distribution's entries.")
      .def("entry_target_gradient", &H::entry_target_gradient, nb::arg("out").noconvert(),
           "Write the derivative by the values of the entries.");
}

}  // namespace
}  // namespace crossent::head

void bind_head(nb::module_& m) {
  crossent::head::bind_type<float>(m, "HeadRows32");
  crossent::head::bind_type<double>(m, "HeadRows64");
}
