// A dense layer: values = activation(x · weights + biases), forward and backward side by side.
//
// In a padded vector the layer owns its weights [outputs in panels, inputs] and its biases [outputs in panels].
#pragma once

#include "operation.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

class Dense;

// The functions of a dense layer that know its activation or the shape of its input.
struct DenseCode {
    void (*forward)(const Dense&, const Pass&);
    void (*backward)(const Dense&, const Pass&);
    void (*gradient)(const Dense&, const Tile&, int64_t rows, float* weights, float* biases);
};

class Dense final : public Operation {
  public:
    int64_t inputs;        // features or units that come in
    int64_t outputs;
    int64_t flat_start;    // of the weights in W
    int64_t flat_biases;   // of the biases in W
    int64_t weights;       // start of the weights in a padded vector
    int64_t biases;        // start of the biases in it
    float* packed;         // weights [outputs in panels, steps over inputs] as products read them; null: as they are
    float* transposed;     // weightsᵀ [inputs in panels, steps over outputs]; null where nobody wants the way back
    const Sheet* sums;     // what the sums start from, biases included, where categories add to them; or null
    Signal* x;
    Signal* y;
    DenseCode code;

    int64_t padded_weights() const { return panels_of(outputs) * inputs * panel_width; }
    int64_t padded_biases() const { return panels_of(outputs) * panel_width; }
    int64_t blocks() const { return (inputs + tile_inputs - 1) / tile_inputs; }
    int64_t transposed_panel() const { return panels_of(outputs) * panel_depth * panel_width; }

    // Panels of weights as the way forward and the way back read them.
    const float* ahead(const float* W, int64_t panel) const {
        return packed ? packed + panel * steps_over(inputs) * panel_width : W + weights + panel * inputs * panel_width;
    }
    const float* back(int64_t panel) const { return transposed + panel * transposed_panel(); }

    void lay_out_weights(const Memory& memory) {
        if (inputs && depth > 1) packed = memory.take<float>(panels_of(outputs) * steps_over(inputs) * panel_width);
        if (x->has_way_back) transposed = memory.take<float>(panels_of(inputs) * transposed_panel());
    }

    void lay_out_rows(const Memory& memory, int64_t rows) override {
        y->values = new_sheet(memory, outputs, rows, !y->only_factors);
        y->derivatives = new_sheet(memory, outputs, rows);
        x->value_factors = new_factors(memory, x->values, inputs, rows, true);
        y->derivative_factors = new_factors(memory, y->derivatives, outputs, rows, x->has_way_back);
    }

    void forward(const Pass& pass) override {
        if (!x->only_factors) x->value_factors.fill(x->values, inputs, pass.first, pass.last);
        code.forward(*this, pass);
    }
    void backward(const Pass& pass) override {
        if (x->has_way_back) code.backward(*this, pass);
    }

    // A tile is tile_inputs rows of the weights in one panel. Panels come one after another, so that the derivatives
    // of a panel stay in the cache. Without inputs (nothing but categories) a tile holds the biases alone.
    int64_t tiles() const override { return panels_of(outputs) * (inputs ? blocks() : 1); }
    Tile tile(int64_t number) const override {
        const int64_t per_panel = inputs ? blocks() : 1;
        const int64_t panel = number / per_panel, i = number % per_panel * tile_inputs;
        const int64_t count = inputs - i < tile_inputs ? inputs - i : tile_inputs;
        return {{weights + (panel * inputs + i) * panel_width, count * panel_width},
                {biases + panel * panel_width, i == 0 ? panel_width : 0},
                panel, i, 20 * static_cast<double>(count + 1), static_cast<double>(count + 1)};
    }

    void gradient(const Tile& tile, int64_t rows, float* its_weights, float* its_biases) override {
        code.gradient(*this, tile, rows, its_weights, its_biases);
    }

    void updated(const Tile& tile, const float* W) override {
        if (!packed && !transposed) return;
        const int64_t panel = tile.panel, i = tile.first;
        const int64_t rows = inputs - i < tile_inputs ? inputs - i : tile_inputs;
        const float* its_weights = W + weights + (panel * inputs + i) * panel_width;
        alignas(64) float by_columns[tile_inputs * panel_depth];
        if (packed) {
            pack_tile(its_weights, rows, packed + (panel * steps_over(inputs) + i / depth) * panel_width, by_columns);
            its_weights = by_columns;
        }
        if (!transposed) return;
        float* const panel_of_input = transposed + i / panel_width * transposed_panel();
        transpose_tile<panel_depth>(
            its_weights, rows, panel_of_input + panel * panel_depth * panel_width + i % panel_width);
    }

    void describe(const Layout& layout) const override {
        for (int64_t p = 0; p < panels_of(outputs); p++) {
            const int64_t first = p * panel_width, left = outputs - first;
            const int64_t count = left < panel_width ? left : panel_width;
            for (int64_t i = 0; i < inputs; i++)
                layout.piece(layout.context, flat_start + i * outputs + first,
                             weights + (p * inputs + i) * panel_width, count, 1);
            layout.piece(layout.context, flat_biases + first, biases + first, count, 1);
        }
    }
};

// One block of rows of one panel.
template <class Activation, int64_t row_step, int width>
SCHUSS_INLINE void forward_block(const Dense& layer, const Pass& pass, int64_t panel, int64_t row, bool keep_slopes) {
    Sums<block_rows, width> z;
    if (layer.sums)
        z.start(layer.sums->at(panel, row), panel_width);
    else
        z.start(pass.W + layer.biases + panel * panel_width, 0);
    const Sheet& x = layer.x->value_factors.by_columns;
    z.template add_product<row_step / depth>(
        x.at(0, row), x.panel_step, layer.ahead(pass.W, panel), steps_over(layer.inputs));

    const bool only_factors = depth > 1 && layer.y->only_factors;
    float* values = layer.y->values.at(panel, row);
    float* slopes = layer.y->derivatives.at(panel, row);
    const auto activate = [&](int m, int n) __attribute__((always_inline)) {
        const Activated result = Activation::of(z.at[m][n]);
        if (only_factors)
            z.at[m][n] = result.value;
        else
            store(values + m * panel_width + n * lanes, result.value);
        if (keep_slopes) store(slopes + m * panel_width + n * lanes, result.derivative);
    };
    if constexpr (Activation::is_cheap) {
#pragma GCC unroll 8
        for (int m = 0; m < block_rows; m++)
#pragma GCC unroll 2
            for (int n = 0; n < width; n++) activate(m, n);
        if (only_factors) layer.y->value_factors.put(z.at, panel, row);
    } else {
#pragma GCC unroll 1
        for (int m = 0; m < block_rows; m++)
#pragma GCC unroll 1
            for (int n = 0; n < width; n++) activate(m, n);
    }
}

// Calls work(width, panel) for every panel; width: its vectors that have columns.
template <int number>
struct Width {
    static constexpr int value = number;
};
template <class Work>
SCHUSS_INLINE void for_each_panel(int64_t columns, Work work) {
    for (int64_t panel = 0; panel < panels_of(columns); panel++)
        if (vectors_of(columns, panel) == 2)
            work(Width<2>(), panel);
        else
            work(Width<1>(), panel);
}

template <class Activation, int64_t row_step>
void forward(const Dense& layer, const Pass& pass) {
    const bool keep_slopes = pass.way_back && layer.y->chain == ChainRule::stored;
    for_each_panel(layer.outputs, [&](auto width, int64_t panel) {
        for (int64_t row = pass.first; row < pass.last; row += block_rows)
            forward_block<Activation, row_step, width.value>(layer, pass, panel, row, keep_slopes);
    });
}

// derivatives of x = (derivatives of y · weightsᵀ) ∘ slope of the activation that made x.
template <class Rule>
void backward(const Dense& layer, const Pass& pass) {
    const Sheet& above = layer.y->derivative_factors.by_columns;
    for_each_panel(layer.inputs, [&](auto width, int64_t panel) {
        for (int64_t row = pass.first; row < pass.last; row += block_rows) {
            Sums<block_rows, width.value> sums = {};
            sums.template add_product<panel_depth>(
                above.at(0, row), above.panel_step, layer.back(panel), steps_over(layer.outputs));
            store_derivatives<Rule>(sums, *layer.x, layer.x->value_factors, pass, panel, row);
        }
    });
}

// Part of a tile: `rows` rows of weights, of whose gradient it writes the first `wanted`.
template <int64_t row_step, int rows, int width, bool with_biases>
SCHUSS_INLINE void gradient_block(
    const float* x, const float* derivatives, int64_t count, int64_t wanted, float* weights, float* biases
) {
    Sums<rows, width> sums = {};
    Vector bias_sums[width] = {};
    sums.template add_transposed_product<row_step, with_biases>(x, derivatives, count, bias_sums);
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++)
        if (m < wanted) {
            store(weights + m * panel_width, sums.at[m][0]);
            store(weights + m * panel_width + lanes, width == 2 ? sums.at[m][width - 1] : splat(0.0f));
        }
    if constexpr (with_biases) {
        store(biases, bias_sums[0]);
        store(biases + lanes, width == 2 ? bias_sums[width - 1] : splat(0.0f));
    }
}

// weights [tile_inputs, panel_width] = xᵀ · derivatives of y, over the first `rows` rows in order; biases likewise.
template <int64_t row_step>
void gradient(const Dense& layer, const Tile& tile, int64_t rows, float* weights, float* biases) {
    const int64_t panel = tile.panel, i = tile.first;
    const float* derivatives = layer.y->derivative_factors.by_rows.at(panel, 0);
    const int64_t there = layer.inputs - i;
    for (int64_t m = 0; m < tile_inputs; m += block_rows) {
        const float* x = layer.x->value_factors.by_rows.at((i + m) / panel_width, 0) + (i + m) % panel_width;
        const int64_t wanted = there - m;
        const bool with_biases = i + m == 0;
        if (wanted <= 0 && !with_biases) return;
        const auto block = [&](auto many, auto width, auto biases_too) {
            gradient_block<row_step, many.value, width.value, biases_too.value == 1>(
                x, derivatives, steps_over(rows), wanted, weights + m * panel_width, biases);
        };
        const auto with = [&](auto many, auto width) {
            if (with_biases)
                block(many, width, Width<1>());
            else
                block(many, width, Width<0>());
        };
        const auto of_width = [&](auto many) {
            if (vectors_of(layer.outputs, panel) == 2)
                with(many, Width<2>());
            else
                with(many, Width<1>());
        };
        if (wanted > block_rows / 2)
            of_width(Width<block_rows>());
        else
            of_width(Width<block_rows / 2>());
    }
}

// The code for an input in panels of that width, made by an activation with that chain rule.
DenseCode dense_code(const char* activation, int64_t row_step, ChainRule chain) {
    DenseCode code = {};
    Activations::for_each([&](auto its) {
        using Activation = decltype(its);
        if (strcmp(Activation::name, activation) != 0) return;
        code.forward = row_step == narrow_width ? forward<Activation, narrow_width> : forward<Activation, panel_width>;
    });
    ChainRules::for_each([&](auto its) {
        using Rule = decltype(its);
        if (Rule::rule == chain) code.backward = backward<Rule>;
    });
    code.gradient = row_step == narrow_width ? gradient<narrow_width> : gradient<panel_width>;
    return code;
}

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
