// Memory for keys, in cells of one size. Its pages are left out of core dumps where the kernel can
// do that, and a cell is erased when it is given back.
#pragma once
#include <cstddef>

namespace longline {

class SecretPool {
 public:
  explicit SecretPool(size_t cellBytes);
  ~SecretPool();
  SecretPool(const SecretPool &) = delete;
  SecretPool &operator=(const SecretPool &) = delete;

  // Returns zeroed bytes; nullptr if memory is exhausted.
  void *take();
  void give(void *cell);

  size_t cellBytes() const { return cellBytes_; }

 private:
  struct Cell {
    Cell *next;
  };
  // The head of a block of cells. Blocks are aligned to their size, so a cell's address leads to
  // its block.
  struct Block {
    Block *previous;
    Block *next;
    Cell *free;
    // Cells that were never used follow this offset.
    size_t unusedAt;
    size_t usedCount;
  };

  Block *addBlock();
  void link(Block *block);
  void unlink(Block *block);
  bool isFull(const Block *block) const;

  const size_t cellBytes_;
  // Those with a free cell.
  Block *available_ = nullptr;
};

}  // namespace longline
