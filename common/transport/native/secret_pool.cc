#include "secret_pool.h"

#include <openssl/crypto.h>
#include <string.h>
#include <sys/mman.h>

#include <cstdint>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(bytes, length)
#define ASAN_UNPOISON_MEMORY_REGION(bytes, length)
#endif

namespace longline {

namespace {

constexpr size_t kBlockBytes = 64 << 10;

// Returns kBlockBytes at a multiple of kBlockBytes, or nullptr.
void *mapBlock() {
  void *mapped = mmap(nullptr, 2 * kBlockBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto *first = static_cast<char *>(mapped);
  size_t before = -reinterpret_cast<uintptr_t>(first) % kBlockBytes;
  if (before > 0) munmap(first, before);
  munmap(first + before + kBlockBytes, kBlockBytes - before);
  madvise(first + before, kBlockBytes, MADV_DONTDUMP);
  return first + before;
}

}  // namespace

SecretPool::SecretPool(size_t cellBytes)
    : cellBytes_((cellBytes + sizeof(Cell) - 1) / sizeof(Cell) * sizeof(Cell)) {}

// All cells were given back, and empty blocks are unmapped except the last.
SecretPool::~SecretPool() {
  while (available_ != nullptr) {
    Block *block = available_;
    unlink(block);
    munmap(block, kBlockBytes);
  }
}

void *SecretPool::take() {
  Block *block = available_ != nullptr ? available_ : addBlock();
  if (block == nullptr) return nullptr;
  void *cell = block->free;
  if (cell == nullptr) {
    cell = reinterpret_cast<char *>(block) + block->unusedAt;
    block->unusedAt += cellBytes_;
  }
  ASAN_UNPOISON_MEMORY_REGION(cell, cellBytes_);
  if (cell == block->free) block->free = block->free->next;
  memset(cell, 0, sizeof(Cell));
  block->usedCount++;
  if (isFull(block)) unlink(block);
  return cell;
}

void SecretPool::give(void *cell) {
  auto *block = reinterpret_cast<Block *>(reinterpret_cast<uintptr_t>(cell) & ~(kBlockBytes - 1));
  bool wasFull = isFull(block);
  OPENSSL_cleanse(cell, cellBytes_);
  auto *free = static_cast<Cell *>(cell);
  free->next = block->free;
  block->free = free;
  ASAN_POISON_MEMORY_REGION(cell, cellBytes_);
  block->usedCount--;
  if (wasFull) link(block);
  bool isOnlyOne = available_ == block && block->next == nullptr;
  if (block->usedCount > 0 || isOnlyOne) return;
  unlink(block);
  ASAN_UNPOISON_MEMORY_REGION(block, kBlockBytes);
  munmap(block, kBlockBytes);
}

SecretPool::Block *SecretPool::addBlock() {
  auto *block = static_cast<Block *>(mapBlock());
  if (block == nullptr) return nullptr;
  block->unusedAt = sizeof(Block);
  link(block);
  return block;
}

void SecretPool::link(Block *block) {
  block->previous = nullptr;
  block->next = available_;
  if (available_ != nullptr) available_->previous = block;
  available_ = block;
}

void SecretPool::unlink(Block *block) {
  (block->previous == nullptr ? available_ : block->previous->next) = block->next;
  if (block->next != nullptr) block->next->previous = block->previous;
}

bool SecretPool::isFull(const Block *block) const {
  return block->free == nullptr && block->unusedAt + cellBytes_ > kBlockBytes;
}

}  // namespace longline
