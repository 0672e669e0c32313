// One vector of floats, as wide as the instruction set has it, and the functions that libm has for single numbers.
//
// Included by step.cpp only, once for each instruction set, inside a namespace of its own: everything has internal
// linkage, so that the linker cannot give one processor the code of another.
#pragma once

#include <cstdint>

namespace schuss::SCHUSS_BUILD {
namespace {

#if defined(__AVX512F__)
constexpr int64_t lanes = 16;      // floats in a vector
constexpr int64_t block_rows = 8;  // rows that a product keeps in registers
#elif defined(__AVX2__)
constexpr int64_t lanes = 8;
constexpr int64_t block_rows = 4;
#else
constexpr int64_t lanes = 4;
constexpr int64_t block_rows = 4;
#endif

typedef float Vector __attribute__((vector_size(lanes * 4), may_alias));
typedef int32_t Integers __attribute__((vector_size(lanes * 4), may_alias));
typedef Integers Mask;  // all bits of a lane on, or none

#define SCHUSS_INLINE inline __attribute__((always_inline))

SCHUSS_INLINE Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
SCHUSS_INLINE void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }
SCHUSS_INLINE Vector splat(float value) { return value - Vector{}; }  // x − 0 is x, also for −0: no arithmetic is left

// Where the mask is on, yes; elsewhere no.
SCHUSS_INLINE Vector select(Mask mask, Vector yes, Vector no) { return mask ? yes : no; }

// Comparisons with NaN are off, so `x < limit ? limit : x` lets a NaN through, which minimum and maximum must.
SCHUSS_INLINE Vector at_least(Vector x, float limit) { return select(x < limit, splat(limit), x); }
SCHUSS_INLINE Vector at_most(Vector x, float limit) { return select(x > limit, splat(limit), x); }
SCHUSS_INLINE Vector absolute(Vector x) { return (Vector)((Integers)x & 0x7fffffff); }

// Lane i of the result is the sum over all lanes of v[i]: neighbouring pairs of vectors are merged, half by half.
SCHUSS_INLINE Vector sum_of_each(Vector (&v)[lanes]) {
#define SCHUSS_MERGE(count, low, high)                                       \
    _Pragma("GCC unroll 8") for (int i = 0; i < count; i++) v[i] =           \
        __builtin_shufflevector(v[2 * i], v[2 * i + 1], SCHUSS_UNPACK low) + \
        __builtin_shufflevector(v[2 * i], v[2 * i + 1], SCHUSS_UNPACK high)
#define SCHUSS_UNPACK(...) __VA_ARGS__
#if defined(__AVX512F__)
    SCHUSS_MERGE(8, (0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29),
                 (2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31));
    SCHUSS_MERGE(4, (0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
                 (2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31));
    SCHUSS_MERGE(2, (0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27),
                 (4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31));
    SCHUSS_MERGE(1, (0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27),
                 (4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31));
#elif defined(__AVX2__)
    SCHUSS_MERGE(4, (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15));
    SCHUSS_MERGE(2, (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15));
    SCHUSS_MERGE(1, (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15));
#else
    SCHUSS_MERGE(2, (0, 4, 1, 5), (2, 6, 3, 7));
    SCHUSS_MERGE(1, (0, 1, 4, 5), (2, 3, 6, 7));
#endif
#undef SCHUSS_MERGE
#undef SCHUSS_UNPACK
    return v[0];
}

// The sum over the lanes: half of them to the other half, until one is left.
SCHUSS_INLINE float sum(Vector v) {
#if defined(__AVX512F__)
    v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
#elif defined(__AVX2__)
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
#endif
    return (v[0] + v[2]) + (v[1] + v[3]);
}

// 2^k for whole k from -126 to 127.
SCHUSS_INLINE Vector power_of_two(Integers k) { return (Vector)((k + 127) << 23); }

constexpr float ln2_high = 0.693359375f;  // few bits, so that k · ln2_high is exact
constexpr float ln2_low = -2.12194440e-4f;

struct Exponentials {
    Vector exp;
    Vector exp_minus_1;  // accurate near zero too
};

// eˣ = 2ᵏ eʳ with |r| ≤ ½ ln 2, and eʳ − 1 by a polynomial (minimax, relative error 2.4e-10). 2ᵏ is applied as two
// factors, because k reaches from -150 (the least denormal) to 128.
SCHUSS_INLINE Exponentials exponentials(Vector argument) {
    const Vector x = at_most(at_least(argument, -104.0f), 88.8f);
    const float magic = 12582912.0f;  // 1.5 · 2²³: adding it rounds to a whole number, kept in the low bits
    const Vector shifted = x * 1.44269504f + magic;
    const Vector whole = shifted - magic;
    const Integers k = (Integers)shifted - 0x4b400000;
    const Vector r = (x - whole * ln2_high) - whole * ln2_low;

    Vector q = splat(1.98458874e-4f);
    q = q * r + 1.39407441e-3f;
    q = q * r + 8.33338965e-3f;
    q = q * r + 4.16663587e-2f;
    q = q * r + 0.166666657f;
    q = q * r + 0.5f;
    const Vector p = q * (r * r) + r;  // eʳ − 1

    const Integers half = k >> 1, rest = k - half;
    const Vector first = power_of_two(half), second = power_of_two(rest);
    return {(p * first + first) * second, (p * first + (first - power_of_two(-rest))) * second};
}

SCHUSS_INLINE Vector exp(Vector x) { return exponentials(x).exp; }

// log(2ᵏ (1 + f)) with √½ ≤ 1 + f < √2, where log(1 + f) = 2 artanh(f / (2 + f)).
SCHUSS_INLINE Vector log_of_parts(Integers k, Vector f) {
    const Vector s = f / (f + 2.0f), squared = s * s;
    Vector p = splat(0.235819250f);
    p = p * squared + 0.285373241f;
    p = p * squared + 0.400003344f;
    p = p * squared + 0.666666627f;
    const Vector whole = __builtin_convertvector(k, Vector);
    return whole * ln2_high + (whole * ln2_low + (s * squared * p + s * 2.0f));
}

// log(1 + u) for u ≥ 0.
SCHUSS_INLINE Vector log_of_1_plus(Vector u) {
    const Integers k = ((Integers)(u + 1.0f) - 0x3f3504f3) >> 23;
    return log_of_parts(k, (u - (power_of_two(k) - 1.0f)) * power_of_two(-k));
}

// log x, of less than 1e-37 and more than 1e38 that of these.
SCHUSS_INLINE Vector log(Vector argument) {
    const Vector x = at_most(at_least(argument, 1e-37f), 1e38f);
    const Integers k = ((Integers)x - 0x3f3504f3) >> 23;
    return log_of_parts(k, x * power_of_two(-k) - 1.0f);
}

// 1 / (1 + e⁻ˣ) and its derivative, from e^−|x|, which cannot overflow.
struct Logistic {
    Vector value;
    Vector derivative;
};

SCHUSS_INLINE Logistic logistic(Vector x) {
    const Vector u = exp(-absolute(x)), share = 1.0f / (u + 1.0f);
    return {select(x < 0.0f, u * share, share), u * share * share};
}

// exp(y²) erfc(y) for y ≥ 0 = t (1 + (1 − t) polynomial(1 − t)) with t = 1 / (1 + y/2): our own fit, relative error
// 5e-8 up to y = 10, beyond which exp(−y²) is 0.
SCHUSS_INLINE Vector scaled_erfc(Vector y) {
    const Vector t = 1.0f / (y * 0.5f + 1.0f), u = 1.0f - t;
    Vector p = splat(-5.86180240e-2f);
    p = p * u + 0.186282068f;
    p = p * u - 0.146485940f;
    p = p * u - 2.52294522e-2f;
    p = p * u - 0.117987111f;
    p = p * u + 0.214613423f;
    p = p * u + 0.486264467f;
    p = p * u - 1.25675261f;
    return (p * u + 1.0f) * t;
}

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
