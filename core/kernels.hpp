// How rows lie in memory, and matrix products on them, register-blocked and written once for every vector width.
//
// A panel holds panel_width columns of a matrix, row after row: each row of it is two vectors. A matrix [m, n] is
// ⌈n / panel_width⌉ panels; the last one is filled up with columns that nobody looks at. W lies in panels too, so that
// nothing is packed inside a step.
#pragma once

#include "vectors.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

constexpr int64_t panel_width = 2 * lanes;
constexpr int64_t narrow_width = 8;  // of the single panel of a matrix with so few columns
constexpr int64_t tile_inputs = 8;   // rows of W that a tile of weights has

constexpr int64_t panels_of(int64_t columns) { return (columns + panel_width - 1) / panel_width; }

// Vectors of a panel that have columns at all.
constexpr int64_t vectors_of(int64_t columns, int64_t panel) {
    return columns - panel * panel_width > lanes ? 2 : 1;
}

// Rows of a batch, in panels.
struct Sheet {
    float* data;
    int64_t row_step;    // floats from one row to the next: panel_width, or narrow_width
    int64_t panel_step;  // floats from one panel to the next

    SCHUSS_INLINE float* at(int64_t panel, int64_t row) const { return data + panel * panel_step + row * row_step; }
};

// Sums that stay in registers: some rows of `width` vectors of a panel.
template <int rows, int width>
struct Sums {
    Vector at[rows][width];

    // Row m starts with what lies at from + m · row_step.
    SCHUSS_INLINE void start(const float* from, int64_t row_step) {
#pragma GCC unroll 8
        for (int m = 0; m < rows; m++)
#pragma GCC unroll 2
            for (int n = 0; n < width; n++) at[m][n] = load(from + m * row_step + n * lanes);
    }

    // at[m] += Σ_k a[m, k] · b[k], k in order. a: rows of a sheet; b: [inner] rows of a panel.
    template <int64_t row_step>
    SCHUSS_INLINE void add_product(const float* a, int64_t panel_step, const float* b, int64_t inner) {
        for (; inner > 0; inner -= panel_width, a += panel_step) {
            const int64_t count = inner < panel_width ? inner : panel_width;
#pragma GCC unroll 4
            for (int64_t k = 0; k < count; k++, b += panel_width) {
                Vector right[width];
#pragma GCC unroll 2
                for (int n = 0; n < width; n++) right[n] = load(b + n * lanes);
#pragma GCC unroll 8
                for (int m = 0; m < rows; m++) {
                    const Vector left = splat(a[m * row_step + k]);
#pragma GCC unroll 2
                    for (int n = 0; n < width; n++) at[m][n] += left * right[n];
                }
            }
        }
    }

    // at[m] += Σ_r a[r, m] · d[r], r in order; with_biases: biases += Σ_r d[r]. a and d: `count` rows of a panel each.
    template <int64_t row_step, bool with_biases>
    SCHUSS_INLINE void add_transposed_product(const float* a, const float* d, int64_t count, Vector (&biases)[width]) {
#pragma GCC unroll 2
        for (int64_t r = 0; r < count; r++, a += row_step, d += panel_width) {
            Vector right[width];
#pragma GCC unroll 2
            for (int n = 0; n < width; n++) right[n] = load(d + n * lanes);
#pragma GCC unroll 8
            for (int m = 0; m < rows; m++) {
                const Vector left = splat(a[m]);
#pragma GCC unroll 2
                for (int n = 0; n < width; n++) at[m][n] += left * right[n];
            }
            if constexpr (with_biases)
#pragma GCC unroll 2
                for (int n = 0; n < width; n++) biases[n] += right[n];
        }
    }
};

typedef float Eight __attribute__((vector_size(32), may_alias));

// Eight rows of eight floats: row i becomes column i.
SCHUSS_INLINE void transpose(Eight (&row)[8]) {
    Eight pairs[8], fours[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = __builtin_shufflevector(row[i], row[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        pairs[i + 1] = __builtin_shufflevector(row[i], row[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4)
#pragma GCC unroll 2
        for (int j = i; j < i + 2; j++) {
            fours[j] = __builtin_shufflevector(pairs[j], pairs[j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            fours[j + 2] = __builtin_shufflevector(pairs[j], pairs[j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        row[i] = __builtin_shufflevector(fours[i], fours[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        row[i + 4] = __builtin_shufflevector(fours[i], fours[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

// `rows` ≤ 8 rows of a panel, written as columns: column c of the panel goes to `to` + c · panel_width.
SCHUSS_INLINE void transpose_tile(const float* from, int64_t rows, float* to) {
    for (int64_t c = 0; c < panel_width; c += 8) {
        Eight part[8];
#pragma GCC unroll 8
        for (int m = 0; m < 8; m++)
            part[m] = m < rows ? *reinterpret_cast<const Eight*>(from + m * panel_width + c) : Eight{};
        transpose(part);
#pragma GCC unroll 8
        for (int m = 0; m < 8; m++) *reinterpret_cast<Eight*>(to + (c + m) * panel_width) = part[m];
    }
}

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
