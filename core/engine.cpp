#include "engine.hpp"

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "dispatch.hpp"

namespace schuss {

void Engine::Free::operator()(void* memory) const { ::operator delete(memory, std::align_val_t{64}); }

Engine::Engine(Description description) : build_(chosen_build()), description_(std::move(description)), program_{} {
    for (const Description::Layer& layer : description_.layers) {
        layers_.push_back({layer.inputs, layer.outputs, layer.activation.c_str(), layer.start});
        program_.parameters += (layer.inputs + 1) * layer.outputs;
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

    if (const char* name = build_.unknown(program_))
        throw std::invalid_argument(
            "the core has no entry that fits " + std::string(name) +
            " (an activation, a loss, an optimiser or its constants).");

    const size_t bytes = build_.workspace_bytes(program_);
    workspace_.reset(::operator new(bytes, std::align_val_t{64}));
    std::memset(workspace_.get(), 0, bytes);
    build_.lay_out(program_, workspace_.get());
}

void Engine::load(const float* W, const float* vectors, int64_t step) {
    const std::lock_guard lock(busy_);
    build_.load(workspace_.get(), W, vectors, step);
}

int64_t Engine::state(float* W, float* vectors) {
    const std::lock_guard lock(busy_);
    return build_.state(workspace_.get(), W, vectors);
}

void Engine::train(const Rows& rows, const Chunk& chunk, double* losses) {
    const std::lock_guard lock(busy_);
    build_.train(workspace_.get(), rows, chunk, losses);
}

double Engine::gradient(const float* W, const Rows& rows, double* gradient) {
    const std::lock_guard lock(busy_);
    return build_.gradient(workspace_.get(), W, rows, gradient);
}

double Engine::total_loss(const float* W, const Rows& rows) {
    const std::lock_guard lock(busy_);
    return build_.total_loss(workspace_.get(), W, rows);
}

void Engine::outputs(const float* W, const Rows& rows, float* outputs) {
    const std::lock_guard lock(busy_);
    build_.outputs(workspace_.get(), W, rows, outputs);
}

}  // namespace schuss
