// The images of a bijection, some dozens of numbers at a time.
#pragma once

#include <cstring>

#include "build.hpp"
#include "vectors.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// What Build::images_below says, for numbers that fit into a Word: higher bits do not change what is modulo 2^bits.
template <class Word>
int64_t images_in(const Bijection& of, int64_t first, int64_t last, int64_t limit, int64_t* images, int64_t room) {
    typedef Word Words __attribute__((vector_size(lanes * 4)));
    constexpr int64_t width = lanes * 4 / static_cast<int64_t>(sizeof(Word)), vectors = 4, block = vectors * width;
    const Word mask = static_cast<Word>((uint64_t{1} << of.bits) - 1), half = static_cast<Word>(of.half());
    Words counted;
    for (int64_t i = 0; i < width; i++) counted[i] = static_cast<Word>(i);
    int64_t found = 0;
    for (int64_t at = first; at < last; at += block) {
        Words x[vectors];
#pragma GCC unroll 4
        for (int64_t v = 0; v < vectors; v++) x[v] = counted + static_cast<Word>(at + v * width);
        for (int r = 0; r < Bijection::rounds; r++) {
            const Word factor = static_cast<Word>(of.factor[r]), addend = static_cast<Word>(of.addend[r]);
#pragma GCC unroll 4
            for (int64_t v = 0; v < vectors; v++) {
                x[v] = (x[v] * factor + addend) & mask;
                x[v] ^= x[v] >> half;
            }
        }
        Word image[block];
        int64_t near_end[block];
        memcpy(image, x, sizeof image);
        int64_t* const to = found + block <= room ? images + found : near_end;
        int64_t kept = 0;
#pragma GCC unroll 16
        for (int64_t i = 0; i < block; i++) {  // the next one is written over what is not below the limit
            to[kept] = static_cast<int64_t>(image[i]);
            kept += image[i] < static_cast<uint64_t>(limit);
        }
        if (to == near_end) memcpy(images + found, near_end, static_cast<size_t>(kept) * sizeof(int64_t));
        found += kept;
    }
    return found;
}

int64_t images_below(const Bijection& of, int64_t first, int64_t last, int64_t limit, int64_t* images, int64_t room) {
    return of.bits <= 32 ? images_in<uint32_t>(of, first, last, limit, images, room)
                         : images_in<uint64_t>(of, first, last, limit, images, room);
}

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
