// Matrix products on panels, register-blocked and written once for every vector width and for float32 and bf16.
#pragma once

#if defined(SCHUSS_BF16)
#include "factors_bf16.hpp"
#else
#include "factors_float32.hpp"
#endif

namespace schuss::SCHUSS_BUILD {
namespace {

constexpr int64_t panel_depth = panel_width / depth;

// Steps of a product that sums over so many numbers.
constexpr int64_t steps_over(int64_t numbers) { return (numbers + depth - 1) / depth; }

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

    // at[m] += Σ_k a[m, k] · b[k], k in order. a: rows of factors by columns; b: [inner] rows of a panel of weights.
    template <int64_t row_step>
    SCHUSS_INLINE void add_product(const float* a, int64_t panel_step, const float* b, int64_t inner) {
        for (; inner > 0; inner -= panel_depth, a += panel_step) {
            const int64_t count = inner < panel_depth ? inner : panel_depth;
#pragma GCC unroll 4
            for (int64_t k = 0; k < count; k++, b += panel_width) {
                Vector right[width];
#pragma GCC unroll 2
                for (int n = 0; n < width; n++) right[n] = load(b + n * lanes);
#pragma GCC unroll 8
                for (int m = 0; m < rows; m++) {
                    const Vector left = splat(a[m * row_step + k]);
#pragma GCC unroll 2
                    for (int n = 0; n < width; n++) at[m][n] = multiply_add(left, right[n], at[m][n]);
                }
            }
        }
    }

    // at[m] += Σ_r a[r, m] · d[r], r in order; with_biases: biases += Σ_r d[r]. a and d: `count` rows of factors by
    // rows, a panel of each.
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
                for (int n = 0; n < width; n++) at[m][n] = multiply_add(left, right[n], at[m][n]);
            }
            if constexpr (with_biases)
#pragma GCC unroll 2
                for (int n = 0; n < width; n++) biases[n] = add_factors(right[n], biases[n]);
        }
    }
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
