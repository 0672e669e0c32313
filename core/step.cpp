// The training step, to be read from `train` downwards:
//
//     gather rows -> forward through the layers -> loss -> backward through the layers      tile by tile
//     gradient -> optimiser -> W                                                            over all of W
//
// This file is compiled once for each instruction set, each time into a namespace of its own (SCHUSS_BUILD). It calls
// nothing of the C++ library: a template that two units share would be merged by the linker, and a processor could
// meet instructions that it does not have.
//
// Every sum has one fixed order: over inputs in the order of the layer, over rows in the order of the batch, tile by
// tile. A row of the tile never meets another one before the gradient.

#include "build.hpp"
#include "workspace.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// Some rows of a table: those that order names, or `first`, `first + 1`, … where there is no order.
struct Selection {
    const Rows& rows;
    const int64_t* order;
    int64_t first;
    int64_t count;

    int64_t row(int64_t i) const { return order ? order[first + i] : first + i; }
};

// How many rows of a tile are computed: whole blocks of a product. Those beyond the selection are rows of zeros.
int64_t whole_blocks(int64_t rows) { return (rows + block_rows - 1) / block_rows * block_rows; }

// Copies a row's features into panels, [F] -> one row of [F in panels].
void gather_features(const float* from, int64_t count, Panels to, int64_t row) {
    for (int64_t f = 0, panel = 0; f < count; f += lanes, panel++) {
        float* place = to.panel(panel) + row * lanes;
        if (f + lanes <= count)
            memcpy(place, from + f, lanes * sizeof(float));
        else
            for (int64_t i = 0; f + i < count; i++) place[i] = from[f + i];
    }
}

// Turns a row's codes into rows of the first layer's weights, where the levels follow the features column by column.
void gather_codes(const Program& program, const int32_t* codes, int64_t* index) {
    int64_t start = program.features;
    for (int64_t c = 0; c < program.categories; c++) {
        index[c] = codes[c] < 0 ? -1 : start + codes[c];
        start += program.levels[c];
    }
}

// Fills the tile's features and codes from up to tile_rows rows.
void gather_inputs(Workspace& tile, const Selection& chosen) {
    const Program& program = *tile.program;
    const int64_t F = program.features, C = program.categories, ahead = 8;
    for (int64_t r = 0; r < chosen.count; r++) {
        if (r + ahead < chosen.count) __builtin_prefetch(chosen.rows.features + chosen.row(r + ahead) * F);
        const int64_t row = chosen.row(r);
        gather_features(chosen.rows.features + row * F, F, tile.features, r);
        gather_codes(program, chosen.rows.codes + row * C, tile.index + r * C);
    }
    for (int64_t r = chosen.count; r < whole_blocks(chosen.count); r++) {
        for (int64_t p = 0; p < panels_of(F); p++) store(tile.features.panel(p) + r * lanes, splat(0.0f));
        for (int64_t c = 0; c < C; c++) tile.index[r * C + c] = -1;
    }
}

// Fills the tile's targets and weights.
void gather_targets(Workspace& tile, const Selection& chosen) {
    const int64_t T = tile.program->targets;
    for (int64_t r = 0; r < chosen.count; r++) {
        const int64_t row = chosen.row(r);
        for (int64_t t = 0; t < T; t++) tile.targets[t * tile_rows + r] = chosen.rows.targets[row * T + t];
        tile.weights[r] = chosen.rows.weights ? chosen.rows.weights[row] : 1.0f;
    }
}

// All layers, first to last. way_back: keep the derivatives of the activations.
void forward_all(Workspace& tile, const float* W, int64_t rows, bool way_back) {
    const Program& program = *tile.program;
    const int64_t computed = whole_blocks(rows);
    const bool started = program.categories > 0;
    if (started) forward_categories(tile.layers[0], W, tile.index, program.categories, computed);
    for (int64_t l = 0; l < program.layer_count; l++)
        forward(tile.layers[l], W, computed, started && l == 0, way_back);
}

// Puts the last layer's output into tile.scores, and returns Σ w_i L_i of the tile's rows in float64.
double loss_of_tile(Workspace& tile, int64_t rows) {
    const Dense& last = tile.layers[tile.program->layer_count - 1];
    for (int64_t k = 0; k < last.outputs; k++)
        for (int64_t r = 0; r < rows; r++)
            tile.scores[k * tile_rows + r] = last.output.panel(k / lanes)[r * lanes + k % lanes];
    tile.loss->values(tile.scores, tile.targets, last.outputs, tile_rows, rows, tile.row_losses);
    double total = 0;
    for (int64_t r = 0; r < rows; r++) total += static_cast<double>(tile.weights[r]) * tile.row_losses[r];
    return total;
}

// d_z of the last layer = w_i d L_i / d output ∘ activation', which stands there already.
void derivative_of_loss(Workspace& tile, int64_t rows) {
    const Dense& last = tile.layers[tile.program->layer_count - 1];
    tile.loss->derivatives(tile.scores, tile.targets, last.outputs, tile_rows, rows, tile.slopes);
    for (int64_t k = 0; k < last.outputs; k++)
        for (int64_t r = 0; r < rows; r++)
            last.d_z.panel(k / lanes)[r * lanes + k % lanes] *= tile.weights[r] * tile.slopes[k * tile_rows + r];
}

// All layers, last to first: adds to the gradient.
void backward_all(Workspace& tile, int64_t rows) {
    const Program& program = *tile.program;
    for (int64_t l = program.layer_count - 1; l >= 0; l--) {
        backward_to_weights(tile.layers[l], tile.gradient, rows);
        if (l > 0) backward_to_input(tile.layers[l], tile.layers[l - 1], whole_blocks(rows), tile.scratch);
    }
    if (program.categories > 0)
        backward_categories(tile.layers[0], tile.gradient, tile.index, program.categories, rows);
}

// Calls work(a selection of at most tile_rows rows) for the rows of a selection, in order.
template <class Work>
void for_each_tile(const Selection& chosen, Work work) {
    for (int64_t r = 0; r < chosen.count; r += tile_rows) {
        const int64_t left = chosen.count - r;
        work(Selection{chosen.rows, chosen.order, chosen.first + r, left < tile_rows ? left : tile_rows});
    }
}

// Leaves Σ w_i g_i in workspace.gradient and returns Σ w_i L_i.
double total_and_gradient(Workspace& workspace, const float* W, const Selection& chosen) {
    memset(workspace.gradient, 0, static_cast<size_t>(workspace.padded) * sizeof(float));
    for (int64_t l = 1; l < workspace.program->layer_count; l++) {
        const Dense& layer = workspace.layers[l];
        transpose(W + layer.weights, layer.inputs, layer.outputs, layer.transposed);
    }
    double total = 0;
    for_each_tile(chosen, [&](const Selection& tile) {
        gather_inputs(workspace, tile);
        gather_targets(workspace, tile);
        forward_all(workspace, W, tile.count, true);
        total += loss_of_tile(workspace, tile.count);
        derivative_of_loss(workspace, tile.count);
        backward_all(workspace, tile.count);
    });
    return total;
}

// Gradient -> optimiser -> W, layer by layer. divisor: B · mean_weight.
void update_all(Workspace& workspace, double divisor, double learning_rate) {
    const Program& program = *workspace.program;
    workspace.step++;
    const auto update = [&](int64_t start, int64_t count, double l2, double decay) {
        const auto from_start = [&](float* vector) { return vector ? vector + start : nullptr; };
        const Stretch stretch = {
            workspace.W + start, from_start(workspace.vectors[0]), from_start(workspace.vectors[1]),
            workspace.gradient + start, count, 1 / divisor, l2, learning_rate * decay};
        workspace.optimizer->update(stretch, workspace.constants, learning_rate, workspace.step);
    };
    for (int64_t l = 0; l < program.layer_count; l++) {
        const Dense& layer = workspace.layers[l];
        update(layer.weights, layer.padded_weights(), program.l2, program.weight_decay);
        update(layer.biases, layer.padded_biases(), 0, 0);
    }
}

Workspace& workspace_in(void* memory) { return *static_cast<Workspace*>(memory); }

void train(void* memory, const Rows& rows, const Chunk& chunk, double* losses) {
    Workspace& workspace = workspace_in(memory);
    for (int64_t step = 0; step < chunk.steps; step++) {
        const int64_t first = step * chunk.batch_size, left = chunk.order_count - first;
        const int64_t count = left < chunk.batch_size ? left : chunk.batch_size;
        const double divisor = static_cast<double>(count) * workspace.program->mean_weight;
        losses[step] = total_and_gradient(workspace, workspace.W, {rows, chunk.order, first, count}) / divisor;
        update_all(workspace, divisor, chunk.learning_rates[step]);
    }
}

double gradient(void* memory, const float* W, const Rows& rows, double* result) {
    Workspace& workspace = workspace_in(memory);
    import_vector(workspace, W, workspace.trial);
    const double total = total_and_gradient(workspace, workspace.trial, {rows, nullptr, 0, rows.count});
    export_vector(workspace, workspace.gradient, result);
    return total;
}

double total_loss(void* memory, const float* W, const Rows& rows) {
    Workspace& workspace = workspace_in(memory);
    import_vector(workspace, W, workspace.trial);
    double total = 0;
    for_each_tile({rows, nullptr, 0, rows.count}, [&](const Selection& tile) {
        gather_inputs(workspace, tile);
        gather_targets(workspace, tile);
        forward_all(workspace, workspace.trial, tile.count, false);
        total += loss_of_tile(workspace, tile.count);
    });
    return total;
}

void outputs(void* memory, const float* W, const Rows& rows, float* result) {
    Workspace& workspace = workspace_in(memory);
    import_vector(workspace, W, workspace.trial);
    const Dense& last = workspace.layers[workspace.program->layer_count - 1];
    for_each_tile({rows, nullptr, 0, rows.count}, [&](const Selection& tile) {
        gather_inputs(workspace, tile);
        forward_all(workspace, workspace.trial, tile.count, false);
        for (int64_t r = 0; r < tile.count; r++)
            for (int64_t k = 0; k < last.outputs; k++)
                result[(tile.first + r) * last.outputs + k] = last.output.panel(k / lanes)[r * lanes + k % lanes];
    });
}

void load_state(void* memory, const float* W, const float* vectors, int64_t step) {
    Workspace& workspace = workspace_in(memory);
    import_vector(workspace, W, workspace.W);
    for (int i = 0; i < workspace.optimizer->memory; i++)
        import_vector(workspace, vectors + i * workspace.program->parameters, workspace.vectors[i]);
    workspace.step = step;
}

int64_t save_state(const void* memory, float* W, float* vectors) {
    const Workspace& workspace = *static_cast<const Workspace*>(memory);
    export_vector(workspace, workspace.W, W);
    for (int i = 0; i < workspace.optimizer->memory; i++)
        export_vector(workspace, workspace.vectors[i], vectors + i * workspace.program->parameters);
    return workspace.step;
}

}  // namespace

#define SCHUSS_TEXT_OF(name) #name
#define SCHUSS_TEXT(name) SCHUSS_TEXT_OF(name)

extern const Build build;
const Build build = {
    SCHUSS_TEXT(SCHUSS_BUILD), unknown, workspace_bytes, lay_out, load_state, save_state, train, gradient,
    total_loss, outputs,
};

}  // namespace schuss::SCHUSS_BUILD
