// Optimisers: each is a rule for the step of one number w of W, given its gradient g and what the rule remembers.
//
// w and g come in float64, so that W − α g is rounded once; a rule is free to go on in float32.
// A new one is a struct here and a line in the table at the end.
#pragma once

#include <math.h>

#include "program.hpp"
#include "vectors.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// The constants of a rule, in the order in which it names them.
struct Constants {
    double values[4];
};

struct GradientDescent {
    static constexpr int memory = 0;
    static constexpr const char* names[] = {nullptr};
    double rate;
    GradientDescent(const Constants&, double learning_rate, int64_t) : rate(learning_rate) {}
    SCHUSS_INLINE void step(double& w, double g) const { w -= rate * g; }
};

struct Momentum {
    static constexpr int memory = 1;
    static constexpr const char* names[] = {"momentum", nullptr};
    double rate;
    float momentum;
    Momentum(const Constants& c, double learning_rate, int64_t)
        : rate(learning_rate), momentum(static_cast<float>(c.values[0])) {}
    SCHUSS_INLINE void step(double& w, double g, float& v) const {
        v = momentum * v + static_cast<float>(g);
        w -= rate * v;
    }
};

struct Nesterov {
    static constexpr int memory = 1;
    static constexpr const char* names[] = {"momentum", nullptr};
    double rate;
    float momentum;
    Nesterov(const Constants& c, double learning_rate, int64_t)
        : rate(learning_rate), momentum(static_cast<float>(c.values[0])) {}
    SCHUSS_INLINE void step(double& w, double g, float& v) const {
        v = momentum * v + static_cast<float>(g);
        w -= rate * (static_cast<float>(g) + momentum * v);
    }
};

struct Adagrad {
    static constexpr int memory = 1;
    static constexpr const char* names[] = {"epsilon", nullptr};
    double rate;
    float epsilon;
    Adagrad(const Constants& c, double learning_rate, int64_t)
        : rate(learning_rate), epsilon(static_cast<float>(c.values[0])) {}
    SCHUSS_INLINE void step(double& w, double gradient, float& s) const {
        const float g = static_cast<float>(gradient);
        s += g * g;
        w -= rate * (g / (__builtin_sqrtf(s) + epsilon));
    }
};

struct RMSprop {
    static constexpr int memory = 1;
    static constexpr const char* names[] = {"decay", "epsilon", nullptr};
    double rate;
    float decay, rest, epsilon;
    RMSprop(const Constants& c, double learning_rate, int64_t)
        : rate(learning_rate),
          decay(static_cast<float>(c.values[0])),
          rest(static_cast<float>(1 - c.values[0])),
          epsilon(static_cast<float>(c.values[1])) {}
    SCHUSS_INLINE void step(double& w, double gradient, float& s) const {
        const float g = static_cast<float>(gradient);
        s = decay * s + rest * g * g;
        w -= rate * (g / (__builtin_sqrtf(s) + epsilon));
    }
};

struct Adam {
    static constexpr int memory = 2;
    static constexpr const char* names[] = {"beta1", "beta2", "epsilon", nullptr};
    double rate;  // α / (1 − β₁ᵗ)
    float beta1, rest1, beta2, rest2, epsilon;
    float correction;  // 1 / (1 − β₂ᵗ)
    Adam(const Constants& c, double learning_rate, int64_t t)
        : rate(learning_rate / (1 - ::pow(c.values[0], static_cast<double>(t)))),
          beta1(static_cast<float>(c.values[0])),
          rest1(static_cast<float>(1 - c.values[0])),
          beta2(static_cast<float>(c.values[1])),
          rest2(static_cast<float>(1 - c.values[1])),
          epsilon(static_cast<float>(c.values[2])),
          correction(static_cast<float>(1 / (1 - ::pow(c.values[1], static_cast<double>(t))))) {}
    SCHUSS_INLINE void step(double& w, double gradient, float& m, float& s) const {
        const float g = static_cast<float>(gradient);
        m = beta1 * m + rest1 * g;
        s = beta2 * s + rest2 * g * g;
        w -= rate * (m / (__builtin_sqrtf(s * correction) + epsilon));
    }
};

struct Lion {
    static constexpr int memory = 1;
    static constexpr const char* names[] = {"beta1", "beta2", nullptr};
    double rate;
    float beta1, rest1, beta2, rest2;
    Lion(const Constants& c, double learning_rate, int64_t)
        : rate(learning_rate),
          beta1(static_cast<float>(c.values[0])),
          rest1(static_cast<float>(1 - c.values[0])),
          beta2(static_cast<float>(c.values[1])),
          rest2(static_cast<float>(1 - c.values[1])) {}
    SCHUSS_INLINE void step(double& w, double gradient, float& m) const {
        const float g = static_cast<float>(gradient), mixed = beta1 * m + rest1 * g;
        const float sign = mixed > 0 ? 1.0f : mixed < 0 ? -1.0f : mixed;  // 0 stays 0 and NaN stays NaN
        w -= rate * sign;
        m = beta2 * m + rest2 * g;
    }
};

// A stretch of W with all that a step does to it. Weights are penalised and decayed, biases are not.
struct Stretch {
    float* W;
    float* first;   // what the rule remembers: null where it has less
    float* second;
    const float* gradient;  // Σ w_i g_i
    int64_t count;
    double scale;  // 1 / (B · mean_weight)
    double l2;
    double shrink;  // α · weight decay
};

template <class Rule>
void update(const Stretch& stretch, const Constants& constants, double learning_rate, int64_t t) {
    const Rule rule(constants, learning_rate, t);
    float* __restrict W = stretch.W;
    float* __restrict first = stretch.first;
    float* __restrict second = stretch.second;
    const float* __restrict gradient = stretch.gradient;
    const double scale = stretch.scale, l2 = stretch.l2, shrink = stretch.shrink;
    for (int64_t i = 0; i < stretch.count; i++) {
        double w = W[i];
        const double g = scale * gradient[i] + l2 * w;
        w -= shrink * w;
        if constexpr (Rule::memory == 0) rule.step(w, g);
        if constexpr (Rule::memory == 1) rule.step(w, g, first[i]);
        if constexpr (Rule::memory == 2) rule.step(w, g, first[i], second[i]);
        W[i] = static_cast<float>(w);
    }
}

struct Optimizer {
    const char* name;
    int memory;                // M
    const char* const* names;  // of its constants, ended by null
    void (*update)(const Stretch&, const Constants&, double learning_rate, int64_t t);
};

template <class Rule>
constexpr Optimizer optimizer(const char* name) {
    return {name, Rule::memory, Rule::names, update<Rule>};
}

// AdamW is Adam with a weight decay, which every rule has.
constexpr Optimizer optimizers[] = {
    optimizer<GradientDescent>("gradient_descent"),
    optimizer<Momentum>("momentum"),
    optimizer<Nesterov>("nesterov"),
    optimizer<Adagrad>("adagrad"),
    optimizer<RMSprop>("rmsprop"),
    optimizer<Adam>("adam"),
    optimizer<Adam>("adamw"),
    optimizer<Lion>("lion"),
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
