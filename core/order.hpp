// The order in which an epoch visits its rows: what table/order.py defines in NumPy, the same numbers.
#pragma once

#include <cstdint>

namespace schuss {

// Memory that may be written to.
struct Spare {
    int64_t* numbers;
    int64_t count;
};

// order [count] receives the row numbers, the same ones for any number of threads; `threads` is the most that may work.
// Sorting takes some 2 MiB more for each thread: from `spare`, if there is enough, else from the heap; throws
// std::bad_alloc where they cannot be had.
void permutation(uint64_t seed, uint64_t epoch, int64_t count, int64_t threads, int64_t* order, const Spare& spare);

}  // namespace schuss
