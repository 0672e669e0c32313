// Random numbers without state: Philox4x64-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as
// 1, 2, 3"), the same numbers as numpy.random.Philox(key=(seed, stream)).random_raw() draws from counter 0.
//
// Everything has internal linkage, so that a file that is compiled for several instruction sets may include it.
#pragma once

#include <cstdint>

namespace schuss {
namespace {

struct Philox {
    uint64_t seed, stream;  // the key

    struct Block {
        uint64_t number[4];
    };

    // Numbers 4n … 4n + 3. NumPy counts before it draws, so that their counter is n + 1.
    inline Block block(uint64_t n) const {
        uint64_t counter[4] = {n + 1, 0, 0, 0};
        uint64_t key[2] = {seed, stream};
#pragma GCC unroll 10
        for (int round = 0; round < 10; round++) {
            const unsigned __int128 even = (unsigned __int128)counter[0] * 0xD2E7470EE14C6C93;
            const unsigned __int128 odd = (unsigned __int128)counter[2] * 0xCA5A826395121157;
            counter[0] = (uint64_t)(odd >> 64) ^ counter[1] ^ key[0];
            counter[1] = (uint64_t)odd;
            counter[2] = (uint64_t)(even >> 64) ^ counter[3] ^ key[1];
            counter[3] = (uint64_t)even;
            key[0] += 0x9E3779B97F4A7C15;  // the golden ratio
            key[1] += 0xBB67AE8584CAA73B;  // √3 − 1
        }
        return {{counter[0], counter[1], counter[2], counter[3]}};
    }
};

}  // namespace
}  // namespace schuss
