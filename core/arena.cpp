#include "arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace schuss {

namespace {

constexpr size_t least_block = size_t{64} << 10;
constexpr size_t huge_page = size_t{2} << 20;
constexpr size_t least_mapped = size_t{1} << 20;  // smaller blocks come from the heap, whose pages were touched before

// Zeroed, beginning at a multiple of 64; null where there is none.
void* fresh(size_t size) {
    if (size < least_mapped) {
        void* const block = std::aligned_alloc(64, size);
        return block == nullptr ? nullptr : std::memset(block, 0, size);
    }
    void* const block = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return block == MAP_FAILED ? nullptr : block;
}

}  // namespace

OutOfMemory::OutOfMemory(size_t bytes)
    : message_("the engine could not get " + std::to_string(bytes) + " bytes (" +
               std::to_string(bytes >> 20) + " MiB) of memory for W and a batch: take a smaller network or batch.") {}

void Arena::Free::operator()(char* block) const {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(block, bytes);
#endif
    if (bytes < least_mapped)
        std::free(block);
    else
        munmap(block, bytes);
}

Memory Arena::memory() {
    return {this, [](void* owner, size_t bytes) { return static_cast<Arena*>(owner)->stretch(bytes); }};
}

void Arena::rewind(const Mark& mark) {
    blocks_.erase(blocks_.begin() + static_cast<std::ptrdiff_t>(mark.blocks), blocks_.end());
    if (blocks_.empty()) return;
    Block& block = blocks_.back();
    char* const given_back = block.start.get() + mark.used;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(given_back, block.used - mark.used);
#endif
    std::memset(given_back, 0, block.used - mark.used);
    block.used = mark.used;
}

void* Arena::stretch(size_t bytes) {
    if (bytes > SIZE_MAX / 4) throw OutOfMemory(bytes);
    // Arrays of equal size are walked through together, one read and one written. They must not lie a whole number of
    // pages apart, nor a little more: a processor takes a read for one of what it has just written when both lie at the
    // same place of a page. The sanitizer, which sees nothing but the block, is told that nobody may look there.
    constexpr size_t gap = 256;
    const size_t needed = (bytes + 63) / 64 * 64 + gap;
    if (blocks_.empty() || blocks_.back().start.get_deleter().bytes - blocks_.back().used < needed) {
        const size_t wanted = std::max(needed, least_block << std::min<size_t>(blocks_.size(), 8));
        const size_t page = wanted >= huge_page ? huge_page : 4096;
        const size_t size = (wanted + page - 1) / page * page;
        void* const block = fresh(size);
        if (block == nullptr) throw OutOfMemory(bytes);
#if defined(MADV_HUGEPAGE)
        if (size >= 2 * huge_page) madvise(block, size, MADV_HUGEPAGE);
#endif
        blocks_.push_back({std::unique_ptr<char, Free>(static_cast<char*>(block), Free{size}), 0});
    }
    Block& block = blocks_.back();
    char* start = block.start.get() + block.used;
    block.used += needed;
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(start + bytes, needed - bytes);
#endif
    return start;
}

}  // namespace schuss
