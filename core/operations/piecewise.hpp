// Numeric features that a network is piecewise linear in: between its knots a feature is a bin and a share of it.
//
// As inputs of a dense layer they would be e_b = clip((x − knot_b) / (knot_b+1 − knot_b), 0, 1), one for each bin, and
// W holds the weights of these: slope increments D_b. Since all e before the bin of x are 1 and all behind it are 0,
// the product is an interpolation, T_b + share · D_b, with the running sums T_b = Σ D before b: whatever the number of
// bins, it reads two rows. The gradient goes back the same way: each row adds to two rows of a table, whose sums from
// the end are the gradient by D.
//
// In a padded vector: feature by feature, panel by panel of outputs, the increments' rows of a panel.
#pragma once

#include "embedding.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// Of a feature that has knots.
struct Knots {
    int64_t feature;
    int64_t bins;
    const float* at;        // [bins + 1]
    const float* inverses;  // [bins] 1 / length of a bin
};

// Where the features of the rows that are worked on lie between their knots.
struct Places {
    const Knots* knots;  // [count]
    int64_t count;
    int64_t row_capacity;
    int32_t* bins;  // [count, row_capacity]
    float* shares;  // [count, row_capacity]
    Signal* input;  // where the features come from

    void lay_out_rows(const Memory& memory, int64_t rows) {
        row_capacity = rows;
        bins = memory.take<int32_t>(count * rows);
        shares = memory.take<float>(count * rows);
    }

    // `lanes` rows at a time: the bin is the number of inner knots up to x.
    void find(const Pass& pass) const {
        for (int64_t k = 0; k < count; k++) {
            const Knots own = knots[k];
            const Sheet& values = input->values;
            const float* from = values.at(own.feature / panel_width, 0) + own.feature % panel_width;
            int32_t* const its_bins = bins + k * row_capacity;
            float* const its_shares = shares + k * row_capacity;
            for (int64_t row = pass.first; row < pass.last; row += lanes) {
                Vector x, start, inverse;
                for (int64_t i = 0; i < lanes; i++) x[i] = from[(row + i) * values.row_step];
                Integers found = {};
                for (int64_t b = 1; b < own.bins; b++) found -= splat(own.at[b]) <= x;
                *reinterpret_cast<Integers*>(its_bins + row) = found;
                for (int64_t i = 0; i < lanes; i++) start[i] = own.at[found[i]], inverse[i] = own.inverses[found[i]];
                store(its_shares + row, at_most(at_least((x - start) * inverse, 0.0f), 1.0f));
            }
        }
    }
};

// Increments of a feature, each row `width` long, and their running sums.
SCHUSS_INLINE void add_up(const float* increments, int64_t bins, int64_t width, float* sums) {
    for (int64_t i = 0; i < width; i++) sums[i] = 0;
    for (int64_t i = width; i < bins * width; i++) sums[i] = sums[i - width] + increments[i - width];
}

// Sums from the end take the place of the rows.
SCHUSS_INLINE void add_up_backwards(float* rows, int64_t bins, int64_t width) {
    for (int64_t bin = bins - 2; bin >= 0; bin--)
        for (int64_t i = bin * width; i < (bin + 1) * width; i++) rows[i] += rows[i + width];
}

// The encodings go into the first dense layer as they are.
class Piecewise final : public Operation {
  public:
    Places places;
    int64_t flat_start;  // of the first increment in W
    int64_t start;       // in a padded vector
    float* tables;       // running sums, laid out as the increments
    FirstSums* first;
    bool begins;         // nothing has been added to the biases yet

    int64_t panels() const { return panels_of(first->outputs); }
    int64_t padded() const { return place(places.count) - start; }

    void lay_out_rows(const Memory& memory, int64_t rows) override {
        places.lay_out_rows(memory, rows);
        if (begins) first->lay_out_rows(memory, rows);
    }

    void forward(const Pass& pass) override {
        places.find(pass);
        for (int64_t p = 0; p < panels(); p++) {
            const float* biases = pass.W + first->biases + p * panel_width;
            for (int64_t row = pass.first; row < pass.last; row++) {
                float* const sums = first->sums.at(p, row);
                const float* from = begins ? biases : sums;
                Vector low = load(from), high = load(from + lanes);
                int64_t of_feature = start;
                for (int64_t k = 0; k < places.count; k++) {
                    const int64_t bins = places.knots[k].bins;
                    const int64_t at = of_feature + (p * bins + places.bins[k * places.row_capacity + row]) * panel_width;
                    const Vector share = splat(places.shares[k * places.row_capacity + row]);
                    low += load(tables + at - start) + share * load(pass.W + at);
                    high += load(tables + at - start + lanes) + share * load(pass.W + at + lanes);
                    of_feature += bins * panels() * panel_width;
                }
                store(sums, low);
                store(sums + lanes, high);
            }
        }
    }

    // A tile is a feature's increments in one panel of outputs.
    int64_t tiles() const override { return places.count * panels(); }
    Tile tile(int64_t number) const override {
        const int64_t k = number / panels(), panel = number % panels();
        const int64_t bins = places.knots[k].bins, count = bins * panel_width;
        return {{place(k) + panel * count, count}, {0, 0}, panel, k, 40 * static_cast<double>(bins), 8};
    }

    void gradient(const Tile& tile, int64_t rows, float* its_weights, float*) override {
        const int64_t k = tile.first, bins = places.knots[k].bins;
        const int32_t* its_bins = places.bins + k * places.row_capacity;
        const float* its_shares = places.shares + k * places.row_capacity;
        memset(its_weights, 0, static_cast<size_t>(bins * panel_width) * sizeof(float));
        const float* from = first->derivatives->at(tile.panel, 0);
        for (int64_t row = 0; row < rows; row++, from += panel_width) {
            float* const at = its_weights + its_bins[row] * panel_width;
            const Vector share = splat(its_shares[row]);
            const Vector low = share * load(from), high = share * load(from + lanes);
            store(at, load(at) + low);
            store(at + lanes, load(at + lanes) + high);
            if (its_bins[row] == 0) continue;
            store(at - panel_width, load(at - panel_width) + (load(from) - low));
            store(at - lanes, load(at - lanes) + (load(from + lanes) - high));
        }
        add_up_backwards(its_weights, bins, panel_width);
    }

    void updated(const Tile& tile, const float* W) override {
        const int64_t at = tile.weights.start;
        add_up(W + at, places.knots[tile.first].bins, panel_width, tables + at - start);
    }

    void describe(const Layout& layout) const override {
        int64_t flat = flat_start;
        for (int64_t k = 0; k < places.count; k++)
            for (int64_t bin = 0; bin < places.knots[k].bins; bin++)
                for (int64_t p = 0; p < panels(); p++) {
                    const int64_t left = first->outputs - p * panel_width, count = left < panel_width ? left : panel_width;
                    const int64_t at = place(k) + (p * places.knots[k].bins + bin) * panel_width;
                    layout.piece(layout.context, flat, at, count, 1);
                    flat += count;
                }
    }

  private:
    int64_t place(int64_t feature) const {
        int64_t before = 0;
        for (int64_t k = 0; k < feature; k++) before += places.knots[k].bins;
        return start + before * panels() * panel_width;
    }
};

// Every feature with knots becomes a vector of `width` numbers among the inputs of the first dense layer.
//
// In a padded vector: feature by feature, the increments' vectors without a gap, the last one filled up to whole panels.
class PiecewiseEmbedding final : public Operation {
  public:
    Places places;
    int64_t width;       // d
    int64_t column;      // of the signal, where the first vector lies
    int64_t flat_start;
    int64_t start;       // in a padded vector
    float* tables;       // running sums, laid out as the increments
    Signal* signal;      // of the inputs
    bool alone;          // no other operation writes vectors into it

    int64_t padded() const { return place(places.count) - start; }

    void lay_out_rows(const Memory& memory, int64_t rows) override {
        places.lay_out_rows(memory, rows);
        if (alone) signal->derivatives = new_sheet(memory, signal->columns, rows);
    }

    void forward(const Pass& pass) override {
        places.find(pass);
        for (int64_t k = 0; k < places.count; k++) {
            const float* increments = pass.W + place(k);
            const float* sums = tables + place(k) - start;
            for (int64_t row = pass.first; row < pass.last; row++) {
                const int64_t from = places.bins[k * places.row_capacity + row] * width;
                const float share = places.shares[k * places.row_capacity + row];
                for (int64_t i = 0; i < width; i++)
                    *at(signal->values, column + k * width + i, row) = sums[from + i] + share * increments[from + i];
            }
        }
        if (alone) begin_slopes(*signal, pass);
    }

    // A tile is a feature.
    int64_t tiles() const override { return places.count; }
    Tile tile(int64_t number) const override {
        const int64_t from = place(number), count = place(number + 1) - from;
        return {{from, count}, {0, 0}, 0, number, 2 * static_cast<double>(count), static_cast<double>(2 * width)};
    }

    void gradient(const Tile& tile, int64_t rows, float* its_vectors, float*) override {
        const int64_t k = tile.first, bins = places.knots[k].bins;
        memset(its_vectors, 0, static_cast<size_t>(tile.weights.count) * sizeof(float));
        for (int64_t row = 0; row < rows; row++) {
            const int64_t bin = places.bins[k * places.row_capacity + row];
            const float share = places.shares[k * places.row_capacity + row];
            for (int64_t i = 0; i < width; i++) {
                const float derivative = *at(signal->derivatives, column + k * width + i, row), here = share * derivative;
                its_vectors[bin * width + i] += here;
                if (bin) its_vectors[(bin - 1) * width + i] += derivative - here;
            }
        }
        add_up_backwards(its_vectors, bins, width);
    }

    void updated(const Tile& tile, const float* W) override {
        const int64_t at = tile.weights.start;
        add_up(W + at, places.knots[tile.first].bins, width, tables + at - start);
    }

    void describe(const Layout& layout) const override {
        int64_t flat = flat_start;
        for (int64_t k = 0; k < places.count; k++) {
            layout.piece(layout.context, flat, place(k), places.knots[k].bins * width, 1);
            flat += places.knots[k].bins * width;
        }
    }

  private:
    int64_t place(int64_t feature) const {
        int64_t panels = 0;
        for (int64_t k = 0; k < feature; k++) panels += panels_of(places.knots[k].bins * width);
        return start + panels * panel_width;
    }
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
