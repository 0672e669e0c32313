// How rows and weights lie in memory, so that nothing is packed inside a step.
//
// A panel holds panel_width columns of a matrix, row after row: each row of it is two vectors. A matrix [m, n] is
// ⌈n / panel_width⌉ panels; the last one is filled up with columns that nobody looks at. W lies in panels too.
#pragma once

#include "build.hpp"
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
    SCHUSS_INLINE Vector vector(int64_t panel, int64_t row, int n) const { return load(at(panel, row) + n * lanes); }
};

// One number of a sheet.
SCHUSS_INLINE float* at(const Sheet& sheet, int64_t column, int64_t row) {
    return sheet.at(column / panel_width, row) + column % panel_width;
}

Sheet new_sheet(const Memory& memory, int64_t columns, int64_t rows, bool with_data = true) {
    float* data = with_data ? memory.take<float>(panels_of(columns) * rows * panel_width) : nullptr;
    return {data, panel_width, rows * panel_width};
}

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

// `rows` ≤ 8 rows of so many columns, written as columns: column c goes to `to` + c · panel_width.
template <int64_t columns>
SCHUSS_INLINE void transpose_tile(const float* from, int64_t rows, float* to) {
    for (int64_t c = 0; c < columns; c += 8) {
        Eight part[8];
#pragma GCC unroll 8
        for (int m = 0; m < 8; m++)
            part[m] = m < rows ? *reinterpret_cast<const Eight*>(from + m * columns + c) : Eight{};
        transpose(part);
#pragma GCC unroll 8
        for (int m = 0; m < 8; m++) *reinterpret_cast<Eight*>(to + (c + m) * panel_width) = part[m];
    }
}

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
