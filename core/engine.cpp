#include "engine.hpp"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "dispatch.hpp"

namespace schuss {

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

constexpr double worth_a_team = 3e6;     // operations of a task below which one thread does it
constexpr double worth_a_barrier = 2e5;  // operations of a step, likewise

void refuse_unequal(const Description& given) {
    const auto knots = std::accumulate(given.knot_counts.begin(), given.knot_counts.end(), int64_t{0});
    if (given.widths.size() != given.levels.size() ||
        static_cast<int64_t>(given.knot_counts.size()) != given.features ||
        static_cast<int64_t>(given.knots.size()) != knots)
        throw std::invalid_argument("each categorical column needs a width and each feature a count of its knots.");
}

}  // namespace

Engine::Engine(Description description, int threads, bool settle, const std::string& precision)
    : build_(chosen_build(precision)),
      description_(std::move(description)),
      threads_(threads),
      threads_of_environment_(threads_of_environment()),
      settle_(settle),
      program_{},
      batch_memory_{} {
    refuse_unequal(description_);
    for (const Description::Layer& layer : description_.layers)
        layers_.push_back({layer.kind.c_str(), layer.inputs, layer.outputs, layer.start, layer.activation.c_str(),
                           layer.number});
    for (const auto& [name, value] : description_.constants) constants_.push_back({name.c_str(), value});

    program_.layers = layers_.data();
    program_.layer_count = static_cast<int64_t>(layers_.size());
    program_.parameters = description_.parameters;
    program_.features = description_.features;
    program_.levels = description_.levels.data();
    program_.widths = description_.widths.data();
    program_.knot_counts = description_.knot_counts.data();
    program_.knots = description_.knots.data();
    program_.knot_width = description_.knot_width;
    program_.categories = static_cast<int64_t>(description_.levels.size());
    program_.targets = description_.targets;
    program_.loss = description_.loss.c_str();
    program_.loss_numbers = description_.loss_numbers.data();
    program_.loss_number_count = static_cast<int64_t>(description_.loss_numbers.size());
    program_.l1 = description_.l1;
    program_.l2 = description_.l2;
    program_.mean_weight = description_.mean_weight;
    program_.optimizer = description_.optimizer.c_str();
    program_.constants = constants_.data();
    program_.constant_count = static_cast<int64_t>(constants_.size());
    program_.weight_decay = description_.weight_decay;
    program_.clip_value = description_.clip_value;
    program_.clip_norm = description_.clip_norm;
    program_.seed = description_.seed;

    if (const char* name = build_.unknown(program_))
        throw std::invalid_argument(
            "the core has no entry that fits " + std::string(name) +
            " (a layer, an activation, a loss or an optimiser with its constants).");
    workspace_ = build_.lay_out(program_, memory_.memory());
    batch_memory_ = memory_.mark();
}

// Threads for a task of so many operations, which is worth more than one thread from `worth` on.
ThreadShare Engine::share_for(double operations, double worth) const {
    if (settle_ && operations < worth) return ThreadShare(1, 1);
    const int usable = threads_of_environment_ > 0 ? threads_of_environment_ : usable_processors();
    return ThreadShare(threads_ > 0 ? std::min(threads_, usable) : usable, usable);
}

// Batch memory for so many rows at a time, on so many threads.
void Engine::reserve(int64_t rows, int threads) {
    if (rows <= row_capacity_ && threads <= thread_capacity_) return;
    rows = std::max(rows, std::exchange(row_capacity_, 0));
    threads = std::max(threads, std::exchange(thread_capacity_, 0));
    memory_.rewind(batch_memory_);
    build_.lay_out_batch(workspace_, memory_.memory(), rows, threads);
    row_capacity_ = rows;
    thread_capacity_ = threads;
}

void Engine::load(const float* W, const float* vectors, const float* average, int64_t step) {
    const std::lock_guard locked(busy_);
    build_.load(workspace_, W, vectors, average, step);
}

int64_t Engine::state(float* W, float* vectors, float* average) {
    const std::lock_guard locked(busy_);
    return build_.state(workspace_, W, vectors, average);
}

void Engine::train(const Rows& rows, const Chunk& chunk, double* losses, const Watch& watch) {
    const std::lock_guard locked(busy_);
    const int64_t batch = std::min(chunk.batch_size, chunk.epoch_rows);
    const double operations = build_.row_operations(program_) * static_cast<double>(batch);
    const ThreadShare share = share_for(operations, worth_a_barrier);
    reserve(build_.batch_rows(workspace_, batch), share.count());
    const int64_t steps_of_epoch = (chunk.epoch_rows + chunk.batch_size - 1) / chunk.batch_size;
    float *path = watch.path, *outputs = watch.outputs;
    Chunk part = chunk;
    for (int64_t done = chunk.first_step; done < chunk.last_step;) {
        const int64_t left = chunk.last_step - done;
        Pace::Spell spell = settle_ ? pace_.next(share.count(), operations) : Pace::Spell{share.count(), left};
        spell.steps = std::min(spell.steps, left);
        double seconds = 0;
        for (const int64_t end = done + spell.steps; done < end; done = part.last_step) {
            const int64_t end_of_epoch = (done / steps_of_epoch + 1) * steps_of_epoch;
            part.first_step = done;
            part.last_step = watch.rows ? std::min(end, end_of_epoch) : end;
            const double began = now();
            team_.run(spell.threads, [&](const Worker& worker) {
                build_.train(workspace_, rows, part, worker, losses);
            });
            seconds += now() - began;
            if (!watch.rows || part.last_step < end_of_epoch) continue;
            const bool averaged = chunk.average_rates;
            build_.state(workspace_, averaged ? nullptr : path, nullptr, averaged ? path : nullptr);
            const bool alone = settle_ && operations_to_look(*watch.rows) < worth_a_team;
            look(path, *watch.rows, -1, alone ? 1 : share.count(), false, outputs);
            path += program_.parameters;
            outputs += watch.rows->count * layers_.back().outputs;
        }
        pace_.took(spell, seconds);
    }
}

double Engine::gradient(const float* W, const Rows& rows, int64_t step, double* gradient) {
    if (rows.count == 0) {  // which would leave the last one in its place
        std::fill_n(gradient, parameters(), 0.0);
        return 0;
    }
    const std::lock_guard locked(busy_);
    const double operations = build_.row_operations(program_) * static_cast<double>(rows.count);
    const ThreadShare share = share_for(operations, worth_a_team);
    reserve(build_.batch_rows(workspace_, rows.count), share.count());
    build_.look_at(workspace_, W);
    double total = 0;
    team_.run(share.count(), [&](const Worker& worker) {
        build_.gradient(workspace_, rows, step, worker, &total);
    });
    build_.take_gradient(workspace_, gradient);
    return total;
}

double Engine::operations_to_look(const Rows& rows) const {
    return build_.row_operations(program_) / 3 * static_cast<double>(rows.count);
}

// Of a locked engine.
double Engine::look(
    const float* W, const Rows& rows, int64_t step, int threads, bool with_loss, float* outputs
) {
    reserve(build_.look_rows(workspace_, threads), threads);
    build_.look_at(workspace_, W);
    double total = 0;
    team_.run(threads, [&](const Worker& worker) {
        build_.look(workspace_, rows, step, worker, with_loss ? &total : nullptr, outputs);
    });
    return total;
}

double Engine::total_loss(const float* W, const Rows& rows) {
    const std::lock_guard locked(busy_);
    const ThreadShare share = share_for(operations_to_look(rows), worth_a_team);
    return look(W, rows, -1, share.count(), true, nullptr);
}

void Engine::outputs(const float* W, const Rows& rows, int64_t step, float* outputs) {
    const std::lock_guard locked(busy_);
    const ThreadShare share = share_for(operations_to_look(rows), worth_a_team);
    look(W, rows, step, share.count(), false, outputs);
}

}  // namespace schuss
