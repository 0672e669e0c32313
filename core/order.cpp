// Each row gets a key, a random number whose low bits are the row number, and the keys are sorted. They are evenly
// spread, so that their leading bits deal them to buckets of about the same size:
//
//     how many keys each bucket gets                              slice by slice of the rows
//     keys into their buckets                                     slice by slice
//     sort by two digits, then what these leave by insertion      bucket by bucket, in cache
//
// The numbers are drawn twice rather than kept: touching new memory takes longer. What fits the cache is one bucket and
// is drawn once. Slices and buckets are shared out over threads.

#include "order.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <exception>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "random.hpp"

namespace schuss {
namespace {

// By measurement: a bucket and its copy stay in cache, best of all in a core's own, but more than 512 buckets that are
// written to at once cost more than that gains.
constexpr int most_bucket_bits = 18, good_bucket_bits = 15, good_leading_bits = 9;
constexpr int most_digit_bits = (most_bucket_bits + 4) / 2;

struct Keys {
    Philox numbers;
    int row_bits;      // as many as the largest row number needs
    int leading_bits;  // they say which bucket; 0 where there is one only

    int64_t buckets() const { return int64_t{1} << leading_bits; }
    int64_t bucket(uint64_t key) const { return static_cast<int64_t>(key >> (64 - leading_bits)); }
    uint64_t row_mask() const { return (uint64_t{1} << row_bits) - 1; }

    // Calls use(key) for the rows first … end − 1; first is a multiple of 4.
    template <class Use>
    void draw(int64_t first, int64_t end, const Use& use) const {
        const uint64_t mask = row_mask();
        for (int64_t row = first; row < end; row += 4) {
            const Philox::Block block = numbers.block(static_cast<uint64_t>(row / 4));
            const int64_t count = std::min<int64_t>(4, end - row);
            for (int64_t i = 0; i < count; i++) use((block.number[i] & ~mask) | static_cast<uint64_t>(row + i));
        }
    }
};

// Calls work(0) … work(count − 1), each once, on this thread and up to count − 1 others.
template <class Work>
void share_out(int64_t count, const Work& work) {
    std::atomic<int64_t> next = 0;
    const auto take = [&] {
        for (int64_t i; (i = next++) < count;) work(i);
    };
    std::vector<std::thread> others;
    others.reserve(static_cast<size_t>(count - 1));
    try {
        for (int64_t i = 1; i < count; i++) others.emplace_back(take);
    } catch (const std::exception&) {  // the system gives no more of them: those that there are do it
    }
    take();
    for (std::thread& other : others) other.join();
}

// Writes the keys of `count` rows bucket by bucket; returns where each bucket starts, and where the last one ends.
std::vector<int64_t> deal(const Keys& keys, int64_t count, int64_t threads, uint64_t* dealt) {
    const int64_t buckets = keys.buckets();
    if (buckets == 1) {
        keys.draw(0, count, [&](uint64_t key) { *dealt++ = key; });
        return {0, count};
    }
    std::vector<int64_t> starts(static_cast<size_t>(buckets + 1), count);
    std::vector<int64_t> places(static_cast<size_t>(threads * buckets));  // [threads, buckets]: sizes, then next places
    const int64_t slice = (count / threads + 4) / 4 * 4;
    const auto draw_slice = [&](int64_t t, const auto& use) {
        keys.draw(t * slice, std::min(count, (t + 1) * slice), use);
    };
    share_out(threads, [&](int64_t t) {
        int64_t* const size = &places[static_cast<size_t>(t * buckets)];
        draw_slice(t, [&](uint64_t key) { size[keys.bucket(key)]++; });
    });
    int64_t place = 0;
    for (int64_t b = 0; b < buckets; b++) {
        starts[static_cast<size_t>(b)] = place;
        for (int64_t t = 0; t < threads; t++)
            place += std::exchange(places[static_cast<size_t>(t * buckets + b)], place);
    }
    share_out(threads, [&](int64_t t) {
        int64_t* const next = &places[static_cast<size_t>(t * buckets)];
        draw_slice(t, [&](uint64_t key) { dealt[next[keys.bucket(key)]++] = key; });
    });
    return starts;
}

// Sorts keys [count] that agree from bit `top` on: by two digits of `digit_bits` below it, the lower one first, then
// by insertion, since a few neighbours agree in both digits. scratch [count].
void sort(uint64_t* keys, int64_t count, int top, int digit_bits, uint64_t* scratch) {
    const int high = top - digit_bits, low = high - digit_bits;
    const uint64_t digit = (uint64_t{1} << digit_bits) - 1;
    uint32_t low_place[1 << most_digit_bits], high_place[1 << most_digit_bits];  // sizes, then next places
    std::fill_n(low_place, digit + 1, 0);
    std::fill_n(high_place, digit + 1, 0);
    for (int64_t i = 0; i < count; i++) {
        low_place[keys[i] >> low & digit]++;
        high_place[keys[i] >> high & digit]++;
    }
    uint32_t low_start = 0, high_start = 0;
    for (uint64_t i = 0; i <= digit; i++) {
        low_start += std::exchange(low_place[i], low_start);
        high_start += std::exchange(high_place[i], high_start);
    }
    for (int64_t i = 0; i < count; i++) scratch[low_place[keys[i] >> low & digit]++] = keys[i];
    for (int64_t i = 0; i < count; i++) keys[high_place[scratch[i] >> high & digit]++] = scratch[i];

    for (int64_t i = 1; i < count; i++) {
        const uint64_t key = keys[i];
        if (keys[i - 1] < key) [[likely]]
            continue;
        int64_t place = i;
        for (; place > 0 && keys[place - 1] > key; place--) keys[place] = keys[place - 1];
        keys[place] = key;
    }
}

}  // namespace

void permutation(uint64_t seed, uint64_t epoch, int64_t count, int64_t threads, int64_t* order, const Spare& spare) {
    const int row_bits = std::bit_width(static_cast<uint64_t>(std::max<int64_t>(count - 1, 1)));
    const int leading_bits =
        row_bits <= most_bucket_bits
            ? 0
            : std::max(row_bits - most_bucket_bits, std::min(row_bits - good_bucket_bits, good_leading_bits));
    const int digit_bits = std::min((row_bits - leading_bits + 5) / 2, most_digit_bits);
    const Keys keys = {{seed, epoch}, row_bits, leading_bits};
    const int64_t buckets = keys.buckets();
    threads = std::clamp<int64_t>(threads, 1, buckets);

    uint64_t* const dealt = reinterpret_cast<uint64_t*>(order);
    const std::vector<int64_t> starts = deal(keys, count, threads, dealt);
    int64_t largest = 0;
    for (size_t b = 1; b < starts.size(); b++) largest = std::max(largest, starts[b] - starts[b - 1]);
    std::unique_ptr<uint64_t[]> own;
    uint64_t* scratch = reinterpret_cast<uint64_t*>(spare.numbers);
    if (spare.count < threads * largest) {
        own.reset(new uint64_t[static_cast<size_t>(threads * largest)]);
        scratch = own.get();
    }

    std::atomic<int64_t> next = 0;
    share_out(threads, [&](int64_t t) {
        const uint64_t mask = keys.row_mask();
        for (int64_t b; (b = next++) < buckets;) {
            const int64_t start = starts[static_cast<size_t>(b)], end = starts[static_cast<size_t>(b + 1)];
            sort(dealt + start, end - start, 64 - leading_bits, digit_bits, scratch + t * largest);
            for (int64_t i = start; i < end; i++) dealt[i] &= mask;
        }
    });
}

}  // namespace schuss
