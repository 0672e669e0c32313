#include "team.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
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

}  // namespace

void wait(Barrier& barrier) {
    const int generation = __atomic_load_n(&barrier.generation, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&barrier.arrived, 1, __ATOMIC_ACQ_REL) == barrier.count) {
        __atomic_store_n(&barrier.arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&barrier.generation, generation + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int spin = 0; __atomic_load_n(&barrier.generation, __ATOMIC_ACQUIRE) == generation; spin++)
        if (spin < spins)
            pause();
        else
            sched_yield();
}

// What the helpers of a team look at. A task is announced by a new number in `task_number`.
struct Team::Shared {
    std::atomic<int> task_number{0};
    std::atomic<int> at_work{0};
    Call call = nullptr;  // null: end
    const void* task = nullptr;
    int count = 0;
    Barrier barrier;
    std::vector<std::thread> helpers;
    pid_t process = 0;

    void help(int number, int seen) {
        for (;;) {
            for (int spin = 0; task_number.load(std::memory_order_acquire) == seen; spin++)
                if (spin < spins)
                    pause();
                else
                    task_number.wait(seen, std::memory_order_acquire);
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
        task_number.fetch_add(1, std::memory_order_release);
        task_number.notify_all();
    }

    void wait_for_helpers() const {
        for (int spin = 0; at_work.load(std::memory_order_acquire) > 0; spin++)
            if (spin < spins)
                pause();
            else
                sched_yield();
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
    if (shared_ && shared_->process != getpid()) (void)shared_.release();  // its threads stayed in the parent
    if (!shared_) {
        shared_ = std::make_unique<Shared>();
        shared_->process = getpid();
    }
    while (static_cast<int>(shared_->helpers.size()) < helpers) {
        const int number = static_cast<int>(shared_->helpers.size()) + 1;
        const int seen = shared_->task_number.load(std::memory_order_relaxed);
        try {
            shared_->helpers.emplace_back([shared = shared_.get(), number, seen] { shared->help(number, seen); });
        } catch (const std::system_error&) {
            return number - 1;  // the system has no more threads to give
        }
    }
    return helpers;
}

void Team::stop() {
    if (!shared_) return;
    if (shared_->process != getpid()) return (void)shared_.release();
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
    std::ifstream first_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), first_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
    double microseconds = 0;
    if (first_quota >> microseconds && first_period >> period && microseconds > 0) return microseconds / period;
    return 0;
}

int processors() {
    int count = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) count = CPU_COUNT(&set);
#endif
    static const double quota = quota_of_control_group();
    if (quota > 0) count = std::min(count, static_cast<int>(std::ceil(quota)));
    return std::max(count, 1);
}

// Threads at work in this process, of all engines together.
std::mutex budget;
int in_use = 0;
pid_t budget_of = 0;

}  // namespace

int usable_threads() {
    const char* wanted = std::getenv("SCHUSS_THREADS");
    if (wanted == nullptr || *wanted == '\0') return processors();
    const std::string text = wanted;
    int count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc() || end != text.data() + text.size() || count < 1 || count > 1024)
        throw std::invalid_argument("SCHUSS_THREADS is " + text + ": give a whole number from 1 to 1024, or nothing.");
    return count;
}

ThreadShare::ThreadShare(int wanted) {
    const int usable = wanted > 1 ? usable_threads() : 1;
    const std::lock_guard lock(budget);
    if (budget_of != getpid()) budget_of = getpid(), in_use = 0;
    count_ = std::max(1, std::min(wanted, usable - in_use));
    in_use += count_;
}

ThreadShare::~ThreadShare() {
    const std::lock_guard lock(budget);
    if (budget_of == getpid()) in_use -= count_;
}

}  // namespace schuss
