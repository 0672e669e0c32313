// What products multiply: in this build float32, rows and weights as they lie in memory. factors_bf16.hpp offers the
// same names.
#pragma once

#include "panels.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

constexpr int64_t depth = 1;  // factors in the place of a float, which a product sums over in one step

SCHUSS_INLINE Vector multiply_add(Vector left, Vector right, Vector sum) { return left * right + sum; }
SCHUSS_INLINE Vector add_factors(Vector factors, Vector sum) { return factors + sum; }

// A sheet as products read it.
struct Factors {
    Sheet by_columns;  // for those that sum over columns: with weights
    Sheet by_rows;     // for those that sum over rows: gradients

    // A vector of a row of a panel, in float32.
    SCHUSS_INLINE Vector vector(int64_t panel, int64_t row, int n) const { return by_columns.vector(panel, row, n); }

    // `rows` rows of a panel, from `row` on, that are still in registers.
    template <int rows, int width>
    SCHUSS_INLINE void put(const Vector (&)[rows][width], int64_t /* panel */, int64_t /* row */) const {}

    // Rows [first, last) of the sheet, a multiple of 16 of them.
    void fill(const Sheet&, int64_t /* columns */, int64_t /* first */, int64_t /* last */) const {}
};

// with_columns: by_columns is wanted too.
Factors new_factors(
    const Memory&, const Sheet& sheet, int64_t /* columns */, int64_t /* rows */, bool /* with_columns */
) {
    return {sheet, sheet};
}

// Weights are read where they are.
SCHUSS_INLINE void pack_tile(const float*, int64_t, float*, float*) {}

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
