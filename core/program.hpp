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
//   dense       output = activation(x · weights + biases); in W from `start` on weights [inputs, outputs] row by row,
//               then biases. Of the first one x is the features, or what an embedding makes of them, then the columns
//               that are one-hot, then the bins of features with knots that have no vectors. The last link of a
//               network is dense and linear.
//   embedding   the first link or none: output = features, then the vectors of codes, then those of features with
//               knots; `outputs` is how many numbers these are; in W the vectors, column by column
//   layer_norm  output = activation(γ · (x − mean) / √(variance + number) + β); in W γ, then β
//   dropout     every unit is set to 0 with the probability `number`, in training only
//   fork        what comes in goes on, and is kept for the join that belongs to it
//   join        output = x + what came into the fork
struct Layer {
    const char* kind;
    int64_t inputs;
    int64_t outputs;
    int64_t start;
    const char* activation;
    double number;
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
    const int64_t* widths;  // [C] length of its vectors, 0 for one-hot
    int64_t categories;     // C
    const int64_t* knot_counts;  // [F] of each feature, 0 for none
    const float* knots;          // of all features, one after another
    int64_t knot_width;          // length of the vectors of features with knots, 0 for none
    int64_t targets;        // T
    int64_t parameters;     // P

    const char* loss;
    const float* loss_numbers;  // in the order of losses.hpp
    int64_t loss_number_count;
    double l1, l2;       // λ₁ and λ₂ of λ₁ Σ |weight| + ½ λ₂ ‖weights‖², biases free
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
    const double* average_rates;   // likewise, how far W's average goes to W after each; null where there is none
    int64_t first_step;            // those to take now: [first_step, last_step)
    int64_t last_step;
};

}  // namespace schuss
