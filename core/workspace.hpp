// The workspace of an engine: the chain of operations, the signals between them, and the padded vectors that hold W
// and what the optimiser remembers in the operations' own layouts.
#pragma once

#include <new>

#include "losses.hpp"
#include "operations/categories.hpp"
#include "operations/dense.hpp"
#include "operations/dropout.hpp"
#include "operations/embedding.hpp"
#include "operations/layer_norm.hpp"
#include "operations/output.hpp"
#include "operations/piecewise.hpp"
#include "operations/residual.hpp"
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
    Codes codes;             // of categorical columns
    Output* output;          // the last of the chain
    Signal* input;           // features, and what an embedding adds to them
    bool narrow_input;       // in a panel of narrow_width
    bool has_tables;         // some operation reads running sums of W on the way forward
    Place* places;           // all tiles of weights
    int64_t place_count;
    double* squares;         // [place_count] Σ g² of a tile, for the norm of the gradient

    int64_t unit_rows;       // that go through the chain together
    int64_t segment_rows;    // of a batch that are worked on before their gradient is added up
    int64_t padded;          // length of a padded vector; numbers of the padding are 0
    int64_t step;            // steps taken so far
    float* W;                // [padded]
    float* vectors[2];       // [padded] each: what the optimiser remembers
    float* average;          // [padded] of W along the way
    float* trial;            // [padded] a W that is looked at, not trained
    float* gradient;         // [padded] Σ w_i g_i, where it is stored; 0 between steps in parts that operations add to
    const float* updated_for;  // the padded W of which operations keep other forms, or null

    int64_t row_capacity;  // of batch memory
    float* targets;        // [T, row_capacity]
    float* weights;        // [row_capacity]
    float* offsets;        // [row_capacity]
    float* row_losses;     // [row_capacity]
    float* tile_gradients; // [threads, tile_floats]: weights, and in the last panel_width biases
    int64_t tile_floats;
    double* partial;       // [look_units] Σ w_i L_i of a unit of rows that is looked at
    int64_t next_unit;     // of those, not yet taken by a worker
};

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

bool is(const Layer& layer, const char* kind) { return strcmp(layer.kind, kind) == 0; }

// Null, or the first name that has no entry in our tables.
const char* unknown(const Program& program) {
    int64_t open = 0;  // forks
    for (int64_t l = 0; l < program.layer_count; l++) {
        const Layer& layer = program.layers[l];
        const bool last = l == program.layer_count - 1, dense = is(layer, "dense");
        open += is(layer, "fork") - is(layer, "join");
        bool known = (is(layer, "embedding") && l == 0) || is(layer, "dropout") || is(layer, "fork") ||
                     (is(layer, "join") && open >= 0);
        if (last || (l == 0 && !dense && !is(layer, "embedding") && program.categories > 0)) known = false;
        if (!known && !dense && !is(layer, "layer_norm")) return layer.kind;
        if (known) continue;
        Activations::for_each([&](auto its) {
            using Activation = decltype(its);
            known |= strcmp(Activation::name, layer.activation) == 0 &&
                     (!last || (dense && open == 0 && Activation::rule == ChainRule::identity));
        });
        if (!known) return layer.activation;
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

// What comes into the chain besides plain features.
struct Inputs {
    Column* columns;   // [C] those that are one-hot, then those with vectors
    int64_t one_hot;
    int64_t embedded;
    Places places;     // of features with knots
};

Inputs inputs_of(Workspace& workspace, const Program& program, const Memory& memory) {
    Inputs inputs = {memory.take<Column>(program.categories), 0, 0, {}};
    for (const bool embedded : {false, true})
        for (int64_t c = 0; c < program.categories; c++)
            if ((program.widths[c] > 0) == embedded) {
                inputs.columns[inputs.one_hot + inputs.embedded] = {c, program.levels[c], program.widths[c]};
                (embedded ? inputs.embedded : inputs.one_hot)++;
            }
    Knots* knots = memory.take<Knots>(program.features);
    inputs.places.knots = knots;
    inputs.places.input = workspace.input;
    const float* at = program.knots;
    for (int64_t f = 0; f < program.features; f++) {
        const int64_t bins = program.knot_counts[f] - 1;
        if (bins < 1) continue;
        float* inverses = memory.take<float>(bins);
        for (int64_t b = 0; b < bins; b++) inverses[b] = 1 / (at[b + 1] - at[b]);
        knots[inputs.places.count++] = {f, bins, at, inverses};
        at += bins + 1;
    }
    return inputs;
}

// The chain that Python describes; returns the length of a padded vector.
int64_t build_chain(Workspace& workspace, const Program& program, const Memory& memory) {
    workspace.chain = memory.take<Operation*>(program.layer_count + 3);
    const auto new_signal = [&](int64_t columns) {
        Signal* signal = new (memory.take<Signal>(1)) Signal();
        signal->columns = columns;
        signal->chain = ChainRule::identity;
        signal->scale = 1;
        signal->floats_wanted = true;
        return signal;
    };
    const auto chain_rule_of = [](const Layer& layer) {
        ChainRule rule = ChainRule::identity;
        Activations::for_each([&](auto its) {
            using Activation = decltype(its);
            if (strcmp(Activation::name, layer.activation) == 0) rule = Activation::rule;
        });
        return rule;
    };
    Signal* signal = workspace.input = new_signal(program.features);
    int64_t padded = 0;
    uint32_t dropouts = 0;
    Fork* fork = nullptr;  // the innermost that is open

    const Inputs inputs = inputs_of(workspace, program, memory);
    const bool piecewise_inputs = inputs.places.count > 0 && program.knot_width == 0;
    workspace.has_tables = inputs.places.count > 0;

    // What picks rows of the first dense layer's weights comes before it; null where nothing does.
    const auto first_sums = [&](const Layer& layer) -> FirstSums* {
        if (signal != workspace.input || (inputs.one_hot == 0 && !piecewise_inputs)) return nullptr;
        FirstSums* sums = new (memory.take<FirstSums>(1)) FirstSums();
        sums->outputs = layer.outputs;
        int64_t flat = layer.start + signal->columns * layer.outputs;
        if (inputs.one_hot) {
            Categories* categories = add_operation<Categories>(workspace, memory);
            categories->columns = inputs.one_hot;
            categories->of = inputs.columns;
            categories->codes = &workspace.codes;
            categories->first = sums;
            categories->flat_start = flat;
            categories->start = padded;
            padded += categories->padded();
            for (int64_t c = 0; c < inputs.one_hot; c++) flat += inputs.columns[c].levels * layer.outputs;
        }
        if (piecewise_inputs) {
            Piecewise* piecewise = add_operation<Piecewise>(workspace, memory);
            piecewise->places = inputs.places;
            piecewise->first = sums;
            piecewise->begins = inputs.one_hot == 0;
            piecewise->flat_start = flat;
            piecewise->start = padded;
            piecewise->tables = memory.take<float>(piecewise->padded());
            padded += piecewise->padded();
        }
        return sums;
    };

    for (int64_t l = 0; l < program.layer_count; l++) {
        const Layer& layer = program.layers[l];
        const auto fill = [&](auto* operation, FirstSums* sums) {
            operation->inputs = signal->columns;
            operation->outputs = layer.outputs;
            operation->flat_start = layer.start;
            operation->flat_biases = layer.start + layer.inputs * layer.outputs;
            operation->weights = padded;
            operation->biases = padded += operation->padded_weights();
            padded += operation->padded_biases();
            operation->x = signal;
            if (sums) {
                operation->sums = &sums->sums;
                sums->biases = operation->biases;
            }
        };
        if (is(layer, "embedding")) {
            signal->columns = layer.outputs;
            signal->has_way_back = true;
            int64_t flat = layer.start;
            if (inputs.embedded) {
                Embedding* embedding = add_operation<Embedding>(workspace, memory);
                embedding->features = program.features;
                embedding->columns = inputs.embedded;
                embedding->of = inputs.columns + inputs.one_hot;
                embedding->flat_start = flat;
                embedding->start = padded;
                embedding->codes = &workspace.codes;
                embedding->signal = signal;
                padded += embedding->padded();
                for (int64_t c = 0; c < inputs.embedded; c++) flat += embedding->of[c].levels * embedding->of[c].width;
            }
            if (program.knot_width) {
                PiecewiseEmbedding* piecewise = add_operation<PiecewiseEmbedding>(workspace, memory);
                piecewise->places = inputs.places;
                piecewise->width = program.knot_width;
                piecewise->column = layer.outputs - inputs.places.count * program.knot_width;
                piecewise->flat_start = flat;
                piecewise->start = padded;
                piecewise->signal = signal;
                piecewise->alone = inputs.embedded == 0;
                piecewise->tables = memory.take<float>(piecewise->padded());
                padded += piecewise->padded();
            }
        } else if (is(layer, "layer_norm")) {
            LayerNorm* norm = add_operation<LayerNorm>(workspace, memory);
            norm->flat_start = layer.start;
            norm->start = padded;
            norm->epsilon = layer.number;
            norm->x = signal;
            signal = norm->y = new_signal(layer.outputs);
            signal->has_way_back = true;
            signal->chain = chain_rule_of(layer);
            norm->activate = activation_of(layer.activation);
            padded += norm->padded();
        } else if (is(layer, "dropout")) {
            Dropout* dropout = add_operation<Dropout>(workspace, memory);
            dropout->signal = signal;
            dropout->seed = program.seed;
            dropout->layer = dropouts++;
            const double threshold = layer.number * 65536 + 0.5;
            dropout->threshold = threshold > 65535 ? 65535 : static_cast<uint32_t>(threshold);
            const bool of_relu = signal->chain == ChainRule::relu || signal->chain == ChainRule::dropped_relu;
            signal->chain = of_relu ? ChainRule::dropped_relu : ChainRule::stored;
            signal->scale *= dropout->scale();
        } else if (is(layer, "fork")) {
            Fork* inner = add_operation<Fork>(workspace, memory);
            inner->outer = fork;
            inner->x = signal;
            signal = inner->inside = new_signal(layer.outputs);
            signal->has_way_back = inner->x->has_way_back;
            fork = inner;
        } else if (is(layer, "join")) {
            Join* join = add_operation<Join>(workspace, memory);
            join->x = fork->x;
            join->f = signal;
            signal = join->y = fork->y = new_signal(layer.outputs);
            signal->has_way_back = join->x->has_way_back || join->f->has_way_back;
            fork = fork->outer;
        } else if (l + 1 < program.layer_count) {
            FirstSums* sums = first_sums(layer);
            Dense* dense = add_operation<Dense>(workspace, memory);
            fill(dense, sums);
            const bool from_registers = signal->chain != ChainRule::stored && signal->chain != ChainRule::dropped_relu;
            signal->only_factors = depth > 1 && signal->from_dense && from_registers;
            signal = dense->y = new_signal(layer.outputs);
            signal->has_way_back = signal->from_dense = true;
            signal->floats_wanted = sums != nullptr;
            signal->chain = chain_rule_of(layer);
            dense->lay_out_weights(memory);
            workspace.narrow_input |= l == 0 && program.features <= narrow_width;
            const bool narrow = l == 0 && workspace.narrow_input;
            dense->code = dense_code(layer.activation, narrow ? narrow_width : panel_width, dense->x->chain);
            if (sums) sums->derivatives = &signal->derivatives;
        } else {
            FirstSums* sums = first_sums(layer);
            Output* output = workspace.output = add_operation<Output>(workspace, memory);
            fill(output, sums);
            if (sums) sums->derivatives = output->sums_back = &sums->own_derivatives;
        }
    }
    return padded;
}

// Floats of a row in all signals, on the way forward and back.
int64_t floats_of_a_row(const Program& program) {
    int64_t total = program.features;
    for (int64_t l = 0; l < program.layer_count; l++) {
        const Layer& layer = program.layers[l];
        if (!is(layer, "dropout")) total += (is(layer, "layer_norm") ? 3 : 2) * layer.outputs;
    }
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
    workspace.average = memory.take<float>(workspace.padded);  // of mapped memory nothing is used where nobody writes
    workspace.trial = memory.take<float>(workspace.padded);
    workspace.gradient = memory.take<float>(workspace.padded);
    workspace.partial = memory.take<double>(look_units);

    for (int64_t i = 0; i < workspace.length; i++) workspace.place_count += workspace.chain[i]->tiles();
    workspace.places = memory.take<Place>(workspace.place_count);
    workspace.squares = memory.take<double>(workspace.place_count);
    Place* place = workspace.places;
    for (int64_t i = 0; i < workspace.length; i++)
        for (int64_t tile = 0; tile < workspace.chain[i]->tiles(); tile++) {
            *place++ = {workspace.chain[i], workspace.chain[i]->tile(tile)};
            const int64_t floats = place[-1].tile.weights.count + panel_width;
            if (!workspace.chain[i]->adds() && floats > workspace.tile_floats) workspace.tile_floats = floats;
        }
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
    const int64_t columns = workspace.input->columns;
    if (workspace.narrow_input)
        features = {memory.take<float>(rows * narrow_width), narrow_width, 0};
    else
        features = new_sheet(memory, columns ? columns : 1, rows);
    workspace.codes = {memory.take<int32_t>(program.categories * rows), rows};
    for (int64_t i = 0; i < workspace.length; i++) workspace.chain[i]->lay_out_rows(memory, rows);
    workspace.targets = memory.take<float>(program.targets * rows);
    workspace.weights = memory.take<float>(rows);
    workspace.offsets = memory.take<float>(rows);
    workspace.row_losses = memory.take<float>(rows);
    workspace.tile_gradients = memory.take<float>(threads * workspace.tile_floats);
}

double row_operations(const Program& program) {
    double total = 0;
    int64_t width = program.features, knots = 0;
    bool first = true;
    for (int64_t f = 0; f < program.features; f++) knots += program.knot_counts[f] > 0;
    for (int64_t l = 0; l < program.layer_count; l++) {
        const Layer& layer = program.layers[l];
        const bool dense = is(layer, "dense");
        const int64_t inputs = dense && first ? width + program.categories + 2 * knots : layer.inputs;
        const double of_each = dense ? (l == 0 ? 4 : 6) * static_cast<double>(inputs) : 10;
        total += of_each * static_cast<double>(layer.outputs);
        first &= !dense;
        width = layer.outputs;
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
