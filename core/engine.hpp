// Engine: owns the program, the workspace and the lock of one native engine. What it is given was checked in Python.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "build.hpp"

namespace schuss {

// The network, the cost and the rule as Python passes them.
struct Description {
    struct Layer {
        int64_t inputs, outputs;
        std::string activation;
        int64_t start;
    };
    std::vector<Layer> layers;
    int64_t features;
    std::vector<int64_t> levels;
    int64_t targets;
    std::string loss;
    double l2, mean_weight;
    std::string optimizer;
    std::vector<std::pair<std::string, double>> constants;
    double weight_decay;
};

class Engine {
  public:
    // Throws std::invalid_argument for a name that is not known, std::bad_alloc where the memory cannot be had.
    explicit Engine(Description description);
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    const char* isa() const { return build_.isa; }
    int64_t parameters() const { return program_.parameters; }

    // As in Build; one call at a time.
    void load(const float* W, const float* vectors, int64_t step);
    int64_t state(float* W, float* vectors);
    void train(const Rows& rows, const Chunk& chunk, double* losses);
    double gradient(const float* W, const Rows& rows, double* gradient);
    double total_loss(const float* W, const Rows& rows);
    void outputs(const float* W, const Rows& rows, float* outputs);

  private:
    struct Free {
        void operator()(void* memory) const;
    };

    const Build& build_;
    const Description description_;  // the program points into it
    std::vector<Layer> layers_;
    std::vector<Constant> constants_;
    Program program_;
    std::unique_ptr<void, Free> workspace_;
    std::mutex busy_;
};

}  // namespace schuss
