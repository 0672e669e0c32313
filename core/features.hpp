// Columns of numbers become the rows of a feature matrix: what table/encoding.py defines in NumPy, the same numbers.
#pragma once

#include <cstdint>
#include <vector>

namespace schuss {

// One column of the matrix: u = (x - center) / scale, and 0 where x is missing; with a scale of 0 it is 1 where x is
// missing, and else 0. values: [rows], NaN where one is missing. smooth: u / √(1 + (u/3)²) in its place.
// knots, heights: [count], 0 or more than 1; with them, in its place what is linear between the ascending knots, where
// it has these heights, and constant beyond.
struct Feature {
    const double* values;
    double center, scale;
    bool smooth;
    const double *knots, *heights;
    int64_t count;
};

// Writes the features of the rows numbered in `rows` [count], or of the first `count` rows where it is null, into `to`
// [count, features]. Returns whether all of them are finite.
bool write_features(const std::vector<Feature>& features, const int64_t* rows, int64_t count, float* to);

}  // namespace schuss
