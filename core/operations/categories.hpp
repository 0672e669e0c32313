// Categorical columns: every level owns a row of the first layer's weights, as if the column were one-hot. What would
// be a product with a single 1 is a gather forward and a scatter backward.
#pragma once

#include "dense.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// z [rows, outputs] of the first layer = biases + Σ_c the row of W that belongs to level c. index [rows, C] holds rows
// of the weights, -1 for none.
void forward_categories(const Dense& first, const float* W, const int64_t* index, int64_t columns, int64_t rows) {
    for (int64_t p = 0; p < first.panels(); p++) {
        const float* weights = W + first.weights + p * first.weights_step();
        const Vector biases = load(W + first.biases + p * lanes);
        for (int64_t r = 0; r < rows; r++) {
            Vector sum = biases;
            for (int64_t c = 0; c < columns; c++) {
                const int64_t row = index[r * columns + c];
                if (row >= 0) sum += load(weights + row * lanes);
            }
            store(first.output.panel(p) + r * lanes, sum);
        }
    }
}

// gradient of every level's row += d_z of the rows that have it, in row order.
void backward_categories(const Dense& first, float* gradient, const int64_t* index, int64_t columns, int64_t rows) {
    for (int64_t p = 0; p < first.panels(); p++) {
        float* weights = gradient + first.weights + p * first.weights_step();
        for (int64_t r = 0; r < rows; r++) {
            const Vector d_z = load(first.d_z.panel(p) + r * lanes);
            for (int64_t c = 0; c < columns; c++) {
                const int64_t row = index[r * columns + c];
                if (row >= 0) store(weights + row * lanes, load(weights + row * lanes) + d_z);
            }
        }
    }
}

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
