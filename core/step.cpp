// The training step, to be read from `train` downwards:
//
//     rows      gather -> forward through the operations -> loss -> backward, unit of rows by unit of rows
//     barrier
//     weights   gradient over all rows of the batch -> optimiser -> W, tile of weights by tile of weights
//     barrier
//
// Threads share out first the rows, then the weights, so that every number is made by one thread and summed in one
// order: rows in the order of the batch, inputs in the order of the layer. The result does not depend on the threads.
// The gradient goes straight through the optimiser and is never stored, unless the whole of it is needed: for its norm,
// or because a batch is longer than a segment and is added up segment by segment.
//
// This file is compiled once for each instruction set, each time into a namespace of its own (SCHUSS_BUILD). It calls
// nothing of the C++ library: a template that two units share would be merged by the linker, and a processor could
// meet instructions that it does not have.

#include "build.hpp"
#include "images.hpp"
#include "workspace.hpp"

namespace schuss::SCHUSS_BUILD {
namespace {

// Some rows of a table: those that order names, or `first`, `first + 1`, … where there is no order.
struct Selection {
    const Rows& rows;
    const int64_t* order;
    int64_t first;
    int64_t count;
    int64_t ahead;  // rows after which the order goes on, and is worth a prefetch; 0 for none

    int64_t row(int64_t i) const { return order ? order[first + i] : first + i; }
};

// ---- rows ----------------------------------------------------------------------------------------------------------

// Copies `count` < 2 · most floats: a piece of known size for each bit of the count.
template <int64_t most>
SCHUSS_INLINE void copy(const float* from, int64_t count, float* to) {
    if (count & most) {
        memcpy(to, from, most * sizeof(float));
        from += most;
        to += most;
    }
    if constexpr (most > 1) copy<most / 2>(from, count, to);
}

// Features of rows [first, last) of the selection.
SCHUSS_INLINE void gather_features(const Selection chosen, int64_t F, const Sheet& to, int64_t first, int64_t last) {
    const float* const features = chosen.rows.features;
    const int64_t whole_panels = F / panel_width, rest = F % panel_width;
    float* place = to.at(0, first);
    const int64_t row_step = to.row_step, panel_step = to.panel_step;
    for (int64_t r = first; r < last; r++, place += row_step) {
        const float* from = features + chosen.row(r) * F;
        for (int64_t panel = 0; panel < whole_panels; panel++)
            memcpy(place + panel * panel_step, from + panel * panel_width, panel_width * sizeof(float));
        copy<lanes>(from + whole_panels * panel_width, rest, place + whole_panels * panel_step);
    }
}

// What is needed of rows [first, last) of the selection: features, codes and offsets, and for the loss targets and
// weights. Rows of the last unit that lie beyond the selection are zeros.
__attribute__((noinline)) void gather(
    Workspace& workspace, const Selection chosen, int64_t first, int64_t last, bool with_loss
) {
    const Program& program = *workspace.program;
    const Rows& rows = chosen.rows;
    const Sheet features = workspace.input->values;
    const int64_t F = program.features, C = program.categories, T = with_loss ? program.targets : 0;
    const int64_t capacity = workspace.row_capacity, end = last < chosen.count ? last : chosen.count;
    int32_t* codes = workspace.codes.data;
    float* targets = workspace.targets;
    float* weights = workspace.weights;

    gather_features(chosen, F, features, first, end);
    for (int64_t r = first; r < end && C; r++)
        for (int64_t c = 0; c < C; c++) codes[c * capacity + r] = rows.codes[chosen.row(r) * C + c];
    for (int64_t t = 0; t < T; t++)
        for (int64_t r = first; r < end; r++) targets[t * capacity + r] = rows.targets[chosen.row(r) * T + t];
    if (with_loss && rows.weights)
        for (int64_t r = first; r < end; r++) weights[r] = rows.weights[chosen.row(r)];
    if (rows.offsets)
        for (int64_t r = first; r < end; r++) workspace.offsets[r] = rows.offsets[chosen.row(r)];

    for (int64_t r = end; r < last; r++) {
        for (int64_t p = 0; p * features.row_step < F; p++)
            memset(features.at(p, r), 0, static_cast<size_t>(features.row_step) * sizeof(float));
        for (int64_t c = 0; c < C; c++) codes[c * capacity + r] = -1;
        for (int64_t t = 0; t < T; t++) targets[t * capacity + r] = 0;
        weights[r] = workspace.offsets[r] = 0;
    }
}

// Asks for some of the rows that the next step will gather here. Apart, where registers are free for its loop.
__attribute__((noinline)) void prefetch(
    const Workspace& workspace, const Selection& chosen, int64_t first, int64_t last
) {
    asm volatile("");  // an effect: without one that the compiler sees, the whole function would be left out
    if (chosen.ahead <= first) return;
    const int64_t F = workspace.program->features, T = workspace.program->targets, C = workspace.program->categories;
    const Rows rows = chosen.rows;
    const int64_t* next = chosen.order + chosen.first + chosen.count;
    const int64_t end = last < chosen.ahead ? last : chosen.ahead;
    for (int64_t r = first; r < end; r++) {
        const int64_t row = next[r];
        const char* features = reinterpret_cast<const char*>(rows.features + row * F);
        for (int64_t i = 0; i < F * 4; i += 64) __builtin_prefetch(features + i);
        if (F) __builtin_prefetch(features + F * 4 - 1);
        __builtin_prefetch(rows.targets + row * T);
    }
    if (C)
        for (int64_t r = first; r < end; r++) __builtin_prefetch(rows.codes + next[r] * C);
    if (rows.weights)
        for (int64_t r = first; r < end; r++) __builtin_prefetch(rows.weights + next[r]);
    if (rows.offsets)
        for (int64_t r = first; r < end; r++) __builtin_prefetch(rows.offsets + next[r]);
}

// To output 0, after the way forward.
void add_offsets(Workspace& workspace, const Pass& pass) {
    float* scores = workspace.output->scores;
    for (int64_t r = pass.first; r < pass.last; r += lanes)
        store(scores + r, load(scores + r) + load(workspace.offsets + r));
}

Scores scores_from(const Workspace& workspace, int64_t row) {
    const Output& output = *workspace.output;
    const float* const numbers = workspace.program->loss_numbers;
    return Scores{output.scores, workspace.targets, numbers, output.outputs, workspace.row_capacity}.from(row);
}

void losses_of_rows(Workspace& workspace, const Pass& pass) {
    const int64_t rows = pass.last - pass.first;
    workspace.loss->values(scores_from(workspace, pass.first), rows, workspace.row_losses + pass.first);
}

// Derivatives of Σ w_i L_i by the outputs; 0 for rows beyond the batch.
void derivatives_of_loss(Workspace& workspace, const Pass& pass, int64_t count, bool weighted) {
    const Output& output = *workspace.output;
    const int64_t capacity = workspace.row_capacity;
    const int64_t rows = pass.last - pass.first;
    workspace.loss->derivatives(scores_from(workspace, pass.first), rows, output.derivatives + pass.first);
    for (int64_t k = 0; k < output.outputs; k++) {
        float* derivatives = output.derivatives + k * capacity;
        if (weighted)
            for (int64_t r = pass.first; r < pass.last; r += lanes)
                store(derivatives + r, load(derivatives + r) * load(workspace.weights + r));
        for (int64_t r = count > pass.first ? count : pass.first; r < pass.last; r++) derivatives[r] = 0;
    }
}

// One unit of rows, all the way forward and back. The rows of the next step are asked for in as many parts as there are
// operations to pass: a processor stands still while more of its reads are missing than it keeps track of.
void forward_and_backward(Workspace& workspace, const Selection& chosen, const Pass& pass) {
    const int64_t length = workspace.length, part = (pass.last - pass.first + 2 * length - 1) / (2 * length);
    int64_t asked = pass.first;
    const auto look_ahead = [&] {
        const int64_t end = asked + part < pass.last ? asked + part : pass.last;
        prefetch(workspace, chosen, asked, end);
        asked = end;
    };
    gather(workspace, chosen, pass.first, pass.last, true);
    for (int64_t i = 0; i < length; i++) {
        look_ahead();
        workspace.chain[i]->forward(pass);
    }
    if (chosen.rows.offsets) add_offsets(workspace, pass);
    losses_of_rows(workspace, pass);
    derivatives_of_loss(workspace, pass, chosen.count, chosen.rows.weights != nullptr);
    for (int64_t i = length - 1; i >= 0; i--) {
        look_ahead();
        workspace.chain[i]->backward(pass);
    }
}

// Σ w_i L_i of rows [first, last) of the sheets.
double total_of_rows(const Workspace& workspace, int64_t first, int64_t last, bool weighted) {
    double sums[lanes] = {};
    int64_t r = first;
    for (; r + lanes <= last; r += lanes)
        for (int64_t i = 0; i < lanes; i++)
            sums[i] += static_cast<double>(workspace.row_losses[r + i]) * (weighted ? workspace.weights[r + i] : 1.0f);
    for (int64_t i = 0; r + i < last; i++)
        sums[i] += static_cast<double>(workspace.row_losses[r + i]) * (weighted ? workspace.weights[r + i] : 1.0f);
    double total = 0;
    for (int64_t i = 0; i < lanes; i++) total += sums[i];
    return total;
}

// ---- weights -------------------------------------------------------------------------------------------------------

// What becomes of gradients in this step.
struct Finish {
    enum { store, update } kind;
    ReadyRule rule;
    StepTerms of_weights;
    StepTerms of_biases;
    bool only_touched;  // numbers whose gradient is 0 stay as they are, and need not be visited
    bool averages;      // W's average follows it
    float behind;       // the share of its way to W that the average stays behind
};

// The average goes on towards W. Apart, so that what every step does stays small enough to stand where it is called.
__attribute__((noinline)) void follow(Workspace& workspace, const Stretch& stretch, float behind) {
    const float* W = workspace.W + stretch.start;
    float* average = workspace.average + stretch.start;
    for (int64_t i = 0; i < stretch.count; i += lanes)
        store(average + i, load(W + i) - behind * (load(W + i) - load(average + i)));
}

// The optimiser goes over a stretch, and the average after it.
SCHUSS_INLINE void update(
    Workspace& workspace, const Stretch& stretch, const float* gradient, const Finish& finish, const StepTerms& terms
) {
    const auto from_start = [&](float* vector) { return vector ? vector + stretch.start : nullptr; };
    workspace.optimizer->update(
        finish.rule,
        {workspace.W + stretch.start, from_start(workspace.vectors[0]), from_start(workspace.vectors[1]), gradient,
         stretch.count},
        terms);
    if (finish.averages) follow(workspace, stretch, finish.behind);
}

// … over a tile whose gradient is stored.
void update_stored(Workspace& workspace, const Place& place, const Finish& finish) {
    const Tile& tile = place.tile;
    update(workspace, tile.weights, workspace.gradient + tile.weights.start, finish, finish.of_weights);
    update(workspace, tile.biases, workspace.gradient + tile.biases.start, finish, finish.of_biases);
    if (place.operation->adds())
        memset(workspace.gradient + tile.weights.start, 0, static_cast<size_t>(tile.weights.count) * sizeof(float));
    place.operation->updated(place.tile, workspace.W);
}

SCHUSS_INLINE void add_and_store(float* stored, const float* gradient, int64_t count, bool first) {
    for (int64_t i = 0; i < count; i += lanes)
        store(stored + i, first ? load(gradient + i) : load(stored + i) + load(gradient + i));
}

// One tile of weights: its gradient over the rows of a segment, then what is to become of it.
void gradient_of_tile(
    Workspace& workspace, const Place& place, const Worker& worker, int64_t rows, bool first_segment, bool last_segment,
    const Finish& finish
) {
    Operation& operation = *place.operation;
    const Tile& tile = place.tile;
    float* stored_weights = workspace.gradient + tile.weights.start;
    float* stored_biases = workspace.gradient + tile.biases.start;
    const bool updates = last_segment && finish.kind == Finish::update;

    if (operation.adds()) {
        operation.gradient(place.tile, rows, stored_weights, nullptr);
        if (updates && finish.only_touched && first_segment)
            operation.for_each_touched(place.tile, rows, [&](int64_t start, int64_t count) {
                const Stretch stretch = {tile.weights.start + start, count};
                update(workspace, stretch, stored_weights + start, finish, finish.of_weights);
                memset(stored_weights + start, 0, static_cast<size_t>(count) * sizeof(float));
            });
        else if (updates)
            update_stored(workspace, place, finish);
        return;
    }

    float* const weights = workspace.tile_gradients + worker.number * workspace.tile_floats;
    float* const biases = weights + workspace.tile_floats - panel_width;
    operation.gradient(place.tile, rows, weights, biases);
    if (updates && first_segment) {
        update(workspace, tile.weights, weights, finish, finish.of_weights);
        if (tile.biases.count) update(workspace, tile.biases, biases, finish, finish.of_biases);
        operation.updated(place.tile, workspace.W);
        return;
    }
    add_and_store(stored_weights, weights, tile.weights.count, first_segment);
    add_and_store(stored_biases, biases, tile.biases.count, first_segment);
    if (updates) update_stored(workspace, place, finish);
}

// Σ g² of a tile's part of the cost's gradient, in float64.
double squares_of_tile(const Workspace& workspace, const Tile& tile, const Finish& finish) {
    const auto squares = [&](const Stretch& stretch, const StepTerms& terms) {
        const float* gradient = workspace.gradient + stretch.start;
        const float* W = workspace.W + stretch.start;
        double sums[lanes] = {}, total = 0;
        for (int64_t start = 0; start < stretch.count; start += lanes)
            for (int64_t i = 0; i < lanes; i++) {
                const double w = W[start + i], slope = terms.scale * gradient[start + i];
                const double g = slope + terms.l2 * w + signed_as(w, terms.l1);
                sums[i] += g * g;
            }
        for (int64_t i = 0; i < lanes; i++) total += sums[i];
        return total;
    };
    return squares(tile.weights, finish.of_weights) + squares(tile.biases, finish.of_biases);
}

// ---- a batch -------------------------------------------------------------------------------------------------------

// The worker's share of the tiles of weights: places [begin, end).
struct Share {
    int64_t begin;
    int64_t end;
};

Share share_of(const Workspace& workspace, const Worker& worker, int64_t rows) {
    const auto cost = [&](int64_t i) {
        return workspace.places[i].tile.cost + workspace.places[i].tile.cost_of_row * static_cast<double>(rows);
    };
    double total = 0, passed = 0;
    if (worker.count == 1) return {0, workspace.place_count};
    for (int64_t i = 0; i < workspace.place_count; i++) total += cost(i);
    Share share = {workspace.place_count, workspace.place_count};
    for (int64_t i = 0; i < workspace.place_count; i++) {
        const double middle = (passed + cost(i) / 2) / total * worker.count;
        if (middle >= worker.number && i < share.begin) share.begin = i;
        if (middle >= worker.number + 1 && i < share.end) share.end = i;
        passed += cost(i);
    }
    return share;
}

// Other forms of W that operations keep are made for this W.
void prepare(Workspace& workspace, const float* W, const Worker& worker, const Share& share) {
    const bool made = workspace.updated_for == W;
    worker.meet();
    if (made) return;
    for (int64_t i = share.begin; i < share.end; i++)
        workspace.places[i].operation->updated(workspace.places[i].tile, W);
    if (worker.number == 0) workspace.updated_for = W;
    worker.meet();
}

// Rows and weights of one batch. Returns, to worker 0, Σ w_i L_i; the other workers get a part of it.
double go_through(
    Workspace& workspace, const float* W, const Selection& chosen, const Worker& worker, const Share& share,
    const Finish& finish, bool training, int64_t step
) {
    const int64_t segment = workspace.segment_rows;
    const bool weighted = chosen.rows.weights != nullptr;
    double total = 0;
    for (int64_t offset = 0; offset < chosen.count; offset += segment) {
        const bool last = offset + segment >= chosen.count;
        const int64_t rows = last ? chosen.count - offset : segment;
        const Selection part = {chosen.rows, chosen.order, chosen.first + offset, rows, last ? chosen.ahead : 0};
        int64_t unit = whole((rows + worker.count - 1) / worker.count, 16);
        if (unit > workspace.unit_rows) unit = workspace.unit_rows;
        const int64_t units = (rows + unit - 1) / unit;
        for (int64_t u = worker.begin(units); u < worker.end(units); u++) {
            const int64_t end = whole(rows, 16), first = u * unit;
            forward_and_backward(
                workspace, part,
                {W, first, first + unit < end ? first + unit : end, true, training, offset, step});
        }
        worker.meet();
        for (int64_t i = share.begin; i < share.end; i++)
            gradient_of_tile(workspace, workspace.places[i], worker, rows, offset == 0, last, finish);
        if (worker.number == 0) total += total_of_rows(workspace, 0, rows, weighted);
        worker.meet();
    }
    return total;
}

// The gradient is stored: its norm, and the update that it allows.
void clip_and_update(Workspace& workspace, const Worker& worker, const Share& share, Finish& finish) {
    for (int64_t i = share.begin; i < share.end; i++)
        workspace.squares[i] = squares_of_tile(workspace, workspace.places[i].tile, finish);
    worker.meet();
    double squares = 0;
    for (int64_t i = 0; i < workspace.place_count; i++) squares += workspace.squares[i];
    const double norm = __builtin_sqrt(squares);
    // A norm that is not finite leaves the gradient as it is, so that divergence is seen.
    const double most = workspace.program->clip_norm;
    if (norm > most && norm < __builtin_inf()) finish.of_weights.factor = finish.of_biases.factor = most / norm;
    for (int64_t i = share.begin; i < share.end; i++) update_stored(workspace, workspace.places[i], finish);
    worker.meet();
}

void train(void* memory, const Rows& rows, const Chunk& chunk, const Worker& worker, double* losses) {
    Workspace& workspace = *static_cast<Workspace*>(memory);
    const Program& program = *workspace.program;
    const Optimizer& optimizer = *workspace.optimizer;
    const Share share = share_of(workspace, worker, chunk.batch_size);
    const bool by_norm = program.clip_norm > 0;
    const int64_t steps_before = workspace.step;
    prepare(workspace, workspace.W, worker, share);
    const int64_t steps_of_epoch = (chunk.epoch_rows + chunk.batch_size - 1) / chunk.batch_size;
    int64_t epoch = chunk.first_step / steps_of_epoch * chunk.epoch_rows;
    int64_t within = chunk.first_step % steps_of_epoch * chunk.batch_size;  // rows passed in this epoch
    for (int64_t s = chunk.first_step; s < chunk.last_step; s++) {
        const int64_t first = epoch + within, left = chunk.epoch_rows - within;
        const int64_t count = left < chunk.batch_size ? left : chunk.batch_size;
        const int64_t after = chunk.order_count - first - count, step = steps_before + s - chunk.first_step;
        within += count;
        if (within == chunk.epoch_rows) epoch += within, within = 0;
        const double divisor = static_cast<double>(count) * program.mean_weight;
        const double rate = chunk.learning_rates[s];
        const double limit = program.clip_value > 0 ? program.clip_value : __builtin_inf();
        Finish finish = {
            by_norm ? Finish::store : Finish::update,
            optimizer.ready(workspace.constants, rate, step + 1),
            {1 / divisor, program.l1, program.l2, rate * program.weight_decay, limit, 1},
            {1 / divisor, 0, 0, 0, limit, 1},
            optimizer.stays_at_0 && program.l1 == 0 && program.l2 == 0 && program.weight_decay == 0 && !by_norm &&
                !chunk.average_rates,
            chunk.average_rates != nullptr,
            chunk.average_rates ? static_cast<float>(1 - chunk.average_rates[s]) : 0,
        };
        const Selection batch = {rows, chunk.order, first, count, after < count ? after : count};
        const double total = go_through(workspace, workspace.W, batch, worker, share, finish, true, step);
        if (by_norm) clip_and_update(workspace, worker, share, finish);
        if (worker.number == 0) losses[s] = total / divisor;
    }
    if (worker.number == 0) workspace.step = steps_before + chunk.last_step - chunk.first_step;
}

// ---- looking at a W ------------------------------------------------------------------------------------------------

void gradient(void* memory, const Rows& rows, int64_t step, const Worker& worker, double* total) {
    Workspace& workspace = *static_cast<Workspace*>(memory);
    const Share share = share_of(workspace, worker, rows.count);
    prepare(workspace, workspace.trial, worker, share);
    const Finish finish = {Finish::store, {}, {}, {}, false, false, 0};
    const double found = go_through(
        workspace, workspace.trial, {rows, nullptr, 0, rows.count, 0}, worker, share, finish, step >= 0, step);
    if (worker.number == 0) *total = found;
}

void take_gradient(void* memory, double* result) {
    Workspace& workspace = *static_cast<Workspace*>(memory);
    export_vector(workspace, workspace.gradient, result);
    for (int64_t i = 0; i < workspace.place_count; i++) {
        const Place& place = workspace.places[i];
        if (!place.operation->adds()) continue;
        const Stretch& weights = place.tile.weights;
        memset(workspace.gradient + weights.start, 0, static_cast<size_t>(weights.count) * sizeof(float));
    }
}

// A unit that no worker has taken yet, or a number beyond them all.
int64_t take_unit(Workspace& workspace, const Worker& worker) {
    return worker.count == 1 ? workspace.next_unit++
                             : __atomic_fetch_add(&workspace.next_unit, 1, __ATOMIC_RELAXED);
}

void look(void* memory, const Rows& rows, int64_t step, const Worker& worker, double* total, float* outputs) {
    Workspace& workspace = *static_cast<Workspace*>(memory);
    const Output& output = *workspace.output;
    const int64_t unit = workspace.unit_rows, place = worker.number * unit;
    if (depth > 1 || workspace.has_tables)  // else the way forward reads W as it is
        prepare(workspace, workspace.trial, worker, share_of(workspace, worker, unit));
    double sum = 0;
    for (int64_t window = 0; window < rows.count; window += look_units * unit) {
        const int64_t left = rows.count - window, count = left < look_units * unit ? left : look_units * unit;
        const int64_t units = (count + unit - 1) / unit;
        for (int64_t u; (u = take_unit(workspace, worker)) < units;) {
            const int64_t first = window + u * unit, many = rows.count - first < unit ? rows.count - first : unit;
            const Pass pass = {
                workspace.trial, place, place + whole(many, 16), false, step >= 0, first - place, step};
            gather(workspace, {rows, nullptr, first - place, place + many, 0}, pass.first, pass.last, total != nullptr);
            for (int64_t i = 0; i < workspace.length; i++) workspace.chain[i]->forward(pass);
            if (rows.offsets) add_offsets(workspace, pass);
            if (outputs)
                for (int64_t k = 0; k < output.outputs; k++) {
                    const float* scores = output.scores + k * workspace.row_capacity + place;
                    float* to = outputs + first * output.outputs + k;
                    for (int64_t r = 0; r < many; r++) to[r * output.outputs] = scores[r];
                }
            if (!total) continue;
            losses_of_rows(workspace, pass);
            workspace.partial[u] = total_of_rows(workspace, place, place + many, rows.weights != nullptr);
        }
        worker.meet();
        if (worker.number == 0 && total)
            for (int64_t u = 0; u < units; u++) sum += workspace.partial[u];
        if (worker.number == 0) workspace.next_unit = 0;
        worker.meet();
    }
    if (worker.number == 0 && total) *total = sum;
}

// ---- in and out ----------------------------------------------------------------------------------------------------

void load_state(void* memory, const float* W, const float* vectors, const float* average, int64_t step) {
    Workspace& workspace = *static_cast<Workspace*>(memory);
    const auto clear = [&](float* padded) { memset(padded, 0, static_cast<size_t>(workspace.padded) * sizeof(float)); };
    clear(workspace.W);  // NaN spreads to the padding
    for (int i = 0; i < workspace.optimizer->memory; i++) clear(workspace.vectors[i]);
    import_vector(workspace, W, workspace.W);
    if (average) clear(workspace.average), import_vector(workspace, average, workspace.average);
    for (int i = 0; i < workspace.optimizer->memory; i++)
        import_vector(workspace, vectors + i * workspace.program->parameters, workspace.vectors[i]);
    workspace.step = step;
    workspace.updated_for = nullptr;
}

int64_t save_state(const void* memory, float* W, float* vectors, float* average) {
    const Workspace& workspace = *static_cast<const Workspace*>(memory);
    if (W) export_vector(workspace, workspace.W, W);
    if (average) export_vector(workspace, workspace.average, average);
    for (int i = 0; vectors && i < workspace.optimizer->memory; i++)
        export_vector(workspace, workspace.vectors[i], vectors + i * workspace.program->parameters);
    return workspace.step;
}

void look_at(void* memory, const float* W) {
    Workspace& workspace = *static_cast<Workspace*>(memory);
    import_vector(workspace, W, workspace.trial);
    if (workspace.updated_for == workspace.trial) workspace.updated_for = nullptr;
    workspace.next_unit = 0;  // a fork may have come in the middle of a look
}

}  // namespace

#define SCHUSS_TEXT_OF(name) #name
#define SCHUSS_TEXT(name) SCHUSS_TEXT_OF(name)

extern const Build build;
const Build build = {
    SCHUSS_TEXT(SCHUSS_BUILD), unknown, lay_out, batch_rows, look_rows, lay_out_batch, row_operations, load_state,
    save_state, look_at, train, gradient, take_gradient, look, images_below,
};

}  // namespace schuss::SCHUSS_BUILD
