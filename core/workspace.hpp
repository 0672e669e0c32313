// The workspace of an engine: the chain of operations, the signals between them, and the padded vectors that hold W
// and what the optimiser remembers in the operations' own layouts.
#pragma once

#include <new>

#include "losses.hpp"
#include "operations/categories.hpp"
#include "operations/dense.hpp"
#include "operations/dropout.hpp"
#include "operations/output.hpp"
#include "optimizers.hpp"
#include "program.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// A tile of weights of some operation.
struct Place {
    Operation* operation;
    Tile tile;
};

struct Workspace {
    const Program* program;
    const Loss* loss;
    const Optimizer* optimizer;
    Constants constants;

    Operation** chain;  // in the order of the way forward
    int64_t length;
    Categories* categories;  // the first of the chain, or null
    Output* output;          // the last of it
    Signal* input;           // features
    Place* places;           // all tiles of weights
    int64_t place_count;
    double* squares;         // [place_count] Σ g² of a tile, for the norm of the gradient

    int64_t unit_rows;       // that go through the chain together
    int64_t segment_rows;    // of a batch that are worked on before their gradient is added up
    int64_t padded;          // length of a padded vector; numbers of the padding are 0
    int64_t step;            // steps taken so far
    float* W;                // [padded]
    float* vectors[2];       // [padded] each: what the optimiser remembers
    float* trial;            // [padded] a W that is looked at, not trained
    float* gradient;         // [padded] Σ w_i g_i, where it is stored; 0 between steps in parts that operations add to
    const float* updated_for;  // the padded W of which operations keep other forms, or null

    int64_t row_capacity;  // of batch memory
    float* targets;        // [T, row_capacity]
    float* weights;        // [row_capacity]
    float* offsets;        // [row_capacity]
    float* row_losses;     // [row_capacity]
    float* tile_gradients; // [threads, tile_floats]: weights, then biases
    double* partial;       // [look_units] Σ w_i L_i of a unit of rows that is looked at
    int64_t next_unit;     // of those, not yet taken by a worker
};

constexpr int64_t tile_floats = (tile_inputs + 1) * panel_width;
constexpr int64_t look_units = 1024;  // units of rows whose losses are put aside before they are added up

template <class Entry, int64_t count>
const Entry* named(const Entry (&table)[count], const char* name) {
    for (const Entry& entry : table)
        if (strcmp(entry.name, name) == 0) return &entry;
    return nullptr;
}

const double* constant(const Program& program, const char* name) {
    for (int64_t i = 0; i < program.constant_count; i++)
        if (strcmp(program.constants[i].name, name) == 0) return &program.constants[i].value;
    return nullptr;
}

bool is_dense(const Layer& layer) { return strcmp(layer.kind, "dense") == 0; }
bool is_dropout(const Layer& layer) { return strcmp(layer.kind, "dropout") == 0; }

// Null, or the first name that has no entry in our tables.
const char* unknown(const Program& program) {
    for (int64_t l = 0; l < program.layer_count; l++) {
        const Layer& layer = program.layers[l];
        const bool last = l == program.layer_count - 1;
        bool known = is_dropout(layer) && l > 0 && !last;
        if (is_dense(layer))
            Activations::for_each([&](auto its) {
                using Activation = decltype(its);
                known |= strcmp(Activation::name, layer.activation) == 0 &&
                         (!last || Activation::rule == ChainRule::identity);
            });
        if (!known) return is_dense(layer) ? layer.activation : layer.kind;
    }
    const Loss* loss = named(losses, program.loss);
    const int64_t K = program.layers[program.layer_count - 1].outputs;
    if (!loss || program.loss_number_count != (loss->numbers < 0 ? K : loss->numbers)) return program.loss;
    const Optimizer* rule = named(optimizers, program.optimizer);
    if (!rule) return program.optimizer;
    int64_t wanted = 0;
    for (; rule->names[wanted]; wanted++)
        if (!constant(program, rule->names[wanted])) return rule->names[wanted];
    return wanted == program.constant_count ? nullptr : program.optimizer;
}

template <class Kind>
Kind* add_operation(Workspace& workspace, const Memory& memory) {
    Kind* operation = new (memory.take<Kind>(1)) Kind();
    workspace.chain[workspace.length++] = operation;
    return operation;
}

// The chain that Python describes; returns the length of a padded vector.
int64_t build_chain(Workspace& workspace, const Program& program, const Memory& memory) {
    workspace.chain = memory.take<Operation*>(program.layer_count + 1);
    Signal* signal = workspace.input = new (memory.take<Signal>(1)) Signal();
    signal->columns = program.features;
    int64_t padded = 0;
    uint32_t dropouts = 0;

    const Layer& first = program.layers[0];
    Categories* categories = nullptr;
    if (program.categories > 0) {
        workspace.categories = categories = add_operation<Categories>(workspace, memory);
        categories->columns = program.categories;
        categories->levels = program.levels;
        categories->outputs = first.outputs;
        categories->flat_start = first.start + program.features * first.outputs;
        categories->start = 0;
        padded = categories->padded();
    }

    for (int64_t l = 0; l < program.layer_count; l++) {
        const Layer& layer = program.layers[l];
        const auto fill = [&](auto* operation) {
            operation->inputs = l == 0 ? program.features : layer.inputs;
            operation->outputs = layer.outputs;
            operation->flat_start = layer.start;
            operation->flat_biases = layer.start + layer.inputs * layer.outputs;
            operation->weights = padded;
            operation->biases = padded += operation->padded_weights();
            padded += operation->padded_biases();
            operation->x = signal;
            if (l == 0 && categories) {
                operation->sums = &categories->sums;
                categories->biases = operation->biases;
            }
        };
        if (is_dropout(layer)) {
            Dropout* dropout = add_operation<Dropout>(workspace, memory);
            dropout->signal = signal;
            dropout->seed = program.seed;
            dropout->layer = dropouts++;
            const double threshold = layer.rate * 65536 + 0.5;
            dropout->threshold = threshold > 65535 ? 65535 : static_cast<uint32_t>(threshold);
            signal->scale = dropout->scale();
        } else if (l + 1 < program.layer_count) {
            Dense* dense = add_operation<Dense>(workspace, memory);
            fill(dense);
            const bool from_registers = signal->chain != ChainRule::stored && signal->chain != ChainRule::dropped_relu;
            signal->only_factors = depth > 1 && from_registers;
            signal = dense->y = new (memory.take<Signal>(1)) Signal();
            signal->columns = layer.outputs;
            signal->has_way_back = true;
            Activations::for_each([&](auto its) {
                using Activation = decltype(its);
                if (strcmp(Activation::name, layer.activation) == 0) signal->chain = Activation::rule;
            });
            if (is_dropout(program.layers[l + 1]))
                signal->chain = signal->chain == ChainRule::relu ? ChainRule::dropped_relu : ChainRule::stored;
            dense->lay_out_weights(memory);
            const bool narrow = l == 0 && program.features <= narrow_width;
            dense->code = dense_code(layer.activation, narrow ? narrow_width : panel_width, dense->x->chain);
            if (l == 0 && categories) {
                categories->derivatives = &signal->derivatives;
                signal->floats_wanted = true;
            }
        } else {
            Output* output = workspace.output = add_operation<Output>(workspace, memory);
            fill(output);
            if (l == 0 && categories) {
                categories->derivatives = &categories->own_derivatives;
                output->sums_back = &categories->own_derivatives;
            }
        }
    }
    return padded;
}

// Floats of a row in all signals, on the way forward and back.
int64_t floats_of_a_row(const Program& program) {
    int64_t total = program.features;
    for (int64_t l = 0; l < program.layer_count; l++)
        if (is_dense(program.layers[l])) total += 2 * program.layers[l].outputs;
    return total;
}

// Rows that go through the chain together: a unit. 16 where these stay in the first-level cache, else as many as make
// good use of the weights that are read.
int64_t rows_of_a_unit(const Program& program) { return floats_of_a_row(program) * 16 * 4 <= 24 * 1024 ? 16 : 64; }

// Rows of a batch that are worked on before their gradient is added up: memory stays bounded whatever the batch is.
int64_t rows_of_a_segment(const Program& program) {
    const int64_t fit = (int64_t{64} << 20) / 4 / floats_of_a_row(program) / 64 * 64;
    return fit < 1024 ? 1024 : fit > 65536 ? 65536 : fit;
}

void* lay_out(const Program& program, const Memory& memory) {
    Workspace& workspace = *new (memory.take<Workspace>(1)) Workspace();
    workspace.program = &program;
    workspace.loss = named(losses, program.loss);
    workspace.optimizer = named(optimizers, program.optimizer);
    for (int i = 0; workspace.optimizer->names[i]; i++)
        workspace.constants.values[i] = *constant(program, workspace.optimizer->names[i]);
    workspace.unit_rows = rows_of_a_unit(program);
    workspace.segment_rows = rows_of_a_segment(program);
    workspace.padded = build_chain(workspace, program, memory);
    workspace.W = memory.take<float>(workspace.padded);
    for (int i = 0; i < workspace.optimizer->memory; i++) workspace.vectors[i] = memory.take<float>(workspace.padded);
    workspace.trial = memory.take<float>(workspace.padded);
    workspace.gradient = memory.take<float>(workspace.padded);
    workspace.partial = memory.take<double>(look_units);

    for (int64_t i = 0; i < workspace.length; i++) workspace.place_count += workspace.chain[i]->tiles();
    workspace.places = memory.take<Place>(workspace.place_count);
    workspace.squares = memory.take<double>(workspace.place_count);
    Place* place = workspace.places;
    for (int64_t i = 0; i < workspace.length; i++)
        for (int64_t tile = 0; tile < workspace.chain[i]->tiles(); tile++)
            *place++ = {workspace.chain[i], workspace.chain[i]->tile(tile)};
    return &workspace;
}

int64_t whole(int64_t rows, int64_t of) { return (rows + of - 1) / of * of; }

int64_t batch_rows(const void* memory, int64_t batch) {
    const int64_t segment = static_cast<const Workspace*>(memory)->segment_rows;
    return whole(batch < segment ? batch : segment, 64);
}

int64_t look_rows(const void* memory, int threads) {
    return threads * static_cast<const Workspace*>(memory)->unit_rows;
}

void lay_out_batch(void* workspace_memory, const Memory& memory, int64_t rows, int threads) {
    Workspace& workspace = *static_cast<Workspace*>(workspace_memory);
    const Program& program = *workspace.program;
    workspace.row_capacity = rows;
    Sheet& features = workspace.input->values;
    if (program.features <= narrow_width && workspace.length > (workspace.categories ? 2 : 1))
        features = {memory.take<float>(rows * narrow_width), narrow_width, 0};
    else
        features = new_sheet(memory, program.features ? program.features : 1, rows);
    for (int64_t i = 0; i < workspace.length; i++) workspace.chain[i]->lay_out_rows(memory, rows);
    workspace.targets = memory.take<float>(program.targets * rows);
    workspace.weights = memory.take<float>(rows);
    workspace.offsets = memory.take<float>(rows);
    workspace.row_losses = memory.take<float>(rows);
    workspace.tile_gradients = memory.take<float>(threads * tile_floats);
}

double row_operations(const Program& program) {
    double total = 0;
    for (int64_t l = 0; l < program.layer_count; l++) {
        const Layer& layer = program.layers[l];
        if (!is_dense(layer)) continue;
        const auto inputs = static_cast<double>(l == 0 ? program.features + program.categories : layer.inputs);
        total += (l == 0 ? 4 : 6) * inputs * static_cast<double>(layer.outputs);
    }
    return total;
}

// Calls work(position in W, position in a padded vector, floats, step between them in the padded vector).
template <class Work>
void for_each_piece(const Workspace& workspace, Work work) {
    const Layout layout = {
        &work, [](void* context, int64_t flat, int64_t padded, int64_t count, int64_t step) {
            (*static_cast<Work*>(context))(flat, padded, count, step);
        }};
    for (int64_t i = 0; i < workspace.length; i++) workspace.chain[i]->describe(layout);
}

// flat [P] -> padded
void import_vector(const Workspace& workspace, const float* flat, float* padded) {
    for_each_piece(workspace, [&](int64_t from, int64_t to, int64_t count, int64_t step) {
        if (step == 1)
            memcpy(padded + to, flat + from, static_cast<size_t>(count) * sizeof(float));
        else
            for (int64_t i = 0; i < count; i++) padded[to + i * step] = flat[from + i];
    });
}

// padded -> flat [P], float32 or float64
template <class Number>
void export_vector(const Workspace& workspace, const float* padded, Number* flat) {
    for_each_piece(workspace, [&](int64_t to, int64_t from, int64_t count, int64_t step) {
        for (int64_t i = 0; i < count; i++) flat[to + i] = padded[from + i * step];
    });
}

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
