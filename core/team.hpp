// Threads that work on one task together, their barrier, and how many of them this process may use.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace schuss {

// All workers of a task wait for each other: for a while without giving up the processor, then politely.
struct Barrier {
    alignas(64) int arrived = 0;
    alignas(64) unsigned generation = 0;  // wraps around
    int count = 1;
};
void wait(Barrier& barrier);

// One of the threads that a task is shared out to.
struct Worker {
    int number;  // 0 ≤ number < count
    int count;
    Barrier* barrier;

    void meet() const {
        if (count > 1) wait(*barrier);
    }
    // The worker's part of `total` pieces that lie in a row: from begin(total) up to end(total).
    int64_t begin(int64_t total) const { return count == 1 ? 0 : total * number / count; }
    int64_t end(int64_t total) const { return count == 1 ? total : total * (number + 1) / count; }
};

// Threads that wait for tasks. They are started when first needed, and again in a process that was forked.
class Team {
  public:
    Team();
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    // Calls task(worker) on up to `count` threads, the calling one among them, and returns when all have ended.
    template <class Task>
    void run(int count, const Task& task) {
        static_assert(std::is_invocable_v<const Task&, const Worker&>);
        run(count, [](const void* t, const Worker& worker) { (*static_cast<const Task*>(t))(worker); }, &task);
    }

  private:
    using Call = void (*)(const void* task, const Worker& worker);
    struct Shared;
    void run(int count, Call call, const void* task);
    int start(int helpers);  // returns how many there are, at most that many
    void stop();

    std::unique_ptr<Shared> shared_;
};

// A mutex that a forked child finds free: the threads that could have held it stayed in the parent.
class ForkedMutex {
  public:
    void lock();
    void unlock();

  private:
    std::atomic<int> holder_{-1};  // forks that lie before the process that holds it, or -1
};

// Processors that this process may use: its affinity, within the quota of its control group.
int usable_processors();

// What the environment variable SCHUSS_THREADS says instead, or 0 where it says nothing. Throws std::invalid_argument
// where it is not a number from 1 to 1024. For the thread that may change the environment.
int threads_of_environment();

// A share of the usable threads of the process, held while a task runs: the calling thread, and as many more as were
// wanted and are not at work elsewhere in this process.
class ThreadShare {
  public:
    ThreadShare(int wanted, int usable);
    ~ThreadShare();
    ThreadShare(const ThreadShare&) = delete;
    ThreadShare& operator=(const ThreadShare&) = delete;
    int count() const { return count_; }

  private:
    int count_;
};

}  // namespace schuss
