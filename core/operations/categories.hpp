// Categorical columns: every level owns a row of the first layer's weights, as if the column were one-hot. What would
// be a product with a single 1 is a gather forward and a scatter backward.
//
// In a padded vector: column by column, panel by panel of outputs, the levels' rows of a panel.
#pragma once

#include "operation.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// Of the rows that are worked on, column by column: -1 for none.
struct Codes {
    int32_t* data;  // [C, row_capacity]
    int64_t row_capacity;

    const int32_t* column(int64_t c) const { return data + c * row_capacity; }
};

class Categories final : public Operation {
  public:
    int64_t columns;        // C
    const int64_t* levels;  // [C]
    int64_t outputs;        // of the first layer
    int64_t flat_start;     // of the first level's row in W
    int64_t start;          // in a padded vector
    int64_t biases;         // of the first layer, in a padded vector
    const Codes* codes;
    Sheet sums;             // [outputs in panels] biases + Σ_c the row of the level
    const Sheet* derivatives;  // of what the first layer makes of the sums
    Sheet own_derivatives;  // where the first layer has no sheet of them

    int64_t padded() const {
        int64_t total = 0;
        for (int64_t c = 0; c < columns; c++) total += levels[c];
        return total * panels_of(outputs) * panel_width;
    }

    void lay_out_rows(const Memory& memory, int64_t rows) override {
        sums = new_sheet(memory, outputs, rows);
        if (derivatives == &own_derivatives) own_derivatives = new_sheet(memory, outputs, rows);
    }

    void forward(const Pass& pass) override {
        for (int64_t p = 0; p < panels_of(outputs); p++) {
            const Vector low = load(pass.W + biases + p * panel_width);
            const Vector high = load(pass.W + biases + p * panel_width + lanes);
            for (int64_t row = pass.first; row < pass.last; row++) {
                Vector sum[2] = {low, high};
                const float* of_column = pass.W + start;
                for (int64_t c = 0; c < columns; c++) {
                    const int32_t code = codes->column(c)[row];
                    if (code >= 0) {
                        const float* level = of_column + (p * levels[c] + code) * panel_width;
                        sum[0] += load(level);
                        sum[1] += load(level + lanes);
                    }
                    of_column += levels[c] * panels_of(outputs) * panel_width;
                }
                store(sums.at(p, row), sum[0]);
                store(sums.at(p, row) + lanes, sum[1]);
            }
        }
    }

    // A tile is a column's levels in one panel of outputs.
    int64_t tiles() const override { return columns * panels_of(outputs); }
    bool adds() const override { return true; }
    Tile tile(int64_t number) const override {
        const int64_t column = number / panels_of(outputs), panel = number % panels_of(outputs);
        const int64_t count = levels[column] * panel_width;
        return {{place(column) + panel * count, count}, {0, 0},
                panel, column, 40 * static_cast<double>(levels[column]), 4};
    }

    // The level's row += the derivatives of every row that has it, in row order.
    void gradient(const Tile& tile, int64_t rows, float* its_weights, float*) override {
        const int64_t column = tile.first, panel = tile.panel;
        const int32_t* its_codes = codes->column(column);
        const float* from = derivatives->at(panel, 0);
        for (int64_t row = 0; row < rows; row++, from += panel_width) {
            const int32_t code = its_codes[row];
            if (code < 0) continue;
            float* level = its_weights + code * panel_width;
            store(level, load(level) + load(from));
            store(level + lanes, load(level + lanes) + load(from + lanes));
        }
    }

    void describe(const Layout& layout) const override {
        int64_t flat = flat_start;
        for (int64_t c = 0; c < columns; c++) {
            const int64_t column = place(c);
            for (int64_t level = 0; level < levels[c]; level++)
                for (int64_t p = 0; p < panels_of(outputs); p++) {
                    const int64_t left = outputs - p * panel_width, count = left < panel_width ? left : panel_width;
                    layout.piece(layout.context, flat, column + (p * levels[c] + level) * panel_width, count, 1);
                    flat += count;
                }
        }
    }

  protected:
    // The levels that some row of the batch has.
    void touched(const Tile& tile, int64_t rows, const Visitor& visitor) const override {
        const int32_t* its_codes = codes->column(tile.first);
        for (int64_t row = 0; row < rows; row++)
            if (its_codes[row] >= 0) visitor.visit(visitor.context, its_codes[row] * panel_width, panel_width);
    }

  private:
    int64_t place(int64_t column) const {
        int64_t before = 0;
        for (int64_t c = 0; c < column; c++) before += levels[c];
        return start + before * panels_of(outputs) * panel_width;
    }
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
