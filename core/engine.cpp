#include "engine.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "dispatch.hpp"

namespace schuss {

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

constexpr double worth_a_team = 3e6;     // operations of a task below which one thread does it
constexpr double worth_a_barrier = 2e5;  // operations of a step, likewise

}  // namespace

Engine::Engine(Description description, int threads, bool settle)
    : build_(chosen_build()),
      description_(std::move(description)),
      threads_(threads),
      settle_(settle),
      program_{},
      busy_(std::make_unique<std::mutex>()),
      process_(getpid()) {
    for (const Description::Layer& layer : description_.layers) {
        layers_.push_back({layer.kind.c_str(), layer.inputs, layer.outputs, layer.start, layer.activation.c_str(),
                           layer.rate});
        if (layer.kind == "dense") program_.parameters += (layer.inputs + 1) * layer.outputs;
    }
    for (const auto& [name, value] : description_.constants) constants_.push_back({name.c_str(), value});

    program_.layers = layers_.data();
    program_.layer_count = static_cast<int64_t>(layers_.size());
    program_.features = description_.features;
    program_.levels = description_.levels.data();
    program_.categories = static_cast<int64_t>(description_.levels.size());
    program_.targets = description_.targets;
    program_.loss = description_.loss.c_str();
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
            " (a layer, an activation, a loss, an optimiser or its constants).");
    workspace_ = build_.lay_out(program_, memory_.memory());
}

// One call at a time. In a forked child nobody is left who could hold the parent's lock.
std::unique_lock<std::mutex> Engine::lock() {
    if (process_ != getpid()) {
        (void)busy_.release();
        busy_ = std::make_unique<std::mutex>();
        process_ = getpid();
    }
    return std::unique_lock(*busy_);
}

int Engine::wanted_threads() const {
    const int usable = usable_threads();
    return threads_ > 0 ? std::min(threads_, usable) : usable;
}

// Batch memory for so many rows at a time.
void Engine::reserve_rows(int64_t rows) {
    if (rows <= row_capacity_) return;
    row_capacity_ = 0;
    batch_memory_.clear();
    build_.lay_out_batch(workspace_, batch_memory_.memory(), rows);
    row_capacity_ = rows;
}

void Engine::load(const float* W, const float* vectors, int64_t step) {
    const auto locked = lock();
    build_.load(workspace_, W, vectors, step);
}

int64_t Engine::state(float* W, float* vectors) {
    const auto locked = lock();
    return build_.state(workspace_, W, vectors);
}

void Engine::train(const Rows& rows, const Chunk& chunk, double* losses, const Watch& watch) {
    const auto locked = lock();
    reserve_rows(build_.batch_rows(workspace_, std::min(chunk.batch_size, chunk.epoch_rows)));
    const double operations = build_.row_operations(program_) * static_cast<double>(chunk.batch_size);
    const ThreadShare share(settle_ && operations < worth_a_barrier ? 1 : wanted_threads());
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
            build_.state(workspace_, path, nullptr);
            look(path, *watch.rows, std::min(share.count(), threads_to_look(*watch.rows)), false, outputs);
            path += program_.parameters;
            outputs += watch.rows->count * layers_.back().outputs;
        }
        pace_.took(spell, seconds);
    }
}

double Engine::gradient(const float* W, const Rows& rows, double* gradient) {
    const auto locked = lock();
    reserve_rows(build_.batch_rows(workspace_, rows.count));
    build_.look_at(workspace_, W);
    const double operations = build_.row_operations(program_) * static_cast<double>(rows.count);
    const ThreadShare share(settle_ && operations < worth_a_team ? 1 : wanted_threads());
    double total = 0;
    team_.run(share.count(), [&](const Worker& worker) {
        build_.gradient(workspace_, rows, worker, &total);
    });
    build_.take_gradient(workspace_, gradient);
    return total;
}

int Engine::threads_to_look(const Rows& rows) const {
    const double operations = build_.row_operations(program_) / 3 * static_cast<double>(rows.count);
    return settle_ && operations < worth_a_team ? 1 : wanted_threads();
}

double Engine::look(const float* W, const Rows& rows, int threads, bool with_loss, float* outputs) {
    reserve_rows(build_.look_rows(workspace_, threads));
    build_.look_at(workspace_, W);
    double total = 0;
    team_.run(threads, [&](const Worker& worker) {
        build_.look(workspace_, rows, worker, with_loss ? &total : nullptr, outputs);
    });
    return total;
}

double Engine::total_loss(const float* W, const Rows& rows) {
    const auto locked = lock();
    const ThreadShare share(threads_to_look(rows));
    return look(W, rows, share.count(), true, nullptr);
}

void Engine::outputs(const float* W, const Rows& rows, float* outputs) {
    const auto locked = lock();
    const ThreadShare share(threads_to_look(rows));
    look(W, rows, share.count(), false, outputs);
}

}  // namespace schuss
