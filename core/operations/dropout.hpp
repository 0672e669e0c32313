// Dropout: in training every unit is set to 0 with probability p, and the others are multiplied by 1 / (1 − p), in
// place: both the values and the stored slopes of the activation before, so that there is nothing to do on the way back.
//
// Whether a unit is kept is a function of (seed, step, layer, row of the batch, unit) alone: a number of Philox4x32-10
// (Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3), as network/layers.py describes it.
#pragma once

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
    const WideWords even = ((WideWords)x & 0xffffffff) * factor, odd = ((WideWords)x >> 32) * factor;
    return {(Words)((even >> 32) | (odd & ~WideWords{} << 32)), (Words)((even & 0xffffffff) | (odd << 32))};
}

// Four words for every lane's counter.
SCHUSS_INLINE void philox(Words (&word)[4], uint32_t key0, uint32_t key1) {
    for (int round = 0; round < 10; round++) {
        const Halves first = product(word[0], 0xD2511F53), second = product(word[2], 0xCD9E8D57);
        const Words one = word[1], three = word[3];
        word[0] = second.high ^ one ^ key0;
        word[1] = second.low;
        word[2] = first.high ^ three ^ key1;
        word[3] = first.low;
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
}

class Dropout final : public Operation {
  public:
    Signal* signal;
    uint64_t seed;
    uint32_t layer;      // counts the dropout layers of the network
    uint32_t threshold;  // of 65536: a unit is dropped if its number is below

    void forward(const Pass& pass) override {
        if (!pass.training || threshold == 0) return;
        const float scale = 65536.0f / static_cast<float>(65536 - threshold);
        const auto drop = [&](float* place, Words number) __attribute__((always_inline)) {
            store(place, select((Mask)(number < threshold), splat(0.0f), load(place) * scale));
        };
        constexpr int64_t group = 32, half = 16;  // units that share counters, and those that share halves of words
        for (int64_t unit = 0; unit < signal->columns; unit += group)
            for (int64_t row = pass.first; row < pass.last; row += 4)
                for (int64_t lane = 0; lane < half; lane += lanes) {
                    const Words none = {};
                    Words word[4] = {
                        lane_numbers() + static_cast<uint32_t>(unit / 2 + lane),
                        none + static_cast<uint32_t>((pass.offset + row) / 4), none + layer,
                        none + static_cast<uint32_t>(pass.step)};
                    philox(word, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
#pragma GCC unroll 4
                    for (int64_t m = 0; m < 4; m++)
#pragma GCC unroll 2
                        for (int64_t h = 0; h < 2; h++) {
                            const int64_t column = unit + h * half + lane;
                            if (column >= signal->columns) continue;
                            const Words number = h ? word[m] >> 16 : word[m] & 0xffff;
                            const int64_t panel = column / panel_width, within = column % panel_width;
                            drop(signal->values.at(panel, row + m) + within, number);
                            if (pass.way_back) drop(signal->derivatives.at(panel, row + m) + within, number);
                        }
                }
    }
};

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
