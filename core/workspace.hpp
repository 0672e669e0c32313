// The workspace of an engine: W and the optimiser's vectors in padded form, and the buffers of one tile of rows.
#pragma once

#include <string.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "losses.hpp"
#include "operations/categories.hpp"
#include "operations/dense.hpp"
#include "optimizers.hpp"
#include "program.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// Rows are worked on in tiles, so that memory stays bounded whatever the batch is, and a tile stays in the cache.
constexpr int64_t tile_rows = 128;

// A padded vector holds, layer after layer, weights and biases in panels. Numbers of the padding are 0.
struct Workspace {
    const Program* program;
    const Loss* loss;
    const Optimizer* optimizer;
    Constants constants;
    Dense* layers;   // [L]
    int64_t padded;  // length of a padded vector
    int64_t step;    // steps taken so far

    float* W;           // [padded]
    float* vectors[2];  // [padded] each: what the optimiser remembers
    float* trial;       // [padded] a W that is looked at, not trained
    float* gradient;    // [padded] Σ w_i g_i

    // one tile
    Panels features;    // [tile_rows, F]
    int64_t* index;     // [tile_rows, C] rows of the first layer's weights, -1 for none
    float* targets;     // [T, tile_rows]
    float* weights;     // [tile_rows]
    float* scores;      // [K, tile_rows] outputs, with the rows along the second axis
    float* slopes;      // [K, tile_rows] d L_i / d output
    float* row_losses;  // [tile_rows]
    float* scratch;     // two panels of tile_rows
};

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

// Null, or the first name that has no entry in our tables.
const char* unknown(const Program& program) {
    for (int64_t l = 0; l < program.layer_count; l++)
        if (!named(activations, program.layers[l].activation)) return program.layers[l].activation;
    if (!named(losses, program.loss)) return program.loss;
    const Optimizer* rule = named(optimizers, program.optimizer);
    if (!rule) return program.optimizer;
    int64_t wanted = 0;
    for (; rule->names[wanted]; wanted++)
        if (!constant(program, rule->names[wanted])) return rule->names[wanted];
    return wanted == program.constant_count ? nullptr : program.optimizer;
}

// Hands out stretches of one block of memory. Without memory it only counts. Under AddressSanitizer a poisoned gap
// follows every stretch, since the sanitizer itself sees nothing but the block.
class Carver {
  public:
    explicit Carver(void* memory) : memory_(static_cast<char*>(memory)) {}

    template <class T>
    T* take(int64_t count) {
        void* start = memory_ ? memory_ + used_ : nullptr;
        used_ += (static_cast<size_t>(count) * sizeof(T) + 63) & ~size_t{63};
#if defined(__SANITIZE_ADDRESS__)
        if (memory_) __asan_poison_memory_region(memory_ + used_, 64);
        used_ += 64;
#endif
        return static_cast<T*>(start);
    }

    Panels panels(int64_t columns) { return {take<float>(tile_rows * lanes * panels_of(columns)), tile_rows * lanes}; }

    size_t used() const { return used_; }

  private:
    char* memory_;
    size_t used_ = 0;
};

// The layer that Python describes, from `start` on in a padded vector.
Dense dense(const Program& program, int64_t number, int64_t start, Panels x, Carver& carver) {
    const Layer& layer = program.layers[number];
    Dense result = {};
    result.inputs = layer.inputs;
    result.numbers = number == 0 ? program.features : layer.inputs;
    result.outputs = layer.outputs;
    result.weights = start;
    result.biases = start + result.padded_weights();
    result.transposed = number == 0 ? nullptr : carver.take<float>(panels_of(layer.inputs) * lanes * layer.outputs);
    result.activation = named(activations, layer.activation);
    result.x = x;
    result.output = carver.panels(layer.outputs);
    result.d_z = carver.panels(layer.outputs);
    return result;
}

// Fills `workspace` (a copy of what then stands at the head of the memory) with stretches of the carver's memory.
void carve(const Program& program, Carver& carver, Workspace& workspace, Dense* layers) {
    workspace.program = &program;
    workspace.loss = named(losses, program.loss);
    workspace.optimizer = named(optimizers, program.optimizer);
    for (int i = 0; workspace.optimizer->names[i]; i++)
        workspace.constants.values[i] = *constant(program, workspace.optimizer->names[i]);

    workspace.layers = layers;
    workspace.features = carver.panels(program.features);
    Panels x = workspace.features;
    for (int64_t l = 0; l < program.layer_count; l++) {
        const Dense layer = dense(program, l, workspace.padded, x, carver);
        workspace.padded = layer.biases + layer.padded_biases();
        x = layer.output;
        if (layers) layers[l] = layer;
    }

    workspace.W = carver.take<float>(workspace.padded);
    for (int i = 0; i < workspace.optimizer->memory; i++) workspace.vectors[i] = carver.take<float>(workspace.padded);
    workspace.trial = carver.take<float>(workspace.padded);
    workspace.gradient = carver.take<float>(workspace.padded);

    const int64_t outputs = program.layers[program.layer_count - 1].outputs;
    workspace.index = carver.take<int64_t>(tile_rows * program.categories);
    workspace.targets = carver.take<float>(tile_rows * program.targets);
    workspace.weights = carver.take<float>(tile_rows);
    workspace.scores = carver.take<float>(tile_rows * outputs);
    workspace.slopes = carver.take<float>(tile_rows * outputs);
    workspace.row_losses = carver.take<float>(tile_rows);
    workspace.scratch = carver.take<float>(2 * tile_rows * lanes);
}

size_t workspace_bytes(const Program& program) {
    Carver carver(nullptr);
    Workspace workspace = {};
    carver.take<Workspace>(1);
    carver.take<Dense>(program.layer_count);
    carve(program, carver, workspace, nullptr);
    return carver.used();
}

void lay_out(const Program& program, void* memory) {
    Carver carver(memory);
    Workspace workspace = {};
    auto* head = carver.take<Workspace>(1);
    carve(program, carver, workspace, carver.take<Dense>(program.layer_count));
    *head = workspace;
}

// Calls work(position in W, position in a padded vector, how many numbers) for every stretch that both have in one
// piece.
template <class Work>
void for_each_stretch(const Workspace& workspace, Work work) {
    for (int64_t l = 0; l < workspace.program->layer_count; l++) {
        const Dense& layer = workspace.layers[l];
        int64_t flat = workspace.program->layers[l].start;
        for (int64_t row = 0; row <= layer.inputs; row++) {  // the biases are the row after the last
            const bool is_bias = row == layer.inputs;
            for (int64_t p = 0; p < layer.panels(); p++) {
                const int64_t left = layer.outputs - p * lanes, count = left < lanes ? left : lanes;
                const int64_t place = is_bias ? layer.biases + p * lanes
                                              : layer.weights + p * layer.weights_step() + row * lanes;
                work(flat, place, count);
                flat += count;
            }
        }
    }
}

// flat [P] -> padded, with zeros between.
void import_vector(const Workspace& workspace, const float* flat, float* padded) {
    memset(padded, 0, static_cast<size_t>(workspace.padded) * sizeof(float));
    for_each_stretch(workspace, [&](int64_t from, int64_t to, int64_t count) {
        memcpy(padded + to, flat + from, static_cast<size_t>(count) * sizeof(float));
    });
}

// padded -> flat [P], float32 or float64
template <class Number>
void export_vector(const Workspace& workspace, const float* padded, Number* flat) {
    for_each_stretch(workspace, [&](int64_t to, int64_t from, int64_t count) {
        for (int64_t i = 0; i < count; i++) flat[to + i] = padded[from + i];
    });
}

}  // namespace
}  // namespace schuss::SCHUSS_BUILD
