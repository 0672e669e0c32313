#include "team.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace schuss {

namespace {

constexpr int spins = 4000;  // a barrier takes some 50 ns when all are at work; this is some 50 µs

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Waits for what other threads are about to do; `or_else` is for those who have waited long.
template <class Done, class Wait>
void spin_until(const Done& done, const Wait& or_else) {
    for (int spin = 0; !done();)
        if (spin < spins)
            spin++, pause();
        else
            or_else();
}

std::atomic<int> forks{0};   // that lie between the process that loaded this code and this one
std::atomic<int> in_use{0};  // threads at work in this process, of all engines together

[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { forks++, in_use = 0; });

}  // namespace

void wait(Barrier& barrier) {
    const unsigned generation = __atomic_load_n(&barrier.generation, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&barrier.arrived, 1, __ATOMIC_ACQ_REL) == barrier.count) {
        __atomic_store_n(&barrier.arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&barrier.generation, generation + 1, __ATOMIC_RELEASE);
        return;
    }
    spin_until([&] { return __atomic_load_n(&barrier.generation, __ATOMIC_ACQUIRE) != generation; }, sched_yield);
}

// What the helpers of a team look at. A task is announced by a new number in `task_number`, and every helper counts
// itself off in `at_work`, even one that has no part in the task: so none of them can miss the next one.
struct Team::Shared {
    std::atomic<unsigned> task_number{0};  // wraps around
    std::atomic<int> at_work{0};
    Call call = nullptr;  // null: end
    const void* task = nullptr;
    int count = 0;
    Barrier barrier;
    std::vector<std::thread> helpers;
    const int process = forks;

    void help(int number, unsigned seen) {
        for (;;) {
            spin_until(
                [&] { return task_number.load(std::memory_order_acquire) != seen; },
                [&] { task_number.wait(seen, std::memory_order_acquire); });
            seen++;
            const bool ends = call == nullptr;
            if (!ends && number < count) call(task, Worker{number, count, &barrier});
            at_work.fetch_sub(1, std::memory_order_release);
            if (ends) return;
        }
    }

    void announce(Call next, const void* its_task, int workers) {
        call = next, task = its_task, count = workers;
        barrier.count = workers;
        at_work.store(static_cast<int>(helpers.size()), std::memory_order_relaxed);
        task_number.fetch_add(1);  // before notify_all looks whether anyone sleeps, on every processor
        task_number.notify_all();
    }

    void wait_for_helpers() const {
        spin_until([&] { return at_work.load(std::memory_order_acquire) == 0; }, sched_yield);
    }
};

Team::Team() = default;

Team::~Team() { stop(); }

void Team::run(int count, Call call, const void* task) {
    if (count > 1) count = start(count - 1) + 1;
    if (count <= 1) return call(task, Worker{0, 1, nullptr});
    shared_->announce(call, task, count);
    call(task, Worker{0, count, &shared_->barrier});
    shared_->wait_for_helpers();
}

int Team::start(int helpers) {
    if (shared_ && shared_->process != forks) (void)shared_.release();  // its threads stayed in the parent
    if (!shared_) shared_ = std::make_unique<Shared>();
    while (static_cast<int>(shared_->helpers.size()) < helpers) {
        const int number = static_cast<int>(shared_->helpers.size()) + 1;
        const unsigned seen = shared_->task_number.load(std::memory_order_relaxed);
        try {
            shared_->helpers.emplace_back([shared = shared_.get(), number, seen] { shared->help(number, seen); });
        } catch (const std::exception&) {
            return number - 1;  // the system has no more threads or no memory to give
        }
    }
    return helpers;
}

void Team::stop() {
    if (!shared_) return;
    if (shared_->process != forks) return (void)shared_.release();
    shared_->announce(nullptr, nullptr, 0);
    for (std::thread& helper : shared_->helpers) helper.join();
}

namespace {

// Processors that the quota of our control group is worth, or 0 where there is none.
double quota_of_control_group() {
    std::ifstream second("/sys/fs/cgroup/cpu.max");  // version 2: "200000 100000" or "max 100000"
    std::string quota;
    double period = 0;
    if (second >> quota >> period) return quota == "max" ? 0 : std::strtod(quota.c_str(), nullptr) / period;
    std::ifstream first_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    std::ifstream first_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    double microseconds = 0;
    if (first_quota >> microseconds && first_period >> period && microseconds > 0) return microseconds / period;
    return 0;
}

}  // namespace

int usable_processors() {
    int count = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
#endif
    static const double quota = quota_of_control_group();
    if (quota > 0) count = std::min(count, static_cast<int>(std::ceil(quota)));
    return std::max(count, 1);
}

int threads_of_environment() {
    const char* wanted = std::getenv("SCHUSS_THREADS");
    if (wanted == nullptr || *wanted == '\0') return 0;
    const std::string text = wanted;
    int count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc() || end != text.data() + text.size() || count < 1 || count > 1024)
        throw std::invalid_argument("SCHUSS_THREADS is " + text + ": give a whole number from 1 to 1024, or nothing.");
    return count;
}

ThreadShare::ThreadShare(int wanted, int usable) {
    int before = in_use;
    do count_ = std::max(1, std::min(wanted, usable - before));
    while (!in_use.compare_exchange_weak(before, before + count_));
}

ThreadShare::~ThreadShare() { in_use -= count_; }

void ForkedMutex::lock() {
    const int own = forks;
    int holder = -1;
    while (!holder_.compare_exchange_strong(holder, own))  // from nobody, or from a thread that stayed in the parent
        if (holder == own) {
            holder_.wait(own);
            holder = -1;
        }
}

void ForkedMutex::unlock() {
    holder_ = -1;
    holder_.notify_one();
}

}  // namespace schuss
