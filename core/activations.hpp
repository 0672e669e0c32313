// Activations: value and derivative side by side, each a function of the layer's sum z. NaN comes out as NaN.
//
// A new one is a struct here and a line in the table at the end.
#pragma once

#include "vectors.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

struct Activated {
    Vector value;
    Vector derivative;
};

struct Identity {
    static SCHUSS_INLINE Activated of(Vector z) { return {z, splat(1.0f)}; }
};

struct Relu {
    static SCHUSS_INLINE Activated of(Vector z) {
        return {select(z < 0.0f, splat(0.0f), z), select(z > 0.0f, splat(1.0f), 0.0f * z)};
    }
};

struct LeakyRelu {
    static constexpr float leak = 0.01f;
    static SCHUSS_INLINE Activated of(Vector z) {
        return {select(z < 0.0f, leak * z, z), select(z > 0.0f, splat(1.0f), splat(leak))};
    }
};

struct Tanh {
    // tanh |z| = (1 − u) / (1 + u) with u = e^−2|z|
    static SCHUSS_INLINE Activated of(Vector z) {
        const auto [u, u_minus_1] = exponentials(-2.0f * absolute(z));
        const Vector share = 1.0f / (u_minus_1 + 2.0f), value = -u_minus_1 * share;
        return {select(z < 0.0f, -value, value), 4.0f * u * share * share};
    }
};

struct Sigmoid {
    static SCHUSS_INLINE Activated of(Vector z) {
        const auto [value, derivative] = logistic(z);
        return {value, derivative};
    }
};

// z Φ(z), the exact form: Φ(−|z|) = ½ e^(−z²/2) · scaled_erfc(|z| / √2)
struct Gelu {
    static SCHUSS_INLINE Activated of(Vector z) {
        const Vector bell = exp(-0.5f * z * z);
        const Vector tail = 0.5f * bell * scaled_erfc(absolute(z) * 0.707106781f);
        const Vector share = select(z < 0.0f, tail, 1.0f - tail);
        return {z * share, share + z * bell * 0.398942280f};
    }
};

struct Silu {
    static SCHUSS_INLINE Activated of(Vector z) {
        const auto [gate, slope] = logistic(z);
        return {z * gate, gate + z * slope};
    }
};

struct Selu {
    static constexpr float scale = 1.05070099f, alpha = 1.67326324f;
    static SCHUSS_INLINE Activated of(Vector z) {
        const auto [power, power_minus_1] = exponentials(at_most(z, 0.0f));
        return {scale * select(z < 0.0f, alpha * power_minus_1, z),
                select(z > 0.0f, splat(scale), scale * alpha * power)};
    }
};

// z tanh(softplus(z)): with e = eᶻ and n = e (e + 2), the gate is n / (n + 2) and 1 − gate² = 4 (n + 1) / (n + 2)².
// Beyond z = 20 the gate rounds to 1.
struct Mish {
    static SCHUSS_INLINE Activated of(Vector z) {
        const Vector e = exp(at_most(z, 20.0f)), n = e * (e + 2.0f), share = 1.0f / (n + 2.0f);
        const Vector gate = n * share;
        const Vector slope = 4.0f * (n + 1.0f) * share * share * (e / (e + 1.0f));
        return {z * gate, gate + z * slope};
    }
};

// log(1 + eᶻ) = max(z, 0) + log(1 + e^−|z|)
struct Softplus {
    static SCHUSS_INLINE Activated of(Vector z) {
        return {at_least(z, 0.0f) + log_of_1_plus(exp(-absolute(z))), logistic(z).value};
    }
};

// z becomes the value, in place.
template <class Function>
void activate(float* z, int64_t count) {
    for (int64_t i = 0; i < count; i += lanes) store(z + i, Function::of(load(z + i)).value);
}

// z becomes the value, and the derivative is written beside it.
template <class Function>
void activate_and_derive(float* z, float* derivative, int64_t count) {
    for (int64_t i = 0; i < count; i += lanes) {
        const Activated result = Function::of(load(z + i));
        store(z + i, result.value);
        store(derivative + i, result.derivative);
    }
}

struct Activation {
    const char* name;
    void (*forward)(float* z, int64_t count);
    void (*forward_and_derivative)(float* z, float* derivative, int64_t count);
};

template <class Function>
constexpr Activation activation(const char* name) {
    return {name, activate<Function>, activate_and_derive<Function>};
}

constexpr Activation activations[] = {
    activation<Identity>("identity"), activation<Relu>("relu"),       activation<LeakyRelu>("leaky_relu"),
    activation<Tanh>("tanh"),         activation<Sigmoid>("sigmoid"), activation<Gelu>("gelu"),
    activation<Silu>("silu"),         activation<Selu>("selu"),       activation<Mish>("mish"),
    activation<Softplus>("softplus"),
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
