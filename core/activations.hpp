// Activations: value and derivative side by side, each a function of the layer's sum z. NaN comes out as NaN.
//
// A new one is a struct here and a word in the list at the end.
#pragma once

#include "vectors.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

struct Activated {
    Vector value;
    Vector derivative;
};

// How the derivative by an activation's value becomes the derivative by z: with the derivative that was stored on the
// way forward, or, where the value tells it, without. dropped_relu: the value went through dropout.
enum class ChainRule { stored, identity, relu, leaky_relu, dropped_relu };

// Most activations: a block of z is put aside, activated vector by vector, and the derivative is stored.
struct Stored {
    static constexpr bool is_cheap = false;
    static constexpr ChainRule rule = ChainRule::stored;
    static SCHUSS_INLINE Vector chain(Vector derivative, Vector /* value */, Vector stored, float /* scale */) {
        return derivative * stored;
    }
};

struct Identity {
    static constexpr const char* name = "identity";
    static constexpr bool is_cheap = true;  // activated while z is still in registers
    static constexpr ChainRule rule = ChainRule::identity;
    static SCHUSS_INLINE Activated of(Vector z) { return {z, splat(1.0f)}; }
    static SCHUSS_INLINE Vector chain(Vector derivative, Vector, Vector, float) { return derivative; }
};

struct Relu {
    static constexpr const char* name = "relu";
    static constexpr bool is_cheap = true;
    static constexpr ChainRule rule = ChainRule::relu;
    static SCHUSS_INLINE Activated of(Vector z) {
        return {select(z < 0.0f, splat(0.0f), z), select(z > 0.0f, splat(1.0f), 0.0f * z)};
    }
    static SCHUSS_INLINE Vector chain(Vector derivative, Vector value, Vector, float) {
        return select(value <= 0.0f, splat(0.0f), derivative);
    }
};

// What was dropped is 0, and its slope too; what was kept is `scale` times its value, and its slope too.
struct DroppedRelu {
    static constexpr ChainRule rule = ChainRule::dropped_relu;
    static SCHUSS_INLINE Vector chain(Vector derivative, Vector value, Vector, float scale) {
        return select(value <= 0.0f, splat(0.0f), derivative * scale);
    }
};

struct LeakyRelu {
    static constexpr const char* name = "leaky_relu";
    static constexpr bool is_cheap = true;
    static constexpr ChainRule rule = ChainRule::leaky_relu;
    static constexpr float leak = 0.01f;
    static SCHUSS_INLINE Activated of(Vector z) {
        return {select(z < 0.0f, leak * z, z), select(z > 0.0f, splat(1.0f), splat(leak))};
    }
    static SCHUSS_INLINE Vector chain(Vector derivative, Vector value, Vector, float) {
        return select(value <= 0.0f, leak * derivative, derivative);
    }
};

struct Tanh : Stored {
    static constexpr const char* name = "tanh";
    // tanh |z| = (1 − u) / (1 + u) with u = e^−2|z|
    static SCHUSS_INLINE Activated of(Vector z) {
        const auto [u, u_minus_1] = exponentials(-2.0f * absolute(z));
        const Vector share = 1.0f / (u_minus_1 + 2.0f), value = -u_minus_1 * share;
        return {select(z < 0.0f, -value, value), 4.0f * u * share * share};
    }
};

struct Sigmoid : Stored {
    static constexpr const char* name = "sigmoid";
    static SCHUSS_INLINE Activated of(Vector z) {
        const auto [value, derivative] = logistic(z);
        return {value, derivative};
    }
};

// z Φ(z), the exact form: Φ(−|z|) = ½ e^(−z²/2) · scaled_erfc(|z| / √2)
struct Gelu : Stored {
    static constexpr const char* name = "gelu";
    static SCHUSS_INLINE Activated of(Vector z) {
        const Vector bell = exp(-0.5f * z * z);
        const Vector tail = 0.5f * bell * scaled_erfc(absolute(z) * 0.707106781f);
        const Vector share = select(z < 0.0f, tail, 1.0f - tail);
        return {z * share, share + z * bell * 0.398942280f};
    }
};

struct Silu : Stored {
    static constexpr const char* name = "silu";
    static SCHUSS_INLINE Activated of(Vector z) {
        const auto [gate, slope] = logistic(z);
        return {z * gate, gate + z * slope};
    }
};

struct Selu : Stored {
    static constexpr const char* name = "selu";
    static constexpr float scale = 1.05070099f, alpha = 1.67326324f;
    static SCHUSS_INLINE Activated of(Vector z) {
        const auto [power, power_minus_1] = exponentials(at_most(z, 0.0f));
        return {scale * select(z < 0.0f, alpha * power_minus_1, z),
                select(z > 0.0f, splat(scale), scale * alpha * power)};
    }
};

// z tanh(softplus(z)): with e = eᶻ and n = e (e + 2), the gate is n / (n + 2) and 1 − gate² = 4 (n + 1) / (n + 2)².
// Beyond z = 20 the gate rounds to 1.
struct Mish : Stored {
    static constexpr const char* name = "mish";
    static SCHUSS_INLINE Activated of(Vector z) {
        const Vector near = at_most(z, 20.0f), e = exp(near), n = e * (e + 2.0f), share = 1.0f / (n + 2.0f);
        const Vector gate = n * share;
        const Vector slope = 4.0f * (n + 1.0f) * share * share * (e / (e + 1.0f));
        return {z * gate, gate + near * slope};
    }
};

// log(1 + eᶻ) = max(z, 0) + log(1 + e^−|z|)
struct Softplus : Stored {
    static constexpr const char* name = "softplus";
    static SCHUSS_INLINE Activated of(Vector z) {
        return {at_least(z, 0.0f) + log_of_1_plus(exp(-absolute(z))), logistic(z).value};
    }
};

template <class... Functions>
struct List {
    // Calls work(function) for each.
    template <class Work>
    static void for_each(Work work) {
        (work(Functions()), ...);
    }
};

using Activations = List<Identity, Relu, LeakyRelu, Tanh, Sigmoid, Gelu, Silu, Selu, Mish, Softplus>;
using ChainRules = List<Stored, Identity, Relu, LeakyRelu, DroppedRelu>;

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
