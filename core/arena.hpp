// Memory for an engine: zeroed stretches, cut from a few large blocks that are freed together.
#pragma once

#include <cstddef>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "build.hpp"

namespace schuss {

// Memory could not be had; says how much.
class OutOfMemory : public std::bad_alloc {
  public:
    explicit OutOfMemory(size_t bytes);
    const char* what() const noexcept override { return message_.c_str(); }

  private:
    std::string message_;
};

class Arena {
  public:
    Arena() = default;
    Arena(const Arena&) = delete;
    Arena& operator=(const Arena&) = delete;

    // Throws OutOfMemory.
    Memory memory();

    // What has been cut so far; rewind gives back all that was cut after it.
    struct Mark {
        size_t blocks;
        size_t used;
    };
    Mark mark() const { return {blocks_.size(), blocks_.empty() ? 0 : blocks_.back().used}; }
    void rewind(const Mark& mark);

  private:
    void* stretch(size_t bytes);

    struct Free {
        size_t bytes;
        void operator()(char* block) const;
    };
    struct Block {
        std::unique_ptr<char, Free> start;
        size_t used;
    };
    std::vector<Block> blocks_;
};

}  // namespace schuss
