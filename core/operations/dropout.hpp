// Dropout: in training every unit is set to 0 with probability p, and the others are multiplied by 1 / (1 − p), in
// place: the values, and the stored slopes of the activation before where there are any, so that there is nothing to do
// on the way back.
//
// Whether a unit is kept is a function of (seed, step, layer, row of the batch, unit) alone: a number of Philox4x32-10
// (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3), as network/masks.py describes it.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "operation.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

typedef uint32_t Words __attribute__((vector_size(lanes * 4), may_alias));
typedef uint64_t WideWords __attribute__((vector_size(lanes * 4), may_alias));

// 0, 1, 2, …
SCHUSS_INLINE Words lane_numbers() {
    alignas(64) static const uint32_t numbers[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return *reinterpret_cast<const Words*>(numbers);
}

// High and low halves of x · factor.
struct Halves {
    Words high, low;
};
SCHUSS_INLINE Halves product(Words x, uint32_t factor) {
#if defined(__AVX512F__)
    const __m512i f = _mm512_set1_epi32(static_cast<int>(factor));
    const Words even = (Words)_mm512_maskz_mul_epu32(0xff, (__m512i)x, f);
    const Words odd = (Words)_mm512_maskz_mul_epu32(0xff, (__m512i)((WideWords)x >> 32), f);
    return {__builtin_shufflevector(even, odd, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31),
            __builtin_shufflevector(even, odd, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30)};
#elif defined(__AVX2__)
    const __m256i f = _mm256_set1_epi32(static_cast<int>(factor));
    const Words even = (Words)_mm256_mul_epu32((__m256i)x, f);
    const Words odd = (Words)_mm256_mul_epu32((__m256i)((WideWords)x >> 32), f);
    return {__builtin_shufflevector(even, odd, 1, 9, 3, 11, 5, 13, 7, 15),
            __builtin_shufflevector(even, odd, 0, 8, 2, 10, 4, 12, 6, 14)};
#else
    const WideWords even = ((WideWords)x & 0xffffffff) * factor, odd = ((WideWords)x >> 32) * factor;
    return {(Words)((even >> 32) | (odd & ~WideWords{} << 32)), (Words)((even & 0xffffffff) | (odd << 32))};
#endif
}

// What philox() adds to its words, round by round.
struct RoundKeys {
    uint32_t first[10], second[10];

    explicit RoundKeys(uint64_t key) {
        for (uint32_t round = 0; round < 10; round++) {
            first[round] = static_cast<uint32_t>(key) + round * 0x9E3779B9;
            second[round] = static_cast<uint32_t>(key >> 32) + round * 0xBB67AE85;
        }
    }
};

// Four words for every lane's counter.
SCHUSS_INLINE void philox(Words (&word)[4], const RoundKeys& keys) {
#pragma GCC unroll 10
    for (int round = 0; round < 10; round++) {
        const Halves first = product(word[0], 0xD2511F53), second = product(word[2], 0xCD9E8D57);
        const Words one = word[1], three = word[3];
        word[0] = second.high ^ one ^ keys.first[round];
        word[1] = second.low;
        word[2] = first.high ^ three ^ keys.second[round];
        word[3] = first.low;
    }
}

class Dropout final : public Operation {
  public:
    Signal* signal;
    uint64_t seed;
    uint32_t layer;      // counts the dropout layers of the network
    uint32_t threshold;  // of 65536: a unit is dropped if its number is below

    float scale() const { return 65536.0f / static_cast<float>(65536 - threshold); }

    void forward(const Pass& pass) override {
        if (!pass.training || threshold == 0) return;
        constexpr int64_t group = 32, half = 16;  // units that share counters, and those that share halves of words
        const Sheet values = signal->values, slopes = signal->derivatives;
        const bool with_slopes = signal->keeps_slopes(pass.way_back);
        const RoundKeys keys(seed);
        const Words none = {}, limit = none + threshold;
        const Vector enlarged = splat(scale());
        for (int64_t unit = 0; unit < signal->columns; unit += group)
            for (int64_t row = pass.first; row < pass.last; row += 4)
                for (int64_t lane = 0; lane < half; lane += lanes) {
                    Words word[4] = {
                        lane_numbers() + static_cast<uint32_t>(unit / 2 + lane),
                        none + static_cast<uint32_t>((pass.offset + row) / 4), none + layer,
                        none + static_cast<uint32_t>(pass.step)};
                    philox(word, keys);
#pragma GCC unroll 2
                    for (int64_t h = 0; h < 2; h++) {
                        const int64_t column = unit + h * half + lane;
                        if (column >= signal->columns) break;
                        const int64_t panel = column / panel_width, within = column % panel_width;
                        float* value = values.at(panel, row) + within;
                        float* slope = slopes.at(panel, row) + within;
#pragma GCC unroll 4
                        for (int64_t m = 0; m < 4; m++) {
                            const Words number = h ? word[m] >> 16 : word[m] & 0xffff;
                            const Mask dropped = (Mask)(number < limit);
                            const auto drop = [&](float* place) __attribute__((always_inline)) {
                                store(place, select(dropped, splat(0.0f), load(place) * enlarged));
                            };
                            drop(value + m * panel_width);
                            if (with_slopes) drop(slope + m * panel_width);
                        }
                    }
                }
    }
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
