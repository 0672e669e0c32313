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
    void clear() { blocks_.clear(); }

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
