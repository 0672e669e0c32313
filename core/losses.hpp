// Losses: the loss of each row and its derivative side by side. A vector holds as many rows, so that every row is
// summed over its outputs in the same order, whatever its neighbours are.
//
// A new one is a struct here and a line in the table at the end.
#pragma once

#include "vectors.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// A few rows (one to a lane): output k of them, target k of them.
struct Scores {
    const float* outputs;  // [K] vectors, `stride` floats from one to the next
    const float* targets;  // [T] vectors, likewise
    int64_t count;         // K
    int64_t stride;

    SCHUSS_INLINE Vector output(int64_t k) const { return load(outputs + k * stride); }
    SCHUSS_INLINE Vector target(int64_t k) const { return load(targets + k * stride); }
};

// L = Σ_k (actual_k − output_k)²
struct SquaredError {
    static SCHUSS_INLINE Vector value(const Scores& rows) {
        Vector sum = splat(0.0f);
        for (int64_t k = 0; k < rows.count; k++) {
            const Vector difference = rows.output(k) - rows.target(k);
            sum += difference * difference;
        }
        return sum;
    }
    static SCHUSS_INLINE void derivative(const Scores& rows, float* result) {
        for (int64_t k = 0; k < rows.count; k++)
            store(result + k * rows.stride, 2.0f * (rows.output(k) - rows.target(k)));
    }
};

// L = Σ_k log(1 + exp(output_k)) − target_k · output_k, targets 0 or 1
struct LogLoss {
    static SCHUSS_INLINE Vector value(const Scores& rows) {
        Vector sum = splat(0.0f);
        for (int64_t k = 0; k < rows.count; k++) {
            const Vector z = rows.output(k);
            sum += (at_least(z, 0.0f) - rows.target(k) * z) + log_of_1_plus(exp(-absolute(z)));
        }
        return sum;
    }
    static SCHUSS_INLINE void derivative(const Scores& rows, float* result) {
        for (int64_t k = 0; k < rows.count; k++)
            store(result + k * rows.stride, logistic(rows.output(k)).value - rows.target(k));
    }
};

// L = −log softmax(outputs)[target], the target is a class number
struct CrossEntropy {
    static SCHUSS_INLINE Vector greatest(const Scores& rows) {
        Vector result = rows.output(0);
        for (int64_t k = 1; k < rows.count; k++) result = select(rows.output(k) > result, rows.output(k), result);
        return result;
    }

    // (greatest − output of the target) + log(1 + Σ of the others' exp(output − greatest))
    static SCHUSS_INLINE Vector value(const Scores& rows) {
        const Vector top = greatest(rows), target = rows.target(0);
        Vector others = splat(0.0f), distance = splat(0.0f);
        Mask met = {};  // on once the greatest itself was passed: it is the 1 inside the logarithm
        for (int64_t k = 0; k < rows.count; k++) {
            const Vector below = rows.output(k) - top;
            const Mask is_top = (below == 0.0f) & ~met;
            met |= is_top;
            others += select(is_top, splat(0.0f), exp(below));
            distance -= select(target == static_cast<float>(k), below, splat(0.0f));
        }
        return distance + log_of_1_plus(others);
    }

    static SCHUSS_INLINE void derivative(const Scores& rows, float* result) {
        const Vector top = greatest(rows), target = rows.target(0);
        Vector sum = splat(0.0f);
        for (int64_t k = 0; k < rows.count; k++) {
            const Vector power = exp(rows.output(k) - top);
            sum += power;
            store(result + k * rows.stride, power);
        }
        for (int64_t k = 0; k < rows.count; k++) {
            const Vector probability = load(result + k * rows.stride) / sum;
            const Vector one = select(target == static_cast<float>(k), splat(1.0f), splat(0.0f));
            store(result + k * rows.stride, probability - one);
        }
    }
};

// L = Σ_k target_k · output_k, so that the targets are the derivatives: of a loss that is known outside.
struct Linear {
    static SCHUSS_INLINE Vector value(const Scores& rows) {
        Vector sum = splat(0.0f);
        for (int64_t k = 0; k < rows.count; k++) sum += rows.target(k) * rows.output(k);
        return sum;
    }
    static SCHUSS_INLINE void derivative(const Scores& rows, float* result) {
        for (int64_t k = 0; k < rows.count; k++) store(result + k * rows.stride, rows.target(k));
    }
};

// outputs [K, stride], targets [T, stride], rows along the second axis -> losses [rows]
template <class Function>
void values_of_rows(
    const float* outputs, const float* targets, int64_t K, int64_t stride, int64_t rows, float* losses
) {
    for (int64_t r = 0; r < rows; r += lanes)
        store(losses + r, Function::value(Scores{outputs + r, targets + r, K, stride}));
}

// likewise -> derivatives [K, stride]
template <class Function>
void derivatives_of_rows(
    const float* outputs, const float* targets, int64_t K, int64_t stride, int64_t rows, float* derivatives
) {
    for (int64_t r = 0; r < rows; r += lanes)
        Function::derivative(Scores{outputs + r, targets + r, K, stride}, derivatives + r);
}

struct Loss {
    const char* name;
    void (*values)(const float*, const float*, int64_t K, int64_t stride, int64_t rows, float* losses);
    void (*derivatives)(const float*, const float*, int64_t K, int64_t stride, int64_t rows, float* derivatives);
};

template <class Function>
constexpr Loss loss(const char* name) {
    return {name, values_of_rows<Function>, derivatives_of_rows<Function>};
}

constexpr Loss losses[] = {
    loss<SquaredError>("squared_error"),
    loss<LogLoss>("log_loss"),
    loss<CrossEntropy>("cross_entropy"),
    loss<Linear>("linear"),
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
