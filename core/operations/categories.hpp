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

// What operations that pick rows of the first dense layer's weights add up, biases included, and it goes on from.
struct FirstSums {
    int64_t outputs;           // of the layer
    int64_t biases;            // of the layer, in a padded vector
    Sheet sums;                // [outputs in panels]
    const Sheet* derivatives;  // of what the layer makes of them
    Sheet own_derivatives;     // where the layer has no sheet of them

    void lay_out_rows(const Memory& memory, int64_t rows) {
        sums = new_sheet(memory, outputs, rows);
        if (derivatives == &own_derivatives) own_derivatives = new_sheet(memory, outputs, rows);
    }
};

// A categorical column: which of all, its levels, and the length of a level's vector; 0 for one-hot.
struct Column {
    int64_t number;
    int64_t levels;
    int64_t width;
};

class Categories final : public Operation {
  public:
    int64_t columns;      // that are one-hot
    const Column* of;     // [columns]
    int64_t flat_start;   // of the first level's row in W
    int64_t start;        // in a padded vector
    const Codes* codes;
    FirstSums* first;

    int64_t panels() const { return panels_of(first->outputs); }
    int64_t padded() const { return place(columns) - start; }

    void lay_out_rows(const Memory& memory, int64_t rows) override { first->lay_out_rows(memory, rows); }

    void forward(const Pass& pass) override {
        for (int64_t p = 0; p < panels(); p++) {
            const Vector low = load(pass.W + first->biases + p * panel_width);
            const Vector high = load(pass.W + first->biases + p * panel_width + lanes);
            for (int64_t row = pass.first; row < pass.last; row++) {
                Vector sum[2] = {low, high};
                const float* of_column = pass.W + start;
                for (int64_t c = 0; c < columns; c++) {
                    const int32_t code = codes->column(of[c].number)[row];
                    if (code >= 0) {
                        const float* level = of_column + (p * of[c].levels + code) * panel_width;
                        sum[0] += load(level);
                        sum[1] += load(level + lanes);
                    }
                    of_column += of[c].levels * panels() * panel_width;
                }
                store(first->sums.at(p, row), sum[0]);
                store(first->sums.at(p, row) + lanes, sum[1]);
            }
        }
    }

    // A tile is a column's levels in one panel of outputs.
    int64_t tiles() const override { return columns * panels(); }
    bool adds() const override { return true; }
    Tile tile(int64_t number) const override {
        const int64_t column = number / panels(), panel = number % panels();
        const int64_t count = of[column].levels * panel_width;
        return {{place(column) + panel * count, count}, {0, 0},
                panel, column, 40 * static_cast<double>(of[column].levels), 4};
    }

    // The level's row += the derivatives of every row that has it, in row order.
    void gradient(const Tile& tile, int64_t rows, float* its_weights, float*) override {
        const int32_t* its_codes = codes->column(of[tile.first].number);
        const float* from = first->derivatives->at(tile.panel, 0);
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
            for (int64_t level = 0; level < of[c].levels; level++)
                for (int64_t p = 0; p < panels(); p++) {
                    const int64_t left = first->outputs - p * panel_width;
                    const int64_t count = left < panel_width ? left : panel_width;
                    layout.piece(layout.context, flat, column + (p * of[c].levels + level) * panel_width, count, 1);
                    flat += count;
                }
        }
    }

  protected:
    // The levels that some row of the batch has.
    void touched(const Tile& tile, int64_t rows, const Visitor& visitor) const override {
        const int32_t* its_codes = codes->column(of[tile.first].number);
        for (int64_t row = 0; row < rows; row++)
            if (its_codes[row] >= 0) visitor.visit(visitor.context, its_codes[row] * panel_width, panel_width);
    }

  private:
    int64_t place(int64_t column) const {
        int64_t before = 0;
        for (int64_t c = 0; c < column; c++) before += of[c].levels;
        return start + before * panels() * panel_width;
    }
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
