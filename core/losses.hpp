// Losses: the loss of each row and its derivative side by side. A vector holds as many rows, so that every row is
// summed over its outputs in the same order, whatever its neighbours are.
//
// A new one is a struct here and a line in the table at the end.
#pragma once

#include "vectors.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// A few rows (one to a lane): output k of them, target k of them. numbers: of the loss, by its own account.
struct Scores {
    const float* outputs;  // [K] vectors, `stride` floats from one to the next
    const float* targets;  // [T] vectors, likewise
    const float* numbers;
    int64_t count;         // K
    int64_t stride;

    SCHUSS_INLINE Vector output(int64_t k) const { return load(outputs + k * stride); }
    SCHUSS_INLINE Vector target(int64_t k) const { return load(targets + k * stride); }
    SCHUSS_INLINE Scores from(int64_t row) const { return {outputs + row, targets + row, numbers, count, stride}; }
};

constexpr int64_t of_each_output = -1;

// L = Σ_k (actual_k − output_k)²
struct SquaredError {
    static constexpr int64_t numbers = 0;
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

// 1 above 0, −1 below it. NaN stays NaN.
SCHUSS_INLINE Vector sign(Vector x) { return select(x > 0.0f, splat(1.0f), select(x < 0.0f, splat(-1.0f), 0.0f * x)); }

// L = Σ_k |actual_k − output_k|
struct AbsoluteError {
    static constexpr int64_t numbers = 0;
    static SCHUSS_INLINE Vector value(const Scores& rows) {
        Vector sum = splat(0.0f);
        for (int64_t k = 0; k < rows.count; k++) sum += absolute(rows.output(k) - rows.target(k));
        return sum;
    }
    static SCHUSS_INLINE void derivative(const Scores& rows, float* result) {
        for (int64_t k = 0; k < rows.count; k++)
            store(result + k * rows.stride, sign(rows.output(k) - rows.target(k)));
    }
};

// L = Σ_k ½ r² where |r| ≤ δ_k, else δ_k (|r| − ½ δ_k); numbers: δ_k
struct Huber {
    static constexpr int64_t numbers = of_each_output;
    static SCHUSS_INLINE Vector value(const Scores& rows) {
        Vector sum = splat(0.0f);
        for (int64_t k = 0; k < rows.count; k++) {
            const Vector size = absolute(rows.output(k) - rows.target(k)), inner = at_most(size, rows.numbers[k]);
            sum += inner * (size - 0.5f * inner);
        }
        return sum;
    }
    static SCHUSS_INLINE void derivative(const Scores& rows, float* result) {
        for (int64_t k = 0; k < rows.count; k++) {
            const float delta = rows.numbers[k];
            store(result + k * rows.stride, at_most(at_least(rows.output(k) - rows.target(k), -delta), delta));
        }
    }
};

SCHUSS_INLINE Vector softplus(Vector z) { return at_least(z, 0.0f) + log_of_1_plus(exp(-absolute(z))); }

// L = Σ_k max(τ_k r_k, (τ_k − 1) r_k) with r_k = actual − quantile k; quantile 0 is output 0, each further one adds
// softplus(output k); numbers: τ_k
struct Quantile {
    static constexpr int64_t numbers = of_each_output;
    static SCHUSS_INLINE Vector value(const Scores& rows) {
        Vector sum = splat(0.0f), quantile = rows.output(0);
        for (int64_t k = 0; k < rows.count; k++) {
            if (k) quantile += softplus(rows.output(k));
            const Vector residual = rows.target(0) - quantile;
            sum += select(residual < 0.0f, (rows.numbers[k] - 1.0f) * residual, rows.numbers[k] * residual);
        }
        return sum;
    }
    static SCHUSS_INLINE void derivative(const Scores& rows, float* result) {
        Vector quantile = rows.output(0), sum = splat(0.0f);
        for (int64_t k = 0; k < rows.count; k++) {
            if (k) quantile += softplus(rows.output(k));
            const Vector above = quantile - rows.target(0);
            const float level = rows.numbers[k];
            store(result + k * rows.stride,
                  select(above > 0.0f, splat(1.0f - level), select(above < 0.0f, splat(-level), 0.0f * above)));
        }
        for (int64_t k = rows.count - 1; k >= 0; k--) {
            sum += load(result + k * rows.stride);
            store(result + k * rows.stride, k ? sum * logistic(rows.output(k)).value : sum);
        }
    }
};

// L = ½ log(2π σ²) + ½ ((actual − μ) / σ)², μ = output 0, σ = 0.001 + softplus(output 1)
struct Gaussian {
    static constexpr int64_t numbers = 0;
    static constexpr float least_spread = 1e-3f, most_spreads = 1e15f, half_log_of_2_pi = 0.918938533f;

    static SCHUSS_INLINE Vector ratio(const Scores& rows, Vector spread) {
        return at_most(at_least((rows.target(0) - rows.output(0)) / spread, -most_spreads), most_spreads);
    }
    static SCHUSS_INLINE Vector value(const Scores& rows) {
        const Vector spread = softplus(rows.output(1)) + least_spread, distance = ratio(rows, spread);
        return half_log_of_2_pi + log(spread) + 0.5f * distance * distance;
    }
    static SCHUSS_INLINE void derivative(const Scores& rows, float* result) {
        const Vector spread = softplus(rows.output(1)) + least_spread, distance = ratio(rows, spread);
        store(result, -distance / spread);
        store(result + rows.stride, (1.0f - distance * distance) / spread * logistic(rows.output(1)).value);
    }
};

// Unit deviance of a variance that is meanᵖ, mean = exp(output), for each target, as losses.py defines it; numbers: p
// from 1 to 2.
struct Deviance {
    static constexpr int64_t numbers = 1;
    static constexpr float most = 60.0f;  // of an exponent

    // With d = output − log(actual), a = 2 − p and b = 1 − p.
    struct Parts {
        float a, b;
        Vector output, actual, scale, distance;  // scale: actualᵃ
    };
    static SCHUSS_INLINE Parts parts(const Scores& rows, int64_t k) {
        const float a = 2.0f - rows.numbers[0], b = 1.0f - rows.numbers[0];
        const Vector actual = rows.target(k), logarithm = log(actual);
        const Vector scale = a == 1.0f ? actual : select(actual <= 0.0f, splat(0.0f), exp(a * logarithm));
        return {a, b, rows.output(k), actual, scale, rows.output(k) - logarithm};
    }
    static SCHUSS_INLINE Vector value(const Scores& rows) {
        Vector sum = splat(0.0f);
        for (int64_t k = 0; k < rows.count; k++) {
            const auto [a, b, output, actual, scale, distance] = parts(rows, k);
            Vector risen = at_least(distance, -most), fallen = at_most(distance, most);
            if (a != 0.0f) {
                const Vector near = scale * exponentials(at_most(a * distance, most)).exp_minus_1;
                const Vector far = exp(at_most(a * output, most)) - scale;  // finite where actual is 0
                risen = select(actual >= 1.0f, near, far) / a;
            }
            if (b != 0.0f) fallen = exponentials(at_most(b * distance, most)).exp_minus_1 / b;
            sum += 2.0f * (risen - scale * fallen);
        }
        return sum;
    }
    static SCHUSS_INLINE void derivative(const Scores& rows, float* result) {
        for (int64_t k = 0; k < rows.count; k++) {
            const auto [a, b, output, actual, scale, distance] = parts(rows, k);
            const Vector near = scale * exp(at_most(a * distance, most)), far = exp(at_most(a * output, most));
            const Vector fallen = scale * exp(at_most(b * distance, most));
            store(result + k * rows.stride, 2.0f * (select(actual >= 1.0f, near, far) - fallen));
        }
    }
};

// L = −Σ_k t_k log p_k + (1 − t_k) log(1 − p_k), p = 1 / (1 + exp(−output)), targets 0 or 1; numbers: ε, with which
// t = target (1 − ε) + ½ ε
struct LogLoss {
    static constexpr int64_t numbers = 1;
    static SCHUSS_INLINE Vector smoothed(const Scores& rows, int64_t k) {
        return rows.target(k) * (1.0f - rows.numbers[0]) + 0.5f * rows.numbers[0];
    }
    static SCHUSS_INLINE Vector value(const Scores& rows) {
        Vector sum = splat(0.0f);
        for (int64_t k = 0; k < rows.count; k++) {
            const Vector z = rows.output(k);
            sum += (at_least(z, 0.0f) - smoothed(rows, k) * z) + log_of_1_plus(exp(-absolute(z)));
        }
        return sum;
    }
    static SCHUSS_INLINE void derivative(const Scores& rows, float* result) {
        for (int64_t k = 0; k < rows.count; k++)
            store(result + k * rows.stride, logistic(rows.output(k)).value - smoothed(rows, k));
    }
};

// Of a few rows, for a softmax of their outputs.
struct Softmax {
    Vector surprise;  // −log p of the target, a class number
    Vector mean;      // of −log p over all classes

    // (greatest − output of the target) + log(1 + Σ of the others' exp(output − greatest))
    static SCHUSS_INLINE Softmax of(const Scores& rows) {
        const Vector top = greatest(rows), target = rows.target(0);
        Vector others = splat(0.0f), distance = splat(0.0f), sum = splat(0.0f);
        Mask met = {};  // on once the greatest itself was passed: it is the 1 inside the logarithm
        for (int64_t k = 0; k < rows.count; k++) {
            const Vector below = rows.output(k) - top;
            const Mask is_top = (below == 0.0f) & ~met;
            met |= is_top;
            others += select(is_top, splat(0.0f), exp(below));
            distance -= select(target == static_cast<float>(k), below, splat(0.0f));
            sum -= below;
        }
        const Vector logarithm = log_of_1_plus(others);
        return {distance + logarithm, sum / static_cast<float>(rows.count) + logarithm};
    }

    static SCHUSS_INLINE Vector greatest(const Scores& rows) {
        Vector result = rows.output(0);
        for (int64_t k = 1; k < rows.count; k++) result = select(rows.output(k) > result, rows.output(k), result);
        return result;
    }

    // slope · (p − share), where the target's share is 1 − smoothing and smoothing is shared by all classes.
    static SCHUSS_INLINE void derivative(const Scores& rows, Vector slope, float smoothing, float* result) {
        const Vector top = greatest(rows), target = rows.target(0);
        Vector sum = splat(0.0f);
        for (int64_t k = 0; k < rows.count; k++) {
            const Vector power = exp(rows.output(k) - top);
            sum += power;
            store(result + k * rows.stride, power);
        }
        const float each = smoothing / static_cast<float>(rows.count);
        for (int64_t k = 0; k < rows.count; k++) {
            const Vector probability = load(result + k * rows.stride) / sum;
            const Vector share = select(target == static_cast<float>(k), splat(1.0f - smoothing + each), splat(each));
            store(result + k * rows.stride, slope * (probability - share));
        }
    }
};

// L = Σ_k target_k · output_k, so that the targets are the derivatives: of a loss that is known outside.
struct Linear {
    static constexpr int64_t numbers = 0;
    static SCHUSS_INLINE Vector value(const Scores& rows) {
        Vector sum = splat(0.0f);
        for (int64_t k = 0; k < rows.count; k++) sum += rows.target(k) * rows.output(k);
        return sum;
    }
    static SCHUSS_INLINE void derivative(const Scores& rows, float* result) {
        for (int64_t k = 0; k < rows.count; k++) store(result + k * rows.stride, rows.target(k));
    }
};

// L = −Σ_k share_k log softmax(outputs)_k, the target is a class number; numbers: ε, which all classes share
struct CrossEntropy {
    static constexpr int64_t numbers = 1;
    static SCHUSS_INLINE Vector value(const Scores& rows) {
        const auto [surprise, mean] = Softmax::of(rows);
        const float smoothing = rows.numbers[0];
        return smoothing == 0.0f ? surprise : (1.0f - smoothing) * surprise + smoothing * mean;
    }
    static SCHUSS_INLINE void derivative(const Scores& rows, float* result) {
        Softmax::derivative(rows, splat(1.0f), rows.numbers[0], result);
    }
};

// L = −(1 − p)ᵞ log p, p = softmax(outputs)[target], the target is a class number; numbers: γ
struct Focal {
    static constexpr int64_t numbers = 1;
    static SCHUSS_INLINE Vector power(Vector missed, float gamma) {
        return select(missed <= 0.0f, splat(gamma == 0.0f ? 1.0f : 0.0f), exp(gamma * log(missed)));
    }
    static SCHUSS_INLINE Vector value(const Scores& rows) {
        const Vector surprise = Softmax::of(rows).surprise;
        return power(-exponentials(-surprise).exp_minus_1, rows.numbers[0]) * surprise;
    }
    // With q = 1 − p: (qᵞ + γ qᵞ⁻¹ p (−log p)) times that of cross-entropy, where −log p / q tends to 1.
    static SCHUSS_INLINE void derivative(const Scores& rows, float* result) {
        const Vector surprise = Softmax::of(rows).surprise;
        const auto [p, p_minus_1] = exponentials(-surprise);
        const Vector missed = -p_minus_1, ratio = select(missed <= 0.0f, splat(1.0f), surprise / missed);
        const float gamma = rows.numbers[0];
        Softmax::derivative(rows, power(missed, gamma) * (1.0f + gamma * p * ratio), 0.0f, result);
    }
};

// Scores of rows along the second axis, outputs [K, stride] and targets [T, stride] -> losses [rows]
template <class Function>
void values_of_rows(const Scores& scores, int64_t rows, float* losses) {
    for (int64_t r = 0; r < rows; r += lanes) store(losses + r, Function::value(scores.from(r)));
}

// likewise -> derivatives [K, stride]
template <class Function>
void derivatives_of_rows(const Scores& scores, int64_t rows, float* derivatives) {
    for (int64_t r = 0; r < rows; r += lanes) Function::derivative(scores.from(r), derivatives + r);
}

struct Loss {
    const char* name;
    int64_t numbers;  // how many, or of_each_output
    void (*values)(const Scores&, int64_t rows, float* losses);
    void (*derivatives)(const Scores&, int64_t rows, float* derivatives);
};

template <class Function>
constexpr Loss loss(const char* name) {
    return {name, Function::numbers, values_of_rows<Function>, derivatives_of_rows<Function>};
}

constexpr Loss losses[] = {
    loss<SquaredError>("squared_error"),
    loss<AbsoluteError>("absolute_error"),
    loss<Huber>("huber"),
    loss<Quantile>("quantile"),
    loss<Gaussian>("gaussian"),
    loss<Deviance>("poisson"),
    loss<Deviance>("gamma"),
    loss<Deviance>("tweedie"),
    loss<LogLoss>("log_loss"),
    loss<CrossEntropy>("cross_entropy"),
    loss<Focal>("focal"),
    loss<Linear>("linear"),
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
