// Layer norm: values = activation(γ · normalised + β), normalised = (x − mean) / √(variance + ε) over a row's columns
// (Ba, Kiros and Hinton 2016). Mean and variance are float64: no square of a float32 overflows there, and a row of equal
// numbers has a variance of 0.
//
// In a padded vector: panel by panel, γ of the panel, then its β.
#pragma once

#include "operation.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

constexpr int64_t wide_lanes = lanes / 2;  // float64 in a vector
typedef double Doubles __attribute__((vector_size(lanes * 4)));
typedef int64_t WideIntegers __attribute__((vector_size(lanes * 4), may_alias));
typedef float FewFloats __attribute__((vector_size(lanes * 2), may_alias));

SCHUSS_INLINE Doubles widened(const float* from) {
    return __builtin_convertvector(*reinterpret_cast<const FewFloats*>(from), Doubles);
}

class LayerNorm final : public Operation {
  public:
    int64_t flat_start;
    int64_t start;          // in a padded vector
    double epsilon;
    Signal* x;
    Signal* y;
    Sheet normalised;
    float* inverse;         // [rows] 1 / √(variance + ε)
    float* mean_d;          // [rows] of the derivatives by `normalised`
    float* mean_along;      // [rows] of these times `normalised`
    void (*activate)(const LayerNorm&, const Pass&);

    int64_t columns() const { return x->columns; }
    int64_t padded() const { return 2 * panels_of(columns()) * panel_width; }

    void lay_out_rows(const Memory& memory, int64_t rows) override {
        normalised = new_sheet(memory, columns(), rows);
        for (float** each : {&inverse, &mean_d, &mean_along}) *each = memory.take<float>(rows);
        y->values = new_sheet(memory, columns(), rows);
        y->derivatives = new_sheet(memory, columns(), rows);
    }

    void forward(const Pass& pass) override {
        for (int64_t row = pass.first; row < pass.last; row++) normalise(row);
        activate(*this, pass);
    }

    // With d the derivative by `normalised`: (d − mean of d − normalised · mean of d · normalised) / √(variance + ε)
    void backward(const Pass& pass) override {
        if (!x->has_way_back) return;
        const auto d = [&](int64_t panel, int64_t row, int n) __attribute__((always_inline)) {
            return there(panel, n, y->derivatives.vector(panel, row, n) * load(weights(pass, panel) + n * lanes));
        };
        for (int64_t row = pass.first; row < pass.last; row++) {
            Doubles sums = {}, along = {};
            for_each_part([&](int64_t panel, int64_t first) __attribute__((always_inline)) {
                const Doubles wide =
                    widened(y->derivatives.at(panel, row) + first) * widened(weights(pass, panel) + first);
                sums += kept(panel, first, wide);
                along += kept(panel, first, wide * widened(normalised.at(panel, row) + first));
            });
            mean_d[row] = static_cast<float>(mean(sums));
            mean_along[row] = static_cast<float>(mean(along));
        }
        send_back(*x, pass, [&](int64_t panel, int64_t row, int n) __attribute__((always_inline)) {
            const Vector along = normalised.vector(panel, row, n) * mean_along[row];
            return there(panel, n, (d(panel, row, n) - mean_d[row] - along) * inverse[row]);
        });
    }

    // A tile is γ or β of a panel.
    int64_t tiles() const override { return 2 * panels_of(columns()); }
    Tile tile(int64_t number) const override {
        return {{0, 0}, {start + number * panel_width, panel_width}, number / 2, number % 2, 20, 2};
    }

    void gradient(const Tile& tile, int64_t rows, float*, float* result) override {
        for (int n = 0; n < 2; n++) {
            Vector sum = {};
            for (int64_t row = 0; row < rows; row++) {
                const Vector derivative = y->derivatives.vector(tile.panel, row, n);
                sum += tile.first ? derivative : derivative * normalised.vector(tile.panel, row, n);
            }
            store(result + n * lanes, there(tile.panel, n, sum));
        }
    }

    void describe(const Layout& layout) const override {
        for (int64_t p = 0; p < panels_of(columns()); p++) {
            const int64_t first = p * panel_width, left = columns() - first;
            const int64_t count = left < panel_width ? left : panel_width;
            layout.piece(layout.context, flat_start + first, start + 2 * first, count, 1);
            layout.piece(layout.context, flat_start + columns() + first, start + 2 * first + panel_width, count, 1);
        }
    }

    const float* weights(const Pass& pass, int64_t panel) const { return pass.W + start + 2 * panel * panel_width; }

  private:
    // Calls work(panel, first column in it) for parts of wide_lanes columns.
    template <class Work>
    SCHUSS_INLINE void for_each_part(Work work) const {
        for (int64_t panel = 0; panel < panels_of(columns()); panel++)
            for (int64_t first = 0; first < panel_width && panel * panel_width + first < columns(); first += wide_lanes)
                work(panel, first);
    }

    SCHUSS_INLINE double mean(const Doubles& sums) const {
        double total = 0;
        for (int64_t i = 0; i < wide_lanes; i++) total += sums[i];
        return total / static_cast<double>(columns());
    }

    // 0 in columns that are not there.
    SCHUSS_INLINE Vector there(int64_t panel, int n, Vector values) const {
        alignas(64) static const int32_t numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        const int64_t left = columns() - panel * panel_width - n * lanes;
        if (left >= lanes) return values;
        return select(*reinterpret_cast<const Integers*>(numbers) < static_cast<int32_t>(left), values, splat(0.0f));
    }
    SCHUSS_INLINE Doubles kept(int64_t panel, int64_t first, Doubles values) const {
        alignas(64) static const int64_t numbers[] = {0, 1, 2, 3, 4, 5, 6, 7};
        const int64_t left = columns() - panel * panel_width - first;
        if (left >= wide_lanes) return values;
        return *reinterpret_cast<const WideIntegers*>(numbers) < left ? values : Doubles{};
    }

    void normalise(int64_t row) {
        Doubles sums = {}, squares = {};
        for_each_part([&](int64_t panel, int64_t first) __attribute__((always_inline)) {
            sums += kept(panel, first, widened(x->values.at(panel, row) + first));
        });
        const double centre = mean(sums);
        for_each_part([&](int64_t panel, int64_t first) __attribute__((always_inline)) {
            const Doubles centred = kept(panel, first, widened(x->values.at(panel, row) + first) - centre);
            squares += centred * centred;
        });
        const double scale = 1 / __builtin_sqrt(mean(squares) + epsilon);
        inverse[row] = static_cast<float>(scale);
        for_each_part([&](int64_t panel, int64_t first) __attribute__((always_inline)) {
            const Doubles result =
                kept(panel, first, (widened(x->values.at(panel, row) + first) - centre) * scale);
            *reinterpret_cast<FewFloats*>(normalised.at(panel, row) + first) =
                __builtin_convertvector(result, FewFloats);
        });
    }
};

template <class Activation>
void activate(const LayerNorm& layer, const Pass& pass) {
    const bool keep_slopes = layer.y->keeps_slopes(pass.way_back);
    for (int64_t panel = 0; panel < panels_of(layer.columns()); panel++) {
        const float* weights = layer.weights(pass, panel);
        for (int64_t row = pass.first; row < pass.last; row++)
            for (int n = 0; n < 2; n++) {
                const Vector normalised = layer.normalised.vector(panel, row, n);
                const Activated result = Activation::of(
                    normalised * load(weights + n * lanes) + load(weights + panel_width + n * lanes));
                store(layer.y->values.at(panel, row) + n * lanes, result.value);
                if (keep_slopes) store(layer.y->derivatives.at(panel, row) + n * lanes, result.derivative);
            }
    }
}

auto activation_of(const char* name) {
    void (*found)(const LayerNorm&, const Pass&) = nullptr;
    Activations::for_each([&](auto its) {
        using Activation = decltype(its);
        if (strcmp(Activation::name, name) == 0) found = activate<Activation>;
    });
    return found;
}

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
