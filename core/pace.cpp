#include "pace.hpp"

#include <algorithm>

namespace schuss {

namespace {

constexpr double spell_seconds = 2e-3;
constexpr double alone_seconds = 10e-3;  // of work before a team is started at all: many fits are over by then
constexpr double cautious_speed = 2e10;  // operations a second, before anything is measured
constexpr int64_t trial_every = 48;      // spells: some 100 ms

}  // namespace

Pace::Spell Pace::next(int most, double operations) {
    if (seconds_ < alone_seconds) most = 1;
    if (choices_.empty() || choices_.back().threads != most || operations != operations_) {
        choices_.clear();
        for (int threads = 1; threads < most; threads *= 2) choices_.push_back({threads, 0});
        choices_.push_back({most, 0});
        operations_ = operations;
        spells_ = 0;
    }
    const Choice* best = &choices_.back();  // the first spell of all warms up with all threads
    const auto untried = std::find_if(choices_.begin(), choices_.end(), [](const Choice& c) { return c.seconds == 0; });
    if (untried != choices_.end()) {
        if (spells_ > 0) best = &*untried;
    } else {
        for (const Choice& choice : choices_)
            if (choice.seconds < best->seconds) best = &choice;
        if (spells_ % trial_every == 0 && choices_.size() > 1) {
            const auto chosen = static_cast<size_t>(best - choices_.data());
            const size_t ahead = 1 + static_cast<size_t>(spells_ / trial_every) % (choices_.size() - 1);
            best = &choices_[(chosen + ahead) % choices_.size()];  // another than the best
        }
    }
    spells_++;
    const double seconds = best->seconds > 0 ? best->seconds : operations / cautious_speed;
    return {best->threads, std::max<int64_t>(1, static_cast<int64_t>(spell_seconds / seconds))};
}

void Pace::took(const Spell& spell, double seconds) {
    const double of_a_step = seconds / static_cast<double>(spell.steps);
    seconds_ += seconds;
    for (Choice& choice : choices_)
        if (choice.threads == spell.threads && spells_ > 1)
            choice.seconds = choice.seconds > 0 ? (choice.seconds + of_a_step) / 2 : of_a_step;
}

}  // namespace schuss
