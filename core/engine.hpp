// Engine: owns the program, the memory, the threads and the lock of one native engine. What it is given was checked in
// Python.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "arena.hpp"
#include "build.hpp"
#include "pace.hpp"
#include "team.hpp"

namespace schuss {

// The network, the cost and the rule as Python passes them.
struct Description {
    struct Layer {
        std::string kind;
        int64_t inputs, outputs, start;
        std::string activation;
        double number;
    };
    std::vector<Layer> layers;
    int64_t parameters;
    int64_t features;
    std::vector<int64_t> levels, widths, knot_counts;
    std::vector<float> knots;
    int64_t knot_width;
    int64_t targets;
    std::string loss;
    std::vector<float> loss_numbers;
    double l1, l2, mean_weight;
    std::string optimizer;
    std::vector<std::pair<std::string, double>> constants;
    double weight_decay, clip_value, clip_norm;
    uint64_t seed;
};

// What is wanted of each epoch: W, or its average, after it, path [epochs, P], and the outputs [epochs, N, K] of these
// rows there.
struct Watch {
    const Rows* rows;  // null: nothing is wanted
    float* path;
    float* outputs;
};

class Engine {
  public:
    // threads: at most so many; 0 for as many as the process may use. settle: how many of them train is found out by
    // trying; otherwise all do.
    // precision: float32, or bf16 for the products of hidden layers.
    // Throws std::invalid_argument for a name that is not known, an environment that makes no sense and where this
    // processor cannot do what is wanted, OutOfMemory where the memory cannot be had.
    Engine(Description description, int threads, bool settle, const std::string& precision);
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    const char* isa() const { return build_.isa; }
    int64_t parameters() const { return program_.parameters; }

    // As in Build; one call at a time. Those that look at rows throw OutOfMemory, after which a smaller batch may do.
    void load(const float* W, const float* vectors, const float* average, int64_t step);
    int64_t state(float* W, float* vectors, float* average);
    void train(const Rows& rows, const Chunk& chunk, double* losses, const Watch& watch);
    double gradient(const float* W, const Rows& rows, int64_t step, double* gradient);
    double total_loss(const float* W, const Rows& rows);
    void outputs(const float* W, const Rows& rows, int64_t step, float* outputs);

  private:
    ThreadShare share_for(double operations, double worth) const;
    void reserve(int64_t rows, int threads);
    double operations_to_look(const Rows& rows) const;
    double look(const float* W, const Rows& rows, int64_t step, int threads, bool with_loss, float* outputs);

    const Build& build_;
    const Description description_;  // the program points into it
    const int threads_;
    const int threads_of_environment_;
    const bool settle_;
    std::vector<Layer> layers_;
    std::vector<Constant> constants_;
    Program program_;
    Arena memory_;
    void* workspace_;
    Arena::Mark batch_memory_;  // begins here
    int64_t row_capacity_ = 0;
    int thread_capacity_ = 0;
    Team team_;
    Pace pace_;
    ForkedMutex busy_;
};

}  // namespace schuss
