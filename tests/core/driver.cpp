// The core without Python, for sanitizers to watch: every number of threads, engines side by side, one engine for many
// callers, forks. Compares W, gradients and outputs bit for bit; says what differs and ends with 1, or ends with 0.

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "dispatch.hpp"
#include "engine.hpp"
#include "numbers.hpp"

namespace {

using schuss::Description;
using schuss::Engine;

constexpr int most_threads = 4;
std::atomic<int> failures = 0;

void expect(bool holds, const std::string& what) {
    if (holds) return;
    failures++;
    std::fprintf(stderr, "differs: %s (%s)\n", what.c_str(), schuss::chosen_build().isa);
}

template <class Number>
bool same_bits(const std::vector<Number>& a, const std::vector<Number>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(Number)) == 0;
}

// Numbers from 0 to below 1: Weyl's sequence is random enough here.
struct Numbers {
    double state = 0;
    double next() { return state = std::fmod(state + 0.6180339887498949, 1.0); }
    float centred() { return static_cast<float>(2 * next() - 1); }
};

struct Table {
    std::vector<float> features, targets, weights, offsets;
    std::vector<int32_t> codes;
    std::vector<int64_t> order;

    schuss::Rows rows() const {
        return {features.data(), codes.data(), targets.data(), weights.data(), offsets.data(),
                static_cast<int64_t>(weights.size())};
    }
};

struct Case {
    const char* name;
    Description description;
    int64_t outputs;
    int64_t batch;
    int64_t rows;    // that are trained: some steps, the last one short
    int64_t looked;  // that are looked at: enough for a team, once for several windows
    const char* precision = "float32";

    Table table(int64_t count) const {
        Numbers numbers;
        Table table;
        for (int64_t row = 0; row < count; row++) {
            for (int64_t f = 0; f < description.features; f++) table.features.push_back(numbers.centred());
            for (const int64_t levels : description.levels)
                table.codes.push_back(static_cast<int32_t>(numbers.next() * static_cast<double>(levels + 1)) - 1);
            const bool any = description.loss == "squared_error" || description.loss == "quantile";
            for (int64_t t = 0; t < description.targets; t++)
                table.targets.push_back(any ? numbers.centred() : numbers.next() < 0.5);
            table.weights.push_back(static_cast<float>(numbers.next()));
            table.offsets.push_back(numbers.centred());
            table.order.push_back(row * 7 % count);
        }
        return table;
    }

    std::vector<float> start() const {
        Numbers numbers;
        std::vector<float> W(static_cast<size_t>(description.parameters));
        for (float& w : W) w = 0.3f * numbers.centred();
        return W;
    }
};

Description description(
    std::vector<Description::Layer> layers, int64_t features, std::vector<int64_t> levels, int64_t targets,
    const char* loss, std::vector<float> loss_numbers, const char* optimizer,
    std::vector<std::pair<std::string, double>> constants, double clip_value = 0, double clip_norm = 0,
    const std::vector<int64_t>& bins = {}, int64_t knot_width = 0
) {
    const bool adagrad = std::strcmp(optimizer, "adagrad") == 0;  // with neither, it visits what a batch touches
    int64_t parameters = 0, all_bins = 0;
    std::vector<int64_t> widths(levels.size(), 0), knot_counts(static_cast<size_t>(features), 0);
    std::vector<float> knots;
    for (size_t f = 0; f < bins.size(); f++) {
        all_bins += bins[f];
        knot_counts[f] = bins[f] ? bins[f] + 1 : 0;
        for (int64_t k = 0; k < knot_counts[f]; k++)
            knots.push_back(2 * static_cast<float>(k) / static_cast<float>(bins[f]) - 1);
    }
    for (const auto& layer : layers) {
        if (layer.kind == "dense") parameters += (layer.inputs + 1) * layer.outputs;
        if (layer.kind == "layer_norm") parameters += 2 * layer.outputs;
        if (layer.kind != "embedding") continue;
        const auto vectors = static_cast<int64_t>(std::count_if(bins.begin(), bins.end(), [](auto n) { return n > 0; }));
        for (size_t c = 0; c < levels.size(); c++) {
            widths[c] = (layer.outputs - features - vectors * knot_width) / static_cast<int64_t>(levels.size());
            parameters += levels[c] * widths[c];
        }
        parameters += all_bins * knot_width;
    }
    return {std::move(layers), parameters, features, std::move(levels), std::move(widths), std::move(knot_counts),
            std::move(knots), knot_width, targets, loss, std::move(loss_numbers),
            adagrad ? 0 : 0.001, adagrad ? 0 : 0.01, 0.8, optimizer, std::move(constants), adagrad ? 0 : 0.1,
            clip_value, clip_norm, 0x123456789abcdef};
}

std::vector<Case> cases() {
    const std::vector<std::pair<std::string, double>> adam = {{"beta1", 0.9}, {"beta2", 0.999}, {"epsilon", 1e-8}};
    std::vector<Case> all = {
        {"deep, with dropout and categories",
         description({{"dense", 14, 37, 0, "tanh", 0},
                      {"dropout", 37, 37, 0, "", 0.25},
                      {"dense", 37, 17, 15 * 37, "relu", 0},
                      {"dropout", 17, 17, 0, "", 0.5},
                      {"dense", 17, 3, 15 * 37 + 38 * 17, "identity", 0}},
                     9, {4, 1}, 3, "squared_error", {}, "adam", adam),
         3, 77, 77 * 5 + 30, 17000},
        {"every kind of layer",
         description({{"embedding", 9 + 5, 9 + 2 * 7, 0, "", 0},
                      {"layer_norm", 23, 23, 35, "relu", 1e-5},
                      {"dropout", 23, 23, 0, "", 0.25},
                      {"fork", 23, 23, 0, "", 0},
                      {"dropout", 23, 23, 0, "", 0.5},
                      {"dense", 23, 37, 81, "relu", 0},
                      {"fork", 37, 37, 0, "", 0},
                      {"layer_norm", 37, 37, 81 + 24 * 37, "gelu", 1e-5},
                      {"join", 37, 37, 0, "", 0},
                      {"dense", 37, 23, 81 + 26 * 37, "identity", 0},
                      {"join", 23, 23, 0, "", 0},
                      {"dense", 23, 3, 81 + 26 * 37 + 38 * 23, "identity", 0}},
                     9, {4, 1}, 3, "squared_error", {}, "adam", adam),
         3, 77, 77 * 5 + 30, 17000},
        {"touched vectors of an embedding alone",
         description({{"embedding", 50, 6, 0, "", 0}, {"dense", 6, 2, 150, "identity", 0}}, 0, {40, 10}, 1,
                     "cross_entropy", {0}, "adagrad", {{"epsilon", 1e-10}}),
         2, 32, 32 * 9 + 1, 3000},
        {"linear, categories alone, touched rows alone",
         description({{"dense", 50, 2, 0, "identity", 0}}, 0, {40, 10}, 1, "cross_entropy", {0.1f},
                     "adagrad", {{"epsilon", 1e-10}}),
         2, 32, 32 * 9 + 1, 3000},
        {"clipped by its norm",
         description({{"dense", 45, 33, 0, "gelu", 0}, {"dense", 33, 1, 46 * 33, "identity", 0}}, 40, {5}, 1,
                     "log_loss", {0}, "momentum", {{"momentum", 0.9}}, 0, 0.05),
         1, 64, 64 * 4 + 7, 3000},
        {"piecewise linear, with categories",
         description({{"dense", 9 + 5 + 60, 37, 0, "relu", 0}, {"dense", 37, 3, 75 * 37, "identity", 0}}, 9, {4, 1}, 3,
                     "squared_error", {}, "adam", adam, 0, 0, {1, 0, 40, 2, 0, 0, 17}),
         3, 77, 77 * 5 + 30, 17000},
        {"piecewise linear, without a hidden layer",
         description({{"dense", 3 + 41, 2, 0, "identity", 0}}, 3, {}, 1, "cross_entropy", {0}, "adagrad",
                     {{"epsilon", 1e-10}}, 0, 0.05, {1, 40}),
         2, 32, 32 * 9 + 1, 3000},
        {"vectors of features with knots",
         description({{"embedding", 9 + 5 + 60, 9 + 2 * 7 + 4 * 3, 0, "", 0},
                      {"dropout", 35, 35, 0, "", 0.25},
                      {"dense", 35, 3, 5 * 7 + 60 * 3, "identity", 0}},
                     9, {4, 1}, 3, "squared_error", {}, "adam", adam, 0, 0, {1, 0, 40, 2, 0, 0, 17}, 3),
         3, 77, 77 * 5 + 30, 17000},
        {"quantiles, behind a layer norm of the features",
         description({{"layer_norm", 9, 9, 0, "identity", 1e-5}, {"dense", 9, 3, 18, "identity", 0}}, 9, {}, 1,
                     "quantile", {0.1f, 0.5f, 0.8f}, "nadam", adam),
         3, 50, 50 * 6 + 3, 3000},
        {"a deviance, behind a block of the features",
         description({{"fork", 9, 9, 0, "", 0},
                      {"dense", 9, 9, 0, "silu", 0},
                      {"join", 9, 9, 0, "", 0},
                      {"dense", 9, 2, 90, "identity", 0}},
                     9, {}, 2, "tweedie", {1.5f}, "gradient_descent", {}),
         2, 50, 50 * 6 + 3, 3000},
        {"batches longer than a segment",
         description({{"dense", 6, 8192, 0, "relu", 0}, {"dense", 8192, 1, 7 * 8192, "identity", 0}}, 3, {3}, 1,
                     "squared_error", {}, "adagrad", {{"epsilon", 1e-10}}, 0.01),
         1, 1100, 1100 + 20, 1100},
    };
    if (schuss::bf16_build()) {
        for (size_t i = 0; i < 2; i++) {
            all.push_back(all[i]);
            all.back().name = i ? "every kind of layer, with products in bf16" : "deep, with products in bf16";
            all.back().precision = "bf16";
        }
    }
    return all;
}

struct Result {
    std::vector<float> W, average;
    std::vector<double> losses;
};

// A training with all its memory taken beforehand: a fork in the middle of the
// sanitizer's allocator would leave a child that waits for it for ever.
class Training {
  public:
    explicit Training(const Case& of)
        : of_(of), table_(of.table(of.rows)), start_(of.start()), vectors_(2 * start_.size()),
          rates_(static_cast<size_t>((of.rows + of.batch - 1) / of.batch), 0.01),
          average_rates_(rates_.size(), 0.3), averaged_(of.description.optimizer != "adagrad"),
          reached_{start_, start_, std::vector<double>(rates_.size())} {}

    const Result& run(Engine& engine) {
        std::fill(vectors_.begin(), vectors_.end(), 0.0f);
        engine.load(start_.data(), vectors_.data(), averaged_ ? start_.data() : nullptr, 0);
        const auto steps = static_cast<int64_t>(rates_.size());
        const double* const average_rates = averaged_ ? average_rates_.data() : nullptr;
        engine.train(
            table_.rows(), {table_.order.data(), of_.rows, of_.rows, of_.batch, rates_.data(), average_rates, 0, steps},
            reached_.losses.data(), {});
        engine.state(reached_.W.data(), vectors_.data(), averaged_ ? reached_.average.data() : nullptr);
        return reached_;
    }

  private:
    const Case& of_;
    Table table_;
    std::vector<float> start_, vectors_;
    std::vector<double> rates_, average_rates_;
    bool averaged_;  // else only what a batch touches is visited
    Result reached_;
};

Result trained(const Case& of, Engine& engine) { return Training(of).run(engine); }

Result trained(const Case& of, int threads, bool settle) {
    Engine engine(of.description, threads, settle, of.precision);
    return trained(of, engine);
}

struct Look {
    std::vector<double> gradient, losses;
    std::vector<float> outputs;
};

Look looked(const Case& of, const Table& table, Engine& engine) {
    const std::vector<float> W = of.start();
    const schuss::Rows rows = table.rows();
    Look look = {std::vector<double>(W.size()), {}, std::vector<float>(static_cast<size_t>(rows.count * of.outputs))};
    look.losses.push_back(engine.gradient(W.data(), rows, -1, look.gradient.data()));
    look.losses.push_back(engine.total_loss(W.data(), rows));
    engine.outputs(W.data(), rows, -1, look.outputs.data());
    return look;
}

void expect_same(const Look& a, const Look& b, const std::string& what) {
    expect(same_bits(a.gradient, b.gradient), what + ": gradient");
    expect(same_bits(a.losses, b.losses), what + ": losses");
    expect(same_bits(a.outputs, b.outputs), what + ": outputs");
}

void expect_same(const Result& a, const Result& b, const std::string& what) {
    expect(same_bits(a.W, b.W), what + ": W");
    expect(same_bits(a.average, b.average), what + ": its average");
    expect(same_bits(a.losses, b.losses), what + ": losses of batches");
    expect(std::isfinite(a.losses.back()), what + ": finite");
}

void at_once(int count, const std::function<void(int)>& work) {
    std::vector<std::thread> threads;
    for (int i = 0; i < count; i++) threads.emplace_back(work, i);
    for (std::thread& thread : threads) thread.join();
}

void the_bits_do_not_depend_on_the_threads(const Case& of) {
    const Result alone = trained(of, 1, false);
    expect(!same_bits(alone.W, of.start()), "it trains");
    for (int threads = 2; threads <= most_threads; threads++)
        expect_same(trained(of, threads, false), alone, std::string(of.name) + ", " + std::to_string(threads));
    expect_same(trained(of, most_threads, true), alone, std::string(of.name) + ", settling");

    const Table table = of.table(of.looked);
    Engine one(of.description, 1, false, of.precision);
    const Look by_one = looked(of, table, one);
    for (int threads = 2; threads <= most_threads; threads++) {
        Engine engine(of.description, threads, false, of.precision);
        const std::string who = std::string(of.name) + ", looked at by " + std::to_string(threads);
        expect_same(looked(of, table, engine), by_one, who);
    }
}

void engines_side_by_side_do_what_they_do_alone(const std::vector<Case>& all) {
    std::vector<Result> alone;
    for (const Case& of : all) alone.push_back(trained(of, 1, false));
    at_once(2 * static_cast<int>(all.size()), [&](int i) {
        const size_t which = static_cast<size_t>(i) % all.size();
        expect_same(trained(all[which], most_threads, i % 2), alone[which], std::string(all[which].name) + ", at once");
    });
}

void callers_of_one_engine_take_turns(const Case& of) {
    const Table table = of.table(3000);
    Engine engine(of.description, most_threads, true, of.precision);
    const Look alone = looked(of, table, engine);
    const Result expected = trained(of, engine);
    at_once(most_threads, [&](int i) {
        for (int again = 0; again < 3; again++) {
            if (i == 0) expect_same(trained(of, engine), expected, "trained meanwhile");
            expect_same(looked(of, table, engine), alone, "looked at meanwhile");
        }
    });
}

void images_do_not_depend_on_the_width_of_a_number() {
    Numbers numbers;
    schuss::Bijection of = {};
    for (int r = 0; r < of.rounds; r++) {
        of.factor[r] = static_cast<uint64_t>(1e18 * numbers.next()) * 8 + 5;
        of.addend[r] = static_cast<uint64_t>(1e18 * numbers.next());
    }
    for (of.bits = 31; of.bits < 36; of.bits++)
        for (const schuss::Build* build : schuss::available_builds()) {
            const int64_t first = int64_t{1} << (of.bits - 1), last = first + 1024, limit = first / 3 * 4;
            std::vector<int64_t> expected;
            for (int64_t number = first; number < last; number++) {
                uint64_t x = static_cast<uint64_t>(number);
                for (int r = 0; r < of.rounds; r++) {
                    x = (x * of.factor[r] + of.addend[r]) % (uint64_t{1} << of.bits);
                    x ^= x >> of.half();
                }
                if (static_cast<int64_t>(x) < limit) expected.push_back(static_cast<int64_t>(x));
            }
            std::vector<int64_t> found(expected.size());  // not one more may be written
            const int64_t count =
                build->images_below(of, first, last, limit, found.data(), static_cast<int64_t>(found.size()));
            expect(static_cast<size_t>(count) == expected.size() && found == expected, "images");
        }
}

void no_more_helpers_are_at_work_than_are_usable() {
    constexpr int usable = 5;
    std::atomic<int> helpers = 0;
    at_once(4, [&](int i) {
        for (int again = 0; again < 1000; again++) {
            const schuss::ThreadShare share(1 + (i + again) % 8, usable);
            const int mine = share.count() - 1;
            expect(share.count() >= 1 && share.count() <= 1 + (i + again) % 8, "a share");
            expect((helpers += mine) <= usable - 1, "the sum of shares");
            helpers -= mine;
        }
    });
    expect(schuss::ThreadShare(99, usable).count() == usable, "all of them afterwards");
}

#if !defined(__SANITIZE_THREAD__)  // which does not follow a process with threads into its child
void a_forked_child_has_threads_of_its_own(const Case& of) {
    Engine engine(of.description, most_threads, false, of.precision);
    const Result expected = trained(of, engine);
    const auto child_does = [&](const std::function<void()>& work) {
        const pid_t child = fork();
        if (child == 0) {
            failures = 0;
            alarm(120);  // the end of a child that hangs
            work();
            _exit(failures > 0);
        }
        int status = -1;
        waitpid(child, &status, 0);
        expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a forked child");
    };
    child_does([&] {
        expect_same(trained(of, engine), expected, "the parent's engine in a child");
        expect_same(trained(of, most_threads, true), expected, "a child's own engine");
        at_once(2, [&](int i) {
            if (i == 0) expect_same(trained(of, engine), expected, "the parent's engine in threads of a child");
            if (i == 1) looked(of, of.table(3000), engine);
        });
        child_does([&] { expect_same(trained(of, engine), expected, "in a grandchild"); });
    });
    // While another thread holds the engine and the threads: the child has neither of them against it.
    std::atomic<bool> at_work = false, done = false;
    std::thread busy([&, training = Training(of)]() mutable {
        for (; !done; at_work = true) training.run(engine);
    });
    while (!at_work) std::this_thread::yield();
    for (int again = 0; again < 5; again++)
        child_does([&] {
            expect(schuss::ThreadShare(most_threads, most_threads).count() == most_threads, "all threads in a child");
            expect_same(trained(of, most_threads, false), expected, "a child of a busy parent");
            std::vector<float> W(of.start()), vectors(2 * W.size());
            engine.load(W.data(), vectors.data(), nullptr, 0);  // does not wait for the parent's thread
        });
    done = true;
    busy.join();
    expect_same(trained(of, engine), expected, "the parent afterwards");
}
#endif

// Any text is read to its end and no further.
void numbers_are_read_from_any_text() {
    constexpr std::string_view letters = "0123456789012345678.-,\n\r\"eE x";
    const std::vector<std::string_view> missing = {"x", "-1"};
    const std::vector<int> places = {1, -1, 0};
    Numbers numbers;
    for (int again = 0; again < 20000; again++) {
        std::string text;
        for (int length = static_cast<int>(numbers.next() * 150); length > 0; length--)
            text += letters[static_cast<size_t>(numbers.next() * letters.size())];
        const std::vector<char> exact(text.c_str(), text.c_str() + text.size() + 1);  // so that a byte more is seen
        const int64_t most = std::count(text.begin(), text.end(), '\n') + 1;
        std::vector<int64_t> values(static_cast<size_t>(2 * most));
        std::vector<uint8_t> present(static_cast<size_t>(2 * most), 0xff);
        std::vector<schuss::NumberColumn> columns;
        for (int64_t i = 0; i < 2; i++) {
            int64_t* const data = values.data() + i * most;
            columns.push_back({data, reinterpret_cast<double*>(data), present.data() + i * most, 0, {}});
        }
        const std::string_view view(exact.data(), text.size());
        const int64_t rows = schuss::read_numbers(view, ',', places, columns, missing, most);
        expect(rows >= -1 && rows <= most, "rows of '" + text + "'");
    }
}

}  // namespace

int main() {
    setenv("SCHUSS_THREADS", std::to_string(most_threads).c_str(), 1);
    for (const schuss::Build* build : schuss::available_builds()) {
        setenv("SCHUSS_ISA", build->isa, 1);
        // A long batch takes long, and bf16 has one build: once will do.
        const bool best = build == schuss::available_builds().back();
        for (const Case& of : cases())
            if (best || (of.batch < 1000 && std::string(of.precision) == "float32"))
                the_bits_do_not_depend_on_the_threads(of);
    }
    engines_side_by_side_do_what_they_do_alone(cases());
    callers_of_one_engine_take_turns(cases()[0]);
    no_more_helpers_are_at_work_than_are_usable();
    images_do_not_depend_on_the_width_of_a_number();
    numbers_are_read_from_any_text();
#if !defined(__SANITIZE_THREAD__)
    a_forked_child_has_threads_of_its_own(cases()[0]);
#endif
    return failures > 0;
}
