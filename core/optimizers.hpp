// Optimisers: each is a rule for the step of one number w of W, given its gradient g and what the rule remembers.
//
// Number is what w and g come in. Plain descent takes float64, so that W − α g is rounded once.
// A new one is a struct here and a line in the table at the end.
#pragma once

#include <string.h>

#include "program.hpp"
#include "vectors.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// The constants of a rule, in the order in which it names them.
struct Constants {
    double values[4];
};

// xᵗ for 0 ≤ x < 1 and t ≥ 0. Below e⁻⁶⁴ it is as good as 0 to those who take it from 1.
SCHUSS_INLINE double power(double x, int64_t t) {
    if (static_cast<double>(t) * (1 - x) > 64) return 0;
    double result = 1;
    for (; t > 0; t >>= 1, x *= x) result *= t & 1 ? x : 1.0;
    return result;
}

struct GradientDescent {
    using Number = double;
    static constexpr int memory = 0;
    static constexpr bool stays_at_0 = true;
    static constexpr const char* names[] = {nullptr};
    double rate;
    GradientDescent(const Constants&, double learning_rate, int64_t) : rate(learning_rate) {}
    SCHUSS_INLINE void step(double& w, double g) const { w -= rate * g; }
};

struct Momentum {
    using Number = float;
    static constexpr int memory = 1;
    static constexpr bool stays_at_0 = false;
    static constexpr const char* names[] = {"momentum", nullptr};
    float rate;
    float momentum;
    Momentum(const Constants& c, double learning_rate, int64_t)
        : rate(static_cast<float>(learning_rate)), momentum(static_cast<float>(c.values[0])) {}
    SCHUSS_INLINE void step(float& w, float g, float& v) const {
        v = momentum * v + g;
        w -= rate * v;
    }
};

struct Nesterov {
    using Number = float;
    static constexpr int memory = 1;
    static constexpr bool stays_at_0 = false;
    static constexpr const char* names[] = {"momentum", nullptr};
    float rate;
    float momentum;
    Nesterov(const Constants& c, double learning_rate, int64_t)
        : rate(static_cast<float>(learning_rate)), momentum(static_cast<float>(c.values[0])) {}
    SCHUSS_INLINE void step(float& w, float g, float& v) const {
        v = momentum * v + g;
        w -= rate * (g + momentum * v);
    }
};

struct Adagrad {
    using Number = float;
    static constexpr int memory = 1;
    static constexpr bool stays_at_0 = true;
    static constexpr const char* names[] = {"epsilon", nullptr};
    float rate;
    float epsilon;
    Adagrad(const Constants& c, double learning_rate, int64_t)
        : rate(static_cast<float>(learning_rate)), epsilon(static_cast<float>(c.values[0])) {}
    SCHUSS_INLINE void step(float& w, float g, float& s) const {
        s += g * g;
        w -= rate * (g / (__builtin_sqrtf(s) + epsilon));
    }
};

struct RMSprop {
    using Number = float;
    static constexpr int memory = 1;
    static constexpr bool stays_at_0 = false;
    static constexpr const char* names[] = {"decay", "epsilon", nullptr};
    float rate;
    float decay, rest, epsilon;
    RMSprop(const Constants& c, double learning_rate, int64_t)
        : rate(static_cast<float>(learning_rate)),
          decay(static_cast<float>(c.values[0])),
          rest(static_cast<float>(1 - c.values[0])),
          epsilon(static_cast<float>(c.values[1])) {}
    SCHUSS_INLINE void step(float& w, float g, float& s) const {
        s = decay * s + rest * g * g;
        w -= rate * (g / (__builtin_sqrtf(s) + epsilon));
    }
};

struct Adam {
    using Number = float;
    static constexpr int memory = 2;
    static constexpr bool stays_at_0 = false;
    static constexpr const char* names[] = {"beta1", "beta2", "epsilon", nullptr};
    float rate;  // α / (1 − β₁ᵗ)
    float beta1, rest1, beta2, rest2, epsilon;
    float correction;  // 1 / (1 − β₂ᵗ)
    Adam(const Constants& c, double learning_rate, int64_t t)
        : rate(static_cast<float>(learning_rate / (1 - power(c.values[0], t)))),
          beta1(static_cast<float>(c.values[0])),
          rest1(static_cast<float>(1 - c.values[0])),
          beta2(static_cast<float>(c.values[1])),
          rest2(static_cast<float>(1 - c.values[1])),
          epsilon(static_cast<float>(c.values[2])),
          correction(static_cast<float>(1 / (1 - power(c.values[1], t)))) {}
    SCHUSS_INLINE void step(float& w, float g, float& m, float& s) const {
        m = beta1 * m + rest1 * g;
        s = beta2 * s + rest2 * g * g;
        w -= rate * (m / (__builtin_sqrtf(s * correction) + epsilon));
    }
};

// The momentum of step t is μₜ = β₁ (1 − ½ 0.96^(0.004 t)). What is left of the zero start is Π μ over the steps so
// far: a function of t alone, and so small after some sixty factors that no more of them are needed.
struct NAdam {
    using Number = float;
    static constexpr int memory = 2;
    static constexpr bool stays_at_0 = false;
    static constexpr const char* names[] = {"beta1", "beta2", "epsilon", nullptr};
    float rate_of_gradient;  // α (1 − μₜ) / (1 − Π μ)
    float rate_of_momentum;  // α μₜ₊₁ / (1 − μₜ₊₁ Π μ)
    float beta1, rest1, beta2, rest2, epsilon;
    float correction;  // 1 / (1 − β₂ᵗ)
    NAdam(const Constants& c, double learning_rate, int64_t t)
        : beta1(static_cast<float>(c.values[0])),
          rest1(static_cast<float>(1 - c.values[0])),
          beta2(static_cast<float>(c.values[1])),
          rest2(static_cast<float>(1 - c.values[1])),
          epsilon(static_cast<float>(c.values[2])),
          correction(static_cast<float>(1 / (1 - power(c.values[1], t)))) {
        constexpr double warming = 0.9998367253526753;  // 0.96^0.004
        const auto momentum = [&](double warmed) { return c.values[0] * (1 - 0.5 * warmed); };
        const double now = momentum(power(warming, t)), next = momentum(power(warming, t + 1));
        double left = 1, warmed = 1;
        for (int64_t i = 0; i < t && left > 1e-18; i++) left *= momentum(warmed *= warming);
        rate_of_gradient = static_cast<float>(learning_rate * (1 - now) / (1 - left));
        rate_of_momentum = static_cast<float>(learning_rate * next / (1 - next * left));
    }
    SCHUSS_INLINE void step(float& w, float g, float& m, float& s) const {
        m = beta1 * m + rest1 * g;
        s = beta2 * s + rest2 * g * g;
        w -= (rate_of_gradient * g + rate_of_momentum * m) / (__builtin_sqrtf(s * correction) + epsilon);
    }
};

struct Lion {
    using Number = float;
    static constexpr int memory = 1;
    static constexpr bool stays_at_0 = false;
    static constexpr const char* names[] = {"beta1", "beta2", nullptr};
    float rate;
    float beta1, rest1, beta2, rest2;
    Lion(const Constants& c, double learning_rate, int64_t)
        : rate(static_cast<float>(learning_rate)),
          beta1(static_cast<float>(c.values[0])),
          rest1(static_cast<float>(1 - c.values[0])),
          beta2(static_cast<float>(c.values[1])),
          rest2(static_cast<float>(1 - c.values[1])) {}
    SCHUSS_INLINE void step(float& w, float g, float& m) const {
        const float mixed = beta1 * m + rest1 * g;
        const float sign = mixed > 0 ? 1.0f : mixed < 0 ? -1.0f : mixed;  // 0 stays 0 and NaN stays NaN
        w -= rate * sign;
        m = beta2 * m + rest2 * g;
    }
};

// Some numbers of W with all that a step does to them. Weights are penalised and decayed, biases are not.
struct Numbers {
    float* W;
    float* first;  // what the rule remembers: null where it has less
    float* second;
    const float* gradient;  // Σ w_i g_i
    int64_t count;          // a multiple of lanes
};

// What a step does to all of them, besides the rule itself.
struct StepTerms {
    double scale;   // 1 / (B · mean_weight)
    double l1, l2;  // 0 for biases
    double shrink;  // α · weight decay; 0 for biases
    double limit;   // of a component of the cost's gradient, or infinity
    double factor;  // of the gradient, for its norm's sake
};

// x between -limit and limit; NaN passes.
template <class Number>
SCHUSS_INLINE Number clipped(Number x, Number limit) {
    x = limit < x ? limit : x;
    return -limit > x ? -limit : x;
}

// A rule that is ready for a step.
struct ReadyRule {
    alignas(16) unsigned char bytes[48];
};

template <class Rule>
ReadyRule ready(const Constants& constants, double learning_rate, int64_t t) {
    static_assert(sizeof(Rule) <= sizeof(ReadyRule));
    const Rule rule(constants, learning_rate, t);
    ReadyRule result;
    memcpy(result.bytes, &rule, sizeof rule);
    return result;
}

// The slope of |w|, 0 at 0, times the factor.
template <class Number>
SCHUSS_INLINE Number signed_as(Number w, Number factor) {
    return w > 0 ? factor : w < 0 ? -factor : Number{0};
}

// only_scaled: of the terms there is nothing but the scale. with_l1: l1 is among them.
template <class Rule, bool only_scaled, bool with_l1>
void update(const ReadyRule& bytes, const Numbers& numbers, const StepTerms& terms) {
    using Number = typename Rule::Number;
    const Rule rule = *reinterpret_cast<const Rule*>(bytes.bytes);
    float* __restrict W = numbers.W;
    float* __restrict first = numbers.first;
    float* __restrict second = numbers.second;
    const float* __restrict gradient = numbers.gradient;
    const Number scale = static_cast<Number>(terms.scale), l2 = static_cast<Number>(terms.l2);
    const Number l1 = static_cast<Number>(terms.l1);
    const Number keep = static_cast<Number>(1 - terms.shrink), limit = static_cast<Number>(terms.limit);
    const Number factor = static_cast<Number>(terms.factor);
    // Else each vector waits for its own; the rest of a long stretch is foreseen by the processor.
    for (int64_t start = 0; start < numbers.count && start < 16 * lanes; start += lanes) {
        __builtin_prefetch(W + start);
        if (Rule::memory > 0) __builtin_prefetch(first + start);
        if (Rule::memory > 1) __builtin_prefetch(second + start);
    }
    for (int64_t start = 0; start < numbers.count; start += lanes)
#pragma GCC ivdep  // __restrict is forgotten once there are references
        for (int64_t i = start; i < start + lanes; i++) {
            Number w = W[i];
            Number g = scale * gradient[i];
            if constexpr (with_l1) g += signed_as(w, l1);
            if constexpr (!only_scaled) {
                g = factor * clipped<Number>(g + l2 * w, limit);
                w *= keep;
            }
            float one = Rule::memory > 0 ? first[i] : 0, two = Rule::memory > 1 ? second[i] : 0;
            if constexpr (Rule::memory == 0) rule.step(w, g);
            if constexpr (Rule::memory == 1) rule.step(w, g, one);
            if constexpr (Rule::memory == 2) rule.step(w, g, one, two);
            W[i] = static_cast<float>(w);
            if (Rule::memory > 0) first[i] = one;
            if (Rule::memory > 1) second[i] = two;
        }
}

template <class Rule>
void update(const ReadyRule& rule, const Numbers& numbers, const StepTerms& terms) {
    const bool only_scaled =
        terms.l1 == 0 && terms.l2 == 0 && terms.shrink == 0 && terms.limit == __builtin_inf() && terms.factor == 1;
    if (only_scaled)
        update<Rule, true, false>(rule, numbers, terms);
    else if (terms.l1 == 0)
        update<Rule, false, false>(rule, numbers, terms);
    else
        update<Rule, false, true>(rule, numbers, terms);
}

struct Optimizer {
    const char* name;
    int memory;                // M
    bool stays_at_0;           // a gradient of 0 changes nothing, so that it need not be looked at
    const char* const* names;  // of its constants, ended by null
    ReadyRule (*ready)(const Constants&, double learning_rate, int64_t t);
    void (*update)(const ReadyRule&, const Numbers&, const StepTerms&);
};

template <class Rule>
constexpr Optimizer optimizer(const char* name) {
    return {name, Rule::memory, Rule::stays_at_0, Rule::names, ready<Rule>, update<Rule>};
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
    optimizer<NAdam>("nadam"),
    optimizer<Lion>("lion"),
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
