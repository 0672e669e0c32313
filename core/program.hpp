// The network, the cost and the rule for the step, as Python describes them: plain data, names included.
//
// These structs cross from units compiled for any processor to units compiled for a newer one, so they hold raw
// pointers and no functions: nothing here can be instantiated twice.
//
// Letters of shapes, as in arrays.py: N rows, B rows of a batch, F features, C categorical columns, K outputs,
// T columns of the target, P parameters.
#pragma once

#include <cstdint>

namespace schuss {

// A link of the chain, by its kind:
//   dense    output = activation(x · weights + biases); in W from `start` on weights [inputs, outputs] row by row, then
//            biases. Of the first one `inputs` is F + Σ levels. The last link of a network is dense and linear.
//   dropout  every unit is set to 0 with probability `rate`, in training only
struct Layer {
    const char* kind;
    int64_t inputs;
    int64_t outputs;
    int64_t start;
    const char* activation;
    double rate;
};

struct Constant {
    const char* name;  // "beta1"
    double value;
};

struct Program {
    const Layer* layers;
    int64_t layer_count;

    int64_t features;       // F
    const int64_t* levels;  // [C] levels of each categorical column
    int64_t categories;     // C
    int64_t targets;        // T
    int64_t parameters;     // P

    const char* loss;
    const float* loss_numbers;  // in the order of losses.hpp
    int64_t loss_number_count;
    double l2;           // λ of ½ λ ‖weights‖², biases free
    double mean_weight;  // of all training rows

    const char* optimizer;
    const Constant* constants;
    int64_t constant_count;
    double weight_decay;  // decoupled, biases free
    double clip_value;    // of every component of the cost's gradient; 0 for none
    double clip_norm;     // of the whole of it; 0 for none

    uint64_t seed;  // of dropout masks
};

// Rows in memory, row by row.
struct Rows {
    const float* features;  // [N, F]
    const int32_t* codes;   // [N, C], -1 for none
    const float* targets;   // [N, T]
    const float* weights;   // [N], or null when every row counts once
    const float* offsets;   // [N] added to output 0, or null when nothing is
    int64_t count;          // N
};

// Steps over rows[order], batch by batch. The order is that of one epoch, or of several of the same length one after
// another; no batch holds rows of two, so that the last batch of each may be shorter.
struct Chunk {
    const int64_t* order;
    int64_t order_count;
    int64_t epoch_rows;  // of an epoch in the order
    int64_t batch_size;
    const double* learning_rates;  // of all steps, from the order's first on
    int64_t first_step;            // those to take now: [first_step, last_step)
    int64_t last_step;
};

}  // namespace schuss
