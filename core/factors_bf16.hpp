// What products multiply, in bf16: the upper half of a float32, rounded to nearest even. Sums are float32.
//
// Two factors lie side by side in the place of a float, and one instruction adds both of their products to a sum. So a
// product reads pairs of what it sums over: of neighbouring columns, or of neighbouring rows. An odd one out has a
// partner in the padding, which is multiplied by 0: by weights of the padding, or by derivatives of rows beyond the
// batch.
//
// factors_float32.hpp offers the same names.
#pragma once

#include <immintrin.h>

#include "panels.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

constexpr int64_t depth = 2;  // as in factors_float32.hpp, like the other names without a comment

// In each lane: the sum, plus the products of two pairs.
SCHUSS_INLINE Vector multiply_add(Vector left, Vector right, Vector sum) {
    return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)left, (__m512bh)right);
}
// In each lane: the sum, plus both numbers of a pair.
SCHUSS_INLINE Vector add_factors(Vector factors, Vector sum) {
    const Integers ones = Integers{} + 0x3f803f80;
    return multiply_add((Vector)ones, factors, sum);
}

// 32 floats as 16 pairs of neighbours.
SCHUSS_INLINE Vector pack(Vector low, Vector high) { return (Vector)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low); }
SCHUSS_INLINE Vector pack(const float* from) { return pack(load(from), load(from + lanes)); }

typedef uint16_t Shorts __attribute__((vector_size(64), may_alias));
typedef uint16_t HalfVector __attribute__((vector_size(32), may_alias));

// Two rows of 32 numbers, written as 32 pairs.
SCHUSS_INLINE void store_pairs(Vector upper, Vector lower, float* to) {
    const Shorts u = (Shorts)upper, l = (Shorts)lower;
    store(to, (Vector)__builtin_shufflevector(
                  u, l, 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8, 40, 9, 41, 10, 42, 11, 43, 12, 44,
                  13, 45, 14, 46, 15, 47));
    store(to + lanes, (Vector)__builtin_shufflevector(
                          u, l, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55, 24, 56, 25, 57, 26, 58,
                          27, 59, 28, 60, 29, 61, 30, 62, 31, 63));
}

// Four rows of eight numbers as two rows of eight pairs.
SCHUSS_INLINE Vector narrow_pairs(Vector rows) {
    const Shorts r = (Shorts)rows;
    return (Vector)__builtin_shufflevector(
        r, r, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15, 16, 24, 17, 25, 18, 26, 19, 27, 20, 28, 21, 29, 22,
        30, 23, 31);
}

// Copies of a sheet, in pairs.
struct Factors {
    Sheet by_columns;  // [panel][row][16] pairs of neighbouring columns; data is null where they are not wanted
    Sheet by_rows;     // [panel][row / 2][32] pairs of neighbouring rows

    SCHUSS_INLINE Vector vector(int64_t panel, int64_t row, int n) const {
        const auto* const halves = reinterpret_cast<const HalfVector*>(by_columns.at(panel, row));
        return (Vector)(__builtin_convertvector(halves[n], Integers) << 16);
    }

    template <int rows, int width>
    SCHUSS_INLINE void put(const Vector (&at)[rows][width], int64_t panel, int64_t row) const {
        const auto packed = [&](int m) __attribute__((always_inline)) {
            return pack(at[m][0], width == 2 ? at[m][width - 1] : splat(0.0f));
        };
#pragma GCC unroll 4
        for (int m = 0; m < rows; m += 2) put_pair(packed(m), packed(m + 1), panel, row + m);
    }

    void fill(const Sheet& sheet, int64_t columns, int64_t first, int64_t last) const {
        if (sheet.row_step == narrow_width)
            for (int64_t row = first; row < last; row += panel_width / narrow_width) {
                const Vector rows = pack(sheet.at(0, row));
                store(by_columns.at(0, row), rows);
                store(by_rows.at(0, row / 2), narrow_pairs(rows));
            }
        else
            for (int64_t panel = 0; panel < panels_of(columns); panel++)
                for (int64_t row = first; row < last; row += 2)
                    put_pair(pack(sheet.at(panel, row)), pack(sheet.at(panel, row + 1)), panel, row);
    }

    // Two rows of a panel.
    SCHUSS_INLINE void put_pair(Vector upper, Vector lower, int64_t panel, int64_t row) const {
        if (by_columns.data) {
            store(by_columns.at(panel, row), upper);
            store(by_columns.at(panel, row + 1), lower);
        }
        store_pairs(upper, lower, by_rows.at(panel, row / 2));
    }
};

Factors new_factors(const Memory& memory, const Sheet& sheet, int64_t columns, int64_t rows, bool with_columns) {
    const int64_t panels = columns ? panels_of(columns) : 1, floats = panels * rows / 2 * sheet.row_step;
    return {{with_columns ? memory.take<float>(floats) : nullptr, sheet.row_step / 2, sheet.panel_step / 2},
            {memory.take<float>(floats), sheet.row_step, sheet.panel_step / 2}};
}

// A tile of `rows` ≤ tile_inputs rows of weights: pairs of its rows go to `by_rows`, pairs of its columns to
// `by_columns` [tile_inputs, lanes].
SCHUSS_INLINE void pack_tile(const float* tile, int64_t rows, float* by_rows, float* by_columns) {
    const auto packed = [&](int64_t m) __attribute__((always_inline)) {
        return m < rows ? pack(tile + m * panel_width) : splat(0.0f);
    };
    for (int64_t m = 0; m < rows; m += 2) {
        const Vector upper = packed(m), lower = packed(m + 1);
        store(by_columns + m * lanes, upper);
        store(by_columns + (m + 1) * lanes, lower);
        store_pairs(upper, lower, by_rows + m / 2 * panel_width);
    }
}

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
