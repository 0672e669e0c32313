// Matrix products on panels, register-blocked, written once for every vector width.
//
// A panel holds `lanes` columns of a matrix, row after row, so that each row of it is one vector. A matrix [m, n] is
// ⌈n / lanes⌉ panels; the last one is filled up with columns of zeros. Nothing is packed inside a step.
#pragma once

#include "vectors.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

SCHUSS_INLINE constexpr int64_t panels_of(int64_t columns) { return (columns + lanes - 1) / lanes; }

// Sums that stay in registers: block_rows rows of `width` neighbouring panels.
template <int width>
struct Block {
    Vector sum[block_rows][width];

    SCHUSS_INLINE void read(const float* from, int64_t row_step, int64_t panel_step) {
#pragma GCC unroll 8
        for (int m = 0; m < block_rows; m++)
#pragma GCC unroll 2
            for (int n = 0; n < width; n++) sum[m][n] = load(from + m * row_step + n * panel_step);
    }

    // sum[m][n] += Σ_k a[m, k] · b[k] of panel n, k in order; a[m, k] stands at m · row_step + k · k_step.
    template <int64_t row_step, int64_t k_step>
    SCHUSS_INLINE void add_product(const float* a, const float* b, int64_t b_panel_step, int64_t count) {
#pragma GCC unroll 4
        for (int64_t k = 0; k < count; k++) {
            Vector right[width];
#pragma GCC unroll 2
            for (int n = 0; n < width; n++) right[n] = load(b + n * b_panel_step + k * lanes);
#pragma GCC unroll 8
            for (int m = 0; m < block_rows; m++) {
                const float left = a[m * row_step + k * k_step];
#pragma GCC unroll 2
                for (int n = 0; n < width; n++) sum[m][n] += right[n] * left;
            }
        }
    }
};

// Rows of a matrix in panels, and how far its panels stand apart.
struct Panels {
    float* data;
    int64_t step;  // floats from one panel to the next

    SCHUSS_INLINE float* panel(int64_t number) const { return data + number * step; }
};

// result [rows, width panels] = start + a [rows, inner] · b [inner, width panels]. rows is a multiple of block_rows.
// start_row_step 0 starts every row with the same vector.
template <int width>
void product(
    Panels a, int64_t rows, int64_t inner, const float* b, int64_t b_step, const float* start, int64_t start_row_step,
    int64_t start_step, float* result, int64_t result_step
) {
    for (int64_t row = 0; row < rows; row += block_rows) {
        Block<width> block;
        block.read(start + row * start_row_step, start_row_step, start_step);
        for (int64_t k = 0, panel = 0; k < inner; k += lanes, panel++) {
            const int64_t count = inner - k < lanes ? inner - k : lanes;
            block.template add_product<lanes, 1>(a.panel(panel) + row * lanes, b + k * lanes, b_step, count);
        }
#pragma GCC unroll 8
        for (int m = 0; m < block_rows; m++)
#pragma GCC unroll 2
            for (int n = 0; n < width; n++) store(result + (row + m) * lanes + n * result_step, block.sum[m][n]);
    }
}

// result [inner, width panels] += aᵀ [inner, rows] · b [rows, width panels]: rows are added in order, any number.
template <int width>
void transposed_product(
    Panels a, int64_t rows, int64_t inner, const float* b, int64_t b_step, float* result, int64_t result_step
) {
    for (int64_t i = 0; i < inner; i += block_rows) {
        Block<width> block = {};
        block.template add_product<1, lanes>(a.panel(i / lanes) + i % lanes, b, b_step, rows);
        float* target = result + i * lanes;
#pragma GCC unroll 8
        for (int m = 0; m < block_rows; m++)
            if (i + m < inner)
#pragma GCC unroll 2
                for (int n = 0; n < width; n++) {
                    float* to = target + m * lanes + n * result_step;
                    store(to, load(to) + block.sum[m][n]);
                }
    }
}

// Σ over rows of one panel, added to result [lanes].
inline void add_rows(const float* panel, int64_t rows, float* result) {
    Vector sum = splat(0.0f);
    for (int64_t r = 0; r < rows; r++) sum += load(panel + r * lanes);
    store(result, load(result) + sum);
}

// left *= right, element by element.
inline void multiply(float* left, const float* right, int64_t count) {
    for (int64_t i = 0; i < count; i += lanes) store(left + i, load(left + i) * load(right + i));
}

// b [columns, rows] in panels = aᵀ, for a [rows, columns] in panels.
inline void transpose(const float* a, int64_t rows, int64_t columns, float* b) {
    for (int64_t p = 0; p * lanes < columns; p++) {
        const int64_t width = columns - p * lanes < lanes ? columns - p * lanes : lanes;
        const float* from = a + p * rows * lanes;
        for (int64_t r = 0; r < rows; r++) {
            float* to = b + (r / lanes) * columns * lanes + p * lanes * lanes + r % lanes;
            for (int64_t c = 0; c < width; c++) to[c * lanes] = from[r * lanes + c];
        }
    }
}

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
