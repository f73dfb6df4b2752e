// Sockets, slots and one epoll descriptor; no JavaScript. It moves bytes and gives them no meaning.
//
// The contract is that of ../transport.ts. What happens is collected as events and fetched by the
// caller; nothing is called from here. Level-triggered: a connection is read once per round, so that
// one that floods takes no more than its turn, and what is left makes the descriptor ready again.
//
// Single-threaded, no exceptions, no static state. Functions return 0 or more, or a negative errno.
#pragma once
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "timer_wheel.h"

namespace longline {

enum EventType : uint32_t {
  kOpen = 0,
  kBytes = 1,
  kEnd = 2,
  kClosedByPeer = 3,
  kClosedByUs = 4,
  kClosedByError = 5,
  kTurnedAway = 6,
  kTimer = 7,
};

struct Event {
  uint32_t type;
  uint32_t slot;
  uint32_t generation;
  // Of kBytes: where they are in the read buffer.
  uint32_t offset;
  uint32_t length;
};

enum WriteResult : uint8_t { kAccepted = 0, kFull = 1, kGone = 2 };

// What the kernel has not taken yet. Exists only while there is something.
struct SendBuffer {
  char *bytes;
  size_t capacity;
  size_t start;
  size_t length;
};

enum SlotState : uint8_t {
  // On the list of free slots.
  kFree,
  kConnecting,
  kHeld,
  // We have said that we will send no more; ends with the peer's FIN or the linger timer.
  kEnding,
  // The socket is closed; ends when the event that says so has been fetched.
  kClosed,
};

constexpr uint32_t kNoPeer = UINT32_MAX;

struct Slot {
  Timer timer;
  SendBuffer *out = nullptr;
  int fd = -1;
  // How often the slot has been used.
  uint32_t generation = 0;
  // Also the link of the list of free slots.
  uint32_t index = 0;
  // The other connection of the pipe, or kNoPeer. Mutual, and of two that are held.
  uint32_t peer = kNoPeer;
  SlotState state = kFree;
  // The peer will send no more.
  bool hasReadEnd = false;
  // We have passed on that the other of a pipe will send no more.
  bool hasWriteEnd = false;
  // The user wants nothing to be read for now.
  bool isPaused = false;
};
static_assert(sizeof(Slot) <= 56, "a held connection costs this much");

struct Limits {
  uint32_t connectionsMax;
  size_t sendBufferBytesMax;
};

class Transport {
 public:
  // `readBuffer` must outlive the transport.
  Transport(Limits limits, char *readBuffer, size_t readBufferBytes);
  ~Transport();
  Transport(const Transport &) = delete;
  Transport &operator=(const Transport &) = delete;

  // The descriptor to watch for readability, or a negative errno.
  int descriptor() const { return epoll_; }
  // Returns the port.
  int listen(const char *host, uint16_t port);
  // Starts to connect. `host` and `localHost` are IP addresses; "" lets the system choose.
  int connect(const char *host, uint16_t port, const char *localHost, uint32_t *slot,
              uint32_t *generation);
  WriteResult write(uint32_t slot, uint32_t generation, const char *bytes, size_t length);
  void end(uint32_t slot, uint32_t generation);
  void destroy(uint32_t slot, uint32_t generation);
  // 0 ticks stop it.
  void setTimer(uint32_t slot, uint32_t generation, uint32_t ticks);
  size_t bufferedBytes(uint32_t slot, uint32_t generation) const;
  // Returns 0, or a negative errno.
  int remoteAddress(uint32_t slot, uint32_t generation, sockaddr_storage *address) const;
  // Reads nothing until the two are piped, or one is ended.
  void pause(uint32_t slot, uint32_t generation);
  // Passes the bytes of each on to the other from now on. Returns false unless it could.
  bool pipe(uint32_t slot, uint32_t generation, uint32_t otherSlot, uint32_t otherGeneration);
  // Accepts so many more until it is called again; until the first call, any number.
  void acceptAtMost(uint32_t count);
  // Stops to accept.
  void stopListening();
  // The same, and closes every connection.
  void close();
  // Closes, and gives the descriptor up.
  void dispose();

  // Does one round of what the sockets are ready for. Only after all events were fetched.
  void poll();
  // To be called once per grain of the timers.
  void tick();
  // Moves up to `max` events out, oldest first. Slots whose end was fetched by the call before this
  // may be used again from now on.
  uint32_t fetch(Event *events, uint32_t max);
  bool hasEvents() const { return fetched_ < events_.size(); }

  uint64_t acceptPauses() const { return acceptPauses_; }
  size_t slotBytes() const {
    return chunks_.size() * kSlotsPerChunk * sizeof(Slot) + free_.capacity() * sizeof(uint32_t);
  }
  // With the room that they have.
  size_t sendBufferBytes() const { return sendBufferBytes_; }

 private:
  static constexpr uint32_t kSlotsPerChunk = 1024;

  Slot *find(uint32_t slot, uint32_t generation) const;
  Slot *at(uint32_t slot) const {
    return &chunks_[slot / kSlotsPerChunk][slot % kSlotsPerChunk];
  }
  Slot *takeSlot();
  void accept();
  void hold(int fd);
  void onReady(Slot *slot, uint32_t ready);
  void onConnected(Slot *slot);
  void read(Slot *slot);
  void pass(Slot *to, const char *bytes, size_t length);
  void endWriting(Slot *slot);
  void unpipe(Slot *slot);
  bool isHeldBack(const Slot *slot) const;
  void flush(Slot *slot);
  void buffer(Slot *slot, const char *bytes, size_t length);
  void freeBuffer(Slot *slot);
  int watch(Slot *slot, int operation, uint32_t events);
  void watchAgain(Slot *slot);
  // What waits to be sent to one of a pipe also decides whether the other is read.
  void watchBoth(Slot *slot);
  void closeSlot(Slot *slot, EventType why);
  void fail(Slot *slot, int error);
  void setAccepting(bool isAccepting);
  void say(EventType type, const Slot *slot, uint32_t offset = 0, uint32_t length = 0);

  const Limits limits_;
  char *const readBuffer_;
  const size_t readBufferBytes_;
  size_t readBufferUsed_ = 0;
  int epoll_ = -1;
  int listener_ = -1;
  bool isAccepting_ = false;
  uint64_t acceptsLeft_ = UINT64_MAX;
  uint32_t acceptAgainAt_ = 0;
  uint64_t acceptPauses_ = 0;
  uint32_t held_ = 0;
  size_t sendBufferBytes_ = 0;
  TimerWheel wheel_;
  // Chunks are never moved: timers are linked by address.
  std::vector<Slot *> chunks_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> closing_;
  std::vector<Event> events_;
  size_t fetched_ = 0;
};

}  // namespace longline
