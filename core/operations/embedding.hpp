// Embeddings: every level of a categorical column owns a vector of numbers, which is written behind the features in the
// sheet of inputs. Its gradient is the sum over the rows that have the level.
//
// In a padded vector: column by column, the levels' vectors without a gap, the last one filled up to whole panels.
#pragma once

#include "categories.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// What comes in has no activation: where dropout will multiply slopes, they are 1.
void begin_slopes(const Signal& signal, const Pass& pass) {
    if (!signal.keeps_slopes(pass.way_back)) return;
    for (int64_t p = 0; p < panels_of(signal.columns); p++)
        for (int64_t row = pass.first; row < pass.last; row++)
            for (int n = 0; n < 2; n++) store(signal.derivatives.at(p, row) + n * lanes, splat(1.0f));
}

class Embedding final : public Operation {
  public:
    int64_t features;  // F
    int64_t columns;   // that have vectors
    const Column* of;  // [columns]
    int64_t flat_start;
    int64_t start;     // in a padded vector
    const Codes* codes;
    Signal* signal;    // of the inputs: features, vectors, and what others write behind them

    int64_t padded() const { return place(columns) - start; }

    void lay_out_rows(const Memory& memory, int64_t rows) override {
        signal->derivatives = new_sheet(memory, signal->columns, rows);
    }

    void forward(const Pass& pass) override {
        for (int64_t c = 0; c < columns; c++) {
            const float* vectors = pass.W + place(c);
            const int32_t* its_codes = codes->column(of[c].number);
            const int64_t first = column(c), width = of[c].width;
            for (int64_t row = pass.first; row < pass.last; row++)
                for (int64_t i = 0; i < width; i++) {
                    const int32_t code = its_codes[row];
                    *at(signal->values, first + i, row) = code < 0 ? 0 : vectors[code * width + i];
                }
        }
        begin_slopes(*signal, pass);
    }

    // A tile is a column.
    int64_t tiles() const override { return columns; }
    bool adds() const override { return true; }
    Tile tile(int64_t number) const override {
        const int64_t from = place(number), count = place(number + 1) - from;
        return {{from, count}, {0, 0}, 0, number, 2 * static_cast<double>(count), static_cast<double>(of[number].width)};
    }

    void gradient(const Tile& tile, int64_t rows, float* its_vectors, float*) override {
        const int32_t* its_codes = codes->column(of[tile.first].number);
        const int64_t first = column(tile.first), width = of[tile.first].width;
        for (int64_t row = 0; row < rows; row++) {
            if (its_codes[row] < 0) continue;
            float* vector = its_vectors + its_codes[row] * width;
            for (int64_t i = 0; i < width; i++) vector[i] += *at(signal->derivatives, first + i, row);
        }
    }

    void describe(const Layout& layout) const override {
        int64_t flat = flat_start;
        for (int64_t c = 0; c < columns; c++) {
            layout.piece(layout.context, flat, place(c), of[c].levels * of[c].width, 1);
            flat += of[c].levels * of[c].width;
        }
    }

  protected:
    // Whole vectors of the processor, which a level may share with its neighbours: their gradient is 0.
    void touched(const Tile& tile, int64_t rows, const Visitor& visitor) const override {
        const int32_t* its_codes = codes->column(of[tile.first].number);
        const int64_t width = of[tile.first].width;
        for (int64_t row = 0; row < rows; row++) {
            if (its_codes[row] < 0) continue;
            const int64_t first = its_codes[row] * width / lanes, last = (its_codes[row] * width + width - 1) / lanes;
            visitor.visit(visitor.context, first * lanes, (last + 1 - first) * lanes);
        }
    }

  private:
    // Where the vectors of a column are written.
    int64_t column(int64_t number) const {
        int64_t before = features;
        for (int64_t c = 0; c < number; c++) before += of[c].width;
        return before;
    }

    int64_t place(int64_t column) const {
        int64_t panels = 0;
        for (int64_t c = 0; c < column; c++) panels += panels_of(of[c].levels * of[c].width);
        return start + panels * panel_width;
    }
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
