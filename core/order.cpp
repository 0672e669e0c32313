#include "order.hpp"

#include <algorithm>
#include <bit>

#include "dispatch.hpp"
#include "random.hpp"

namespace schuss {
namespace {

constexpr int least_bits = 8;  // fewer numbers have no good bijections

Bijection bijection(uint64_t seed, uint64_t epoch, int64_t count, uint64_t part) {
    const Philox numbers = {seed, epoch};
    Bijection of = {};
    of.bits = std::max<int>(least_bits, std::bit_width(static_cast<uint64_t>(std::max<int64_t>(count, 1) - 1)));
    for (int r = 0; r < Bijection::rounds; r += 2) {
        const Philox::Block block = numbers.block((part * Bijection::rounds + static_cast<uint64_t>(r)) / 2);
        for (int i = 0; i < 2; i++) {
            of.factor[r + i] = (block.number[2 * i] & ~uint64_t{7}) | 5;
            of.addend[r + i] = block.number[2 * i + 1];
        }
    }
    return of;
}

}  // namespace

void write_orders(
    uint64_t seed, uint64_t first_epoch, int64_t epochs, int64_t count, uint64_t part, int64_t* orders
) {
    const Build& build = chosen_build();
    for (int64_t e = 0; e < epochs; e++) {
        const Bijection of = bijection(seed, first_epoch + static_cast<uint64_t>(e), count, part);
        build.images_below(of, 0, int64_t{1} << of.bits, count, orders + e * count, count);
    }
}

}  // namespace schuss
