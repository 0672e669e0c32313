// How many threads a task is worth, found out by trying: another process may compete, and a small batch is not worth a
// barrier. What is found changes the speed and nothing else.
#pragma once

#include <cstdint>
#include <vector>

namespace schuss {

class Pace {
  public:
    // A stretch of steps with a number of threads.
    struct Spell {
        int threads;
        int64_t steps;
    };

    // The next spell, with at most `most` threads. operations: floating-point operations of a step.
    Spell next(int most, double operations);

    // It took so long.
    void took(const Spell& spell, double seconds);

  private:
    struct Choice {
        int threads;
        double seconds;  // of a step; 0: not tried
    };

    std::vector<Choice> choices_;  // 1, 2, 4, … and the most
    int64_t spells_ = 0;
    double operations_ = 0;
    double seconds_ = 0;  // of all spells
};

}  // namespace schuss
