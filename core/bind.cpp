// Arrays in, arrays out. Shapes and dtypes of arrays are part of the signatures; that they fit each other, and that
// numbers are in range, is checked in engine/native.py.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <tuple>

#include "dispatch.hpp"
#include "engine.hpp"
#include "features.hpp"
#include "numbers.hpp"
#include "order.hpp"
#include "team.hpp"

namespace nb = nanobind;

namespace {

template <class Number, int axes>
using In = nb::ndarray<const Number, nb::ndim<axes>, nb::c_contig, nb::device::cpu>;
template <class Number, int axes>
using Out = nb::ndarray<Number, nb::ndim<axes>, nb::c_contig, nb::device::cpu>;

// (kind, inputs, outputs, start, activation, number)
using LayerTuple = std::tuple<std::string, int64_t, int64_t, int64_t, std::string, double>;
// features [N, F], codes [N, C], targets [N, T], weights [N], or [0] when every row counts once, offsets [N] or [0]
using RowsTuple = std::tuple<In<float, 2>, In<int32_t, 2>, In<float, 2>, In<float, 1>, In<float, 1>>;

schuss::Rows view(const RowsTuple& arrays) {
    const auto& [features, codes, targets, weights, offsets] = arrays;
    return {features.data(), codes.data(), targets.data(), weights.size() ? weights.data() : nullptr,
            offsets.size() ? offsets.data() : nullptr, static_cast<int64_t>(features.shape(0))};
}

void construct(
    schuss::Engine* self, const std::vector<LayerTuple>& layers, int64_t parameters, int64_t features,
    std::vector<int64_t> levels, std::vector<int64_t> widths, std::vector<int64_t> knot_counts,
    std::vector<float> knots, int64_t knot_width, int64_t targets, std::string loss, std::vector<float> loss_numbers,
    double l1, double l2, double mean_weight, std::string optimizer, std::vector<std::pair<std::string, double>> constants,
    double weight_decay, double clip_value, double clip_norm, uint64_t seed, int threads, bool settle,
    const std::string& precision
) {
    schuss::Description description = {
        {}, parameters, features, std::move(levels), std::move(widths), std::move(knot_counts), std::move(knots),
        knot_width, targets, std::move(loss), std::move(loss_numbers), l1, l2, mean_weight, std::move(optimizer),
        std::move(constants), weight_decay, clip_value, clip_norm, seed};
    for (const auto& [kind, inputs, outputs, start, activation, number] : layers)
        description.layers.push_back({kind, inputs, outputs, start, activation, number});
    new (self) schuss::Engine(std::move(description), threads, settle, precision);
}

// average: [P], or [0] for none
void load(schuss::Engine& self, In<float, 1> W, In<float, 2> vectors, In<float, 1> average, int64_t step) {
    const nb::gil_scoped_release released;
    self.load(W.data(), vectors.data(), average.size() ? average.data() : nullptr, step);
}

int64_t state(schuss::Engine& self, Out<float, 1> W, Out<float, 2> vectors, Out<float, 1> average) {
    const nb::gil_scoped_release released;
    return self.state(W.data(), vectors.data(), average.size() ? average.data() : nullptr);
}

// learning rates and, where there are any, average rates: [1 or 2, steps]
schuss::Chunk chunk_of(const In<int64_t, 1>& order, int64_t epochs, int64_t batch_size, const In<double, 2>& rates) {
    const auto rows = static_cast<int64_t>(order.size()), steps = static_cast<int64_t>(rates.shape(1));
    const double* const averages = rates.shape(0) > 1 ? rates.data() + steps : nullptr;
    return {order.data(), rows, rows / epochs, batch_size, rates.data(), averages, 0, steps};
}

void train(
    schuss::Engine& self, const RowsTuple& rows, In<int64_t, 1> order, int64_t epochs, int64_t batch_size,
    In<double, 2> rates, Out<double, 1> losses
) {
    const schuss::Chunk chunk = chunk_of(order, epochs, batch_size, rates);
    const nb::gil_scoped_release released;
    self.train(view(rows), chunk, losses.data(), {});
}

void train_watched(
    schuss::Engine& self, const RowsTuple& rows, In<int64_t, 1> order, int64_t epochs,
    int64_t batch_size, In<double, 2> rates, Out<double, 1> losses,
    const RowsTuple& watched, Out<float, 2> path, Out<float, 3> outputs
) {
    const schuss::Chunk chunk = chunk_of(order, epochs, batch_size, rates);
    const nb::gil_scoped_release released;
    const schuss::Rows seen = view(watched);
    self.train(view(rows), chunk, losses.data(), {&seen, path.data(), outputs.data()});
}

double gradient(schuss::Engine& self, In<float, 1> W, const RowsTuple& rows, int64_t step, Out<double, 1> result) {
    const nb::gil_scoped_release released;
    return self.gradient(W.data(), view(rows), step, result.data());
}

double total_loss(schuss::Engine& self, In<float, 1> W, const RowsTuple& rows) {
    const nb::gil_scoped_release released;
    return self.total_loss(W.data(), view(rows));
}

void outputs(schuss::Engine& self, In<float, 1> W, const RowsTuple& rows, int64_t step, Out<float, 2> result) {
    const nb::gil_scoped_release released;
    self.outputs(W.data(), view(rows), step, result.data());
}

std::vector<std::string> available_isas() {
    std::vector<std::string> names;
    for (const schuss::Build* build : schuss::available_builds()) names.emplace_back(build->isa);
    return names;
}

void orders(
    uint64_t seed, uint64_t first_epoch, int64_t epochs, int64_t count, Out<int64_t, 1> memory, uint64_t part
) {
    if (static_cast<int64_t>(memory.shape(0)) < epochs * count)
        throw nb::value_error("the orders do not fit into the memory that is given for them.");
    int64_t* const data = memory.data();
    const nb::gil_scoped_release released;
    schuss::write_orders(seed, first_epoch, epochs, count, part, data);
}

// (rows, what each column holds as a number of Held, missing values of each column)
std::tuple<int64_t, std::vector<int>, std::vector<int64_t>> read_numbers(
    nb::bytearray text, const std::string& separator, const std::vector<int>& places,
    const std::vector<std::string>& missing, Out<int64_t, 2> values, Out<uint8_t, 2> present
) {
    const auto count = values.shape(0), most = values.shape(1);
    if (separator.size() != 1 || present.shape(0) != count || 8 * present.shape(1) < most)
        throw nb::value_error("the arrays do not fit each other.");
    for (const int place : places)
        if (place >= static_cast<int64_t>(count)) throw nb::value_error("there is no such column.");
    std::vector<schuss::NumberColumn> columns;
    for (size_t i = 0; i < count; i++) {
        int64_t* const data = values.data() + i * most;
        columns.push_back({data, reinterpret_cast<double*>(data), present.data() + i * present.shape(1), 0, {}});
    }
    const std::string_view whole(text.c_str(), text.size());  // Python keeps a NUL behind it
    const std::vector<std::string_view> words(missing.begin(), missing.end());
    const nb::gil_scoped_release released;
    const int64_t rows =
        schuss::read_numbers(whole, separator[0], places, columns, words, static_cast<int64_t>(most));
    std::vector<int> held;
    std::vector<int64_t> gaps;
    for (const schuss::NumberColumn& column : columns) {
        held.push_back(static_cast<int>(column.held));
        gaps.push_back(column.missing);
    }
    return {rows, held, gaps};
}

// values, center, scale, smooth, knots, heights; see features.hpp
using FeatureTuple = std::tuple<In<double, 1>, double, double, bool, In<double, 1>, In<double, 1>>;

// rows: [count], or [0] for the first ones.
bool write_features(const std::vector<FeatureTuple>& columns, In<int64_t, 1> rows, Out<float, 2> to) {
    const size_t count = to.shape(0);
    if (columns.size() != to.shape(1) || (rows.size() && rows.size() != count))
        throw nb::value_error("the arrays do not fit each other.");
    std::vector<schuss::Feature> features;
    for (const auto& [values, center, scale, smooth, knots, heights] : columns) {
        if ((!rows.size() && values.size() < count) || knots.size() != heights.size() || knots.size() == 1)
            throw nb::value_error("a column is too short.");
        const auto known = static_cast<int64_t>(knots.size());
        features.push_back({values.data(), center, scale, smooth, knots.data(), heights.data(), known});
    }
    const int64_t* const numbers = rows.size() ? rows.data() : nullptr;
    const nb::gil_scoped_release released;
    return schuss::write_features(features, numbers, static_cast<int64_t>(count), to.data());
}

}  // namespace

NB_MODULE(_core, module) {
    module.def("isa", [] { return schuss::chosen_build().isa; }, "The instruction set that a new engine uses.");
    module.def("available_isas", available_isas, "The instruction sets that this processor runs, the plainest first.");
    module.def("has_bf16", [] { return schuss::bf16_build() != nullptr; },
               "Whether this processor has instructions for products in bf16.");
    module.def("permutations", orders, nb::arg("seed"), nb::arg("first_epoch"), nb::arg("epochs"),
               nb::arg("count"), nb::arg("memory"), nb::arg("part") = 0);

    module.def("read_numbers", read_numbers);
    module.def("write_features", write_features);

    nb::class_<schuss::Engine>(module, "Engine")
        .def("__init__", construct, nb::kw_only(), nb::arg("layers"), nb::arg("parameters"), nb::arg("features"),
             nb::arg("levels"), nb::arg("widths"), nb::arg("knot_counts"), nb::arg("knots"), nb::arg("knot_width"),
             nb::arg("targets"), nb::arg("loss"), nb::arg("loss_numbers"), nb::arg("l1"),
             nb::arg("l2"), nb::arg("mean_weight"), nb::arg("optimizer"), nb::arg("constants"),
             nb::arg("weight_decay"), nb::arg("clip_value") = 0.0, nb::arg("clip_norm") = 0.0,
             nb::arg("seed") = 0, nb::arg("threads") = 0, nb::arg("settle") = true,
             nb::arg("precision") = "float32")
        .def_prop_ro("isa", &schuss::Engine::isa)
        .def_prop_ro("parameters", &schuss::Engine::parameters)
        .def("load", load)
        .def("state", state)
        .def("train", train)
        .def("train_watched", train_watched)
        .def("gradient", gradient)
        .def("total_loss", total_loss)
        .def("outputs", outputs);
}
