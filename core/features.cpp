#include "features.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace schuss {

namespace {

constexpr int64_t tile = 64;  // rows, which stay in the first-level cache while their features are written
constexpr double far = 1e6;  // from here on u / √(1 + (u/3)²) is ±3, and u² is still a number in float32

// Linear between the knots, and constant beyond them.
double on_curve(const Feature& feature, double x) {
    const double* knot = feature.knots;
    for (int64_t left = feature.count - 1; left > 1; left -= left / 2) knot += knot[left / 2] <= x ? left / 2 : 0;
    const double* const height = feature.heights + (knot - feature.knots);
    const double share = std::clamp((x - knot[0]) / (knot[1] - knot[0]), 0.0, 1.0);
    return height[0] + (height[1] - height[0]) * share;
}

// to[i] = the feature where its column is x[i], i < count.
void write_numbers(const Feature& feature, const double* x, float* to, int64_t count) {
    if (feature.scale == 0) {
        for (int64_t i = 0; i < count; i++) to[i] = std::isnan(x[i]);
    } else if (feature.count) {
        for (int64_t i = 0; i < count; i++) {
            const double height = std::isinf(x[i]) ? x[i] : on_curve(feature, x[i]);
            to[i] = std::isnan(x[i]) ? 0 : static_cast<float>(height);
        }
    } else {
        const double most = feature.smooth ? far : std::numeric_limits<double>::infinity();
        for (int64_t i = 0; i < count; i++) {
            const double scaled = std::clamp((x[i] - feature.center) / feature.scale, -most, most);
            to[i] = std::isnan(x[i]) ? 0 : static_cast<float>(std::isinf(x[i]) ? x[i] : scaled);
        }
        for (int64_t i = 0; feature.smooth && i < count; i++) to[i] /= std::sqrt(1 + to[i] * to[i] * (1.0F / 9));
    }
}

}  // namespace

bool write_features(const std::vector<Feature>& features, const int64_t* rows, int64_t count, float* to) {
    const auto width = static_cast<int64_t>(features.size());
    bool finite = true;
    double x[tile];
    float numbers[tile];
    for (int64_t first = 0; first < count; first += tile) {
        const int64_t tall = std::min(tile, count - first);
        for (int64_t f = 0; f < width; f++) {
            const Feature& feature = features[static_cast<size_t>(f)];
            for (int64_t i = 0; i < tall; i++) x[i] = feature.values[rows ? rows[first + i] : first + i];
            write_numbers(feature, x, numbers, tall);
            for (int64_t i = 0; i < tall; i++) {
                finite &= std::isfinite(numbers[i]);
                to[(first + i) * width + f] = numbers[i];
            }
        }
    }
    return finite;
}

}  // namespace schuss
