#include "features.hpp"

#include <algorithm>
#include <cmath>

namespace schuss {

bool write_features(const std::vector<Feature>& features, const int64_t* rows, int64_t count, float* to) {
    constexpr int64_t tile = 64;  // rows, which stay in the first-level cache while their features are written
    const auto width = static_cast<int64_t>(features.size());
    bool finite = true;
    for (int64_t first = 0; first < count; first += tile) {
        const int64_t last = std::min(first + tile, count);
        for (int64_t f = 0; f < width; f++) {
            const auto [values, center, scale] = features[static_cast<size_t>(f)];
            for (int64_t i = first; i < last; i++) {
                const double x = values[rows ? rows[i] : i];
                const bool missing = std::isnan(x);
                const double feature = scale == 0 ? missing : missing ? 0 : (x - center) / scale;
                const auto written = static_cast<float>(feature);
                finite &= std::isfinite(written);
                to[i * width + f] = written;
            }
        }
    }
    return finite;
}

}  // namespace schuss
