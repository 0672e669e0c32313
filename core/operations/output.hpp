// The last layer: outputs = x · weights + biases, for few outputs as well as for many, and always in float32.
//
// Its sums run over the inputs within vectors: panels of x meet panels of weights [inputs in panels, outputs], row by
// row. So one output costs as much as it should, outputs come with the rows along the vectors as losses want them, and
// the weights need no second form for the way back.
#pragma once

#include "operation.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

constexpr int64_t output_block = 8;  // outputs that a tile of weights has

class Output final : public Operation {
  public:
    int64_t inputs;
    int64_t outputs;      // K
    int64_t flat_start;
    int64_t flat_biases;
    int64_t weights;      // start in a padded vector of [inputs in panels, outputs]
    int64_t biases;       // start of [outputs in panels]
    const Sheet* sums;    // [outputs in panels]: what categories add, biases included; or null
    Sheet* sums_back;     // where categories find the derivatives
    Signal* x;
    int64_t row_capacity;
    float* scores;        // [K, row_capacity] outputs
    float* derivatives;   // [K, row_capacity] of the batch's loss

    int64_t padded_weights() const { return panels_of(inputs) * outputs * panel_width; }
    int64_t padded_biases() const { return panels_of(outputs) * panel_width; }

    void lay_out_rows(const Memory& memory, int64_t rows) override {
        row_capacity = rows;
        scores = memory.take<float>(outputs * rows);
        derivatives = memory.take<float>(outputs * rows);
    }

    // `lanes` rows at a time: each has a vector of sums for an output, and these are added up into one vector of rows.
    void forward(const Pass& pass) override {
        const float* first_weights = pass.W + weights;
        for (int64_t row = pass.first; row < pass.last; row += lanes)
            for (int64_t k = 0; k < outputs; k++) {
                Vector sum[lanes] = {};
                for (int64_t p = 0; p < panels_of(inputs); p++) {
                    const float* w = first_weights + (p * outputs + k) * panel_width;
                    const float* values = x->values.at(p, row);
                    const Vector low = load(w), high = load(w + lanes);
#pragma GCC unroll 16
                    for (int m = 0; m < lanes; m++) sum[m] += load(values + m * panel_width) * low;
#pragma GCC unroll 16
                    for (int m = 0; m < lanes; m++) sum[m] += load(values + m * panel_width + lanes) * high;
                }
                Vector start = splat(pass.W[biases + k]);
                if (sums)
                    for (int m = 0; m < lanes; m++) start[m] = sums->at(k / panel_width, row + m)[k % panel_width];
                store(scores + k * row_capacity + row, sum_of_each(sum) + start);
            }
    }

    void backward(const Pass& pass) override {
        if (sums_back)
            for (int64_t k = 0; k < outputs; k++)
                for (int64_t row = pass.first; row < pass.last; row++)
                    sums_back->at(k / panel_width, row)[k % panel_width] = derivatives[k * row_capacity + row];
        if (x->has_way_back)
            ChainRules::for_each([&](auto its) {
                using Rule = decltype(its);
                if (Rule::rule == x->chain) backward_by<Rule>(pass);
            });
    }

    // A tile is output_block outputs of a panel of inputs. Those of the first panel hold the biases, a panel of outputs
    // each.
    int64_t blocks() const { return (outputs + output_block - 1) / output_block; }
    int64_t tiles() const override { return (inputs ? panels_of(inputs) : 1) * blocks(); }
    Tile tile(int64_t number) const override {
        const int64_t panel = number / blocks(), k = number % blocks() * output_block;
        const int64_t count = outputs - k < output_block ? outputs - k : output_block;
        return {{weights + (panel * outputs + k) * panel_width, inputs ? count * panel_width : 0},
                {biases + k, panel == 0 && k % panel_width == 0 ? panel_width : 0},
                panel, k, 20 * static_cast<double>(count + 1), static_cast<double>(count + 1)};
    }

    void gradient(const Tile& tile, int64_t rows, float* its_weights, float* its_biases) override {
        const int64_t panel = tile.panel, k = tile.first;
        const int64_t count = outputs - k < output_block ? outputs - k : output_block;
        for (int64_t o = 0; inputs && o < count; o += 4) {
            float* const result = its_weights + o * panel_width;
            switch (count - o) {
                case 1: weight_gradient(panel, k + o, rows, result); break;
                case 2: weight_gradients<2>(panel, k + o, rows, result); break;
                case 3: weight_gradients<3>(panel, k + o, rows, result); break;
                default: weight_gradients<4>(panel, k + o, rows, result);
            }
        }
        if (panel > 0 || k % panel_width > 0) return;
        memset(its_biases, 0, panel_width * sizeof(float));
        for (int64_t o = 0; o < panel_width && k + o < outputs; o++) its_biases[o] = bias_gradient(k + o, rows);
    }

    void describe(const Layout& layout) const override {
        for (int64_t i = 0; i < inputs; i++)
            layout.piece(layout.context, flat_start + i * outputs,
                         weights + i / panel_width * outputs * panel_width + i % panel_width, outputs, panel_width);
        layout.piece(layout.context, flat_biases, biases, outputs, 1);
    }

  private:
    template <class Rule>
    void backward_by(const Pass& pass) const {
        for (int64_t p = 0; p < panels_of(inputs); p++)
            for (int64_t row = pass.first; row < pass.last; row += block_rows) {
                Sums<block_rows, 2> sums = {};
                const float* w = pass.W + weights + p * outputs * panel_width;
                const float* from = derivatives + row;
                for (int64_t k = 0; k < outputs; k++, w += panel_width, from += row_capacity) {
                    const Vector low = load(w), high = load(w + lanes);
#pragma GCC unroll 8
                    for (int m = 0; m < block_rows; m++) {
                        const Vector derivative = splat(from[m]);
                        sums.at[m][0] += derivative * low;
                        sums.at[m][1] += derivative * high;
                    }
                }
                store_derivatives<Rule>(sums, *x, x->values, pass, p, row);
            }
    }

    // Σ_r derivative of output k in row r · x[r] of a panel: four sums of every fourth row, the last rows in the first.
    void weight_gradient(int64_t panel, int64_t k, int64_t rows, float* result) const {
        const float* values = x->values.at(panel, 0);
        const float* from = derivatives + k * row_capacity;
        Sums<4, 2> sums = {};
        int64_t r = 0;
        for (; r + 4 <= rows; r += 4)
#pragma GCC unroll 4
            for (int m = 0; m < 4; m++) add(sums, m, from[r + m], values + (r + m) * panel_width);
        for (; r < rows; r++) add(sums, 0, from[r], values + r * panel_width);
        sums.at[0][0] = (sums.at[0][0] + sums.at[1][0]) + (sums.at[2][0] + sums.at[3][0]);
        sums.at[0][1] = (sums.at[0][1] + sums.at[1][1]) + (sums.at[2][1] + sums.at[3][1]);
        store_real(sums.at[0], panel, result);
    }

    // The same for `many` outputs at once, each in one sum.
    template <int many>
    void weight_gradients(int64_t panel, int64_t k, int64_t rows, float* result) const {
        const float* values = x->values.at(panel, 0);
        const float* from = derivatives + k * row_capacity;
        Sums<many, 2> sums = {};
        for (int64_t r = 0; r < rows; r++, values += panel_width)
#pragma GCC unroll 4
            for (int m = 0; m < many; m++) add(sums, m, from[m * row_capacity + r], values);
        for (int m = 0; m < many; m++) store_real(sums.at[m], panel, result + m * panel_width);
    }

    // Columns beyond the inputs may hold anything: their weights stay 0.
    void store_real(const Vector (&sums)[2], int64_t panel, float* result) const {
        store(result, sums[0]);
        store(result + lanes, sums[1]);
        const int64_t left = inputs - panel * panel_width;
        for (int64_t i = left; i < panel_width; i++) result[i] = 0;
    }

    template <int many>
    static SCHUSS_INLINE void add(Sums<many, 2>& sums, int m, float derivative, const float* values) {
        sums.at[m][0] += splat(derivative) * load(values);
        sums.at[m][1] += splat(derivative) * load(values + lanes);
    }

    float bias_gradient(int64_t k, int64_t rows) const {
        const float* from = derivatives + k * row_capacity;
        Vector sums = {};
        int64_t r = 0;
        for (; r + lanes <= rows; r += lanes) sums += load(from + r);
        float total = sum(sums);
        for (; r < rows; r++) total += from[r];
        return total;
    }
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
