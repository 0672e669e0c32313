// What a build of step.cpp offers. There is one build for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "program.hpp"
#include "team.hpp"

namespace schuss {

// Where a build gets memory from: zeroed, beginning at a multiple of 64, there until its owner frees it.
struct Memory {
    void* owner;
    void* (*stretch)(void* owner, size_t bytes);  // throws std::bad_alloc

    template <class T>
    T* take(int64_t count) const {
        return static_cast<T*>(stretch(owner, static_cast<size_t>(count) * sizeof(T)));
    }
};

// Of the numbers below 2^bits: in each round x becomes (x · factor + addend) mod 2^bits, then x xor (x >> half).
struct Bijection {
    static constexpr int rounds = 10;
    uint64_t factor[rounds], addend[rounds];
    int bits;

    int half() const { return (bits + 1) / 2; }
};

// A workspace holds the operations, W and the optimiser's vectors; batch memory holds the rows that are being worked
// on. Each build lays them out for its own vectors, so that from outside they are only memory. They refer to the
// program and to each other, which must stay where they are.
//
// A function that takes a Worker is called by every thread of a team at the same time, with the same other arguments.
// No number depends on how many they are.
struct Build {
    const char* isa;

    // Null, or the name of the first layer, activation, loss, optimiser or constant that is not known.
    const char* (*unknown)(const Program&);

    // Returns the workspace.
    void* (*lay_out)(const Program&, const Memory&);

    // Rows that batch memory must hold for batches of that many, and for looking at rows with so many threads.
    int64_t (*batch_rows)(const void* workspace, int64_t batch);
    int64_t (*look_rows)(const void* workspace, int threads);
    void (*lay_out_batch)(void* workspace, const Memory&, int64_t rows, int threads);

    // Floating-point operations of a row's way forward and back.
    double (*row_operations)(const Program&);

    // W [P], vectors [M, P] and the average of W [P], exact copies in and out (null: not wanted). `look_at` copies a W
    // that is looked at, not trained.
    void (*load)(void* workspace, const float* W, const float* vectors, const float* average, int64_t step);
    int64_t (*state)(const void* workspace, float* W, float* vectors, float* average);
    void (*look_at)(void* workspace, const float* W);

    // losses, of all steps: Σ w_i L_i / (B · mean_weight) of each batch, at the W before its step.
    void (*train)(void* workspace, const Rows&, const Chunk&, const Worker&, double* losses);

    // Of the W that is looked at: total loss; the gradient of it, which take_gradient copies out [P]; total loss
    // (null: not wanted) and outputs [N, K] (null: not wanted). step: whose dropout masks there are; below 0 none.
    void (*gradient)(void* workspace, const Rows&, int64_t step, const Worker&, double* total);
    void (*take_gradient)(void* workspace, double* gradient);
    void (*look)(void* workspace, const Rows&, int64_t step, const Worker&, double* total, float* outputs);

    // Writes the images of first … last − 1, two multiples of 256, that are below the limit, in turn, into images
    // [room]; returns how many they are, at most `room`.
    int64_t (*images_below)(
        const Bijection&, int64_t first, int64_t last, int64_t limit, int64_t* images, int64_t room);
};

}  // namespace schuss
