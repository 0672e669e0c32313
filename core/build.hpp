// What a build of step.cpp offers. There is one build for each instruction set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "program.hpp"

namespace schuss {

// `workspace` holds W, the optimiser's vectors and the buffers of a tile. Each build lays it out for its own vectors,
// so that from outside it is only a block of memory.
struct Build {
    const char* isa;

    // Null, or the name of the first activation, loss, optimiser or constant that is not known.
    const char* (*unknown)(const Program&);

    // Bytes of the workspace, and its construction in zeroed memory of that size that begins at a multiple of 64. It
    // refers to the program, which must stay where it is.
    size_t (*workspace_bytes)(const Program&);
    void (*lay_out)(const Program&, void* workspace);

    // W [P] and vectors [M, P], exact copies in and out.
    void (*load)(void* workspace, const float* W, const float* vectors, int64_t step);
    int64_t (*state)(const void* workspace, float* W, float* vectors);

    // losses [steps]: Σ w_i L_i / (B · mean_weight) of each batch, at the W before its step.
    void (*train)(void* workspace, const Rows&, const Chunk&, double* losses);

    // Total loss; gradient [P] of it; outputs [N, K].
    double (*gradient)(void* workspace, const float* W, const Rows&, double* gradient);
    double (*total_loss)(void* workspace, const float* W, const Rows&);
    void (*outputs)(void* workspace, const float* W, const Rows&, float* outputs);
};

}  // namespace schuss
