// The orders in which epochs visit their rows: what table/order.py defines in NumPy, the same numbers.
#pragma once

#include <cstdint>

namespace schuss {

// Writes the orders of a part of `epochs` epochs, one after another, into orders [epochs · count].
void write_orders(
    uint64_t seed, uint64_t first_epoch, int64_t epochs, int64_t count, uint64_t part, int64_t* orders);

}  // namespace schuss
