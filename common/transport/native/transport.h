// Sockets, slots and one epoll descriptor, without JavaScript.
//
// The contract is that of ../transport.ts. Events are queued and fetched by the caller; there are
// no callbacks. epoll is level-triggered: a connection is read once per round, so that one that
// floods gets no more than its share, and its remaining bytes make the descriptor ready again.
//
// Single-threaded, no exceptions, no static state. Functions return 0 or more, or a negative errno.
#pragma once
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "timer_wheel.h"
#include "tls.h"

namespace longline {

enum EventType : uint32_t {
  kOpen = 0,
  kBytes = 1,
  kEnd = 2,
  kClosedByPeer = 3,
  kClosedByUs = 4,
  kClosedByError = 5,
  kOverLimit = 6,
  kTimer = 7,
  // A connection that was never reported failed in its handshake, or one that was reported failed
  // later, before its close event. `offset` is a TlsFailure.
  kTlsFailed = 8,
  // The client's certificate, in DER. Follows kOpen, or the end of the handshake.
  kClientCertificate = 9,
};

struct Event {
  uint32_t type;
  uint32_t slot;
  uint32_t generation;
  // kBytes and kClientCertificate only: the range in the read buffer.
  uint32_t offset;
  uint32_t length;
};

enum WriteResult : uint8_t { kAccepted = 0, kFull = 1, kGone = 2 };

// Unsent bytes. Exists only while there are any.
struct SendBuffer {
  char *bytes;
  size_t capacity;
  size_t start;
  size_t length;
};

enum SlotState : uint8_t {
  // In the list of free slots.
  kFree,
  kConnecting,
  // In the handshake of TLS.
  kSecuring,
  kEstablished,
  // We ended it: it closes after the peer's FIN, or when the linger timer expires.
  kEnding,
  // The socket is closed. The slot becomes free after its close event was fetched.
  kClosed,
};

struct ConnectionId {
  uint32_t slot;
  uint32_t generation;
};

// A record of which bytes are missing since a tick of the wheel.
struct IncompleteRecord {
  uint32_t slot;
  uint32_t generation;
  uint32_t since;
  uint64_t recordsRead;
};

constexpr uint32_t kNotPiped = UINT32_MAX;
// Bytes that are read from one socket in a round.
constexpr size_t kReadBytesMax = 64 * 1024;
// Longest wait for the peer to close a connection that we ended: 2 s.
constexpr uint32_t kLingerTicks = 8;

struct Slot {
  Timer timer;
  SendBuffer *out = nullptr;
  int fd = -1;
  // Times that the slot was used.
  uint32_t generation = 0;
  // The slot's own number.
  uint32_t index = 0;
  // The other slot of the pipe, or kNotPiped. Mutual; both are in the state kEstablished.
  uint32_t pipedTo = kNotPiped;
  SlotState state = kFree;
  // The peer has sent a FIN.
  bool hasReadEnd = false;
  // The FIN of the pipe's other side was forwarded to this peer.
  bool hasWriteEnd = false;
  // The user paused reading.
  bool isPaused = false;
  // TLS: not established yet, so the connection was not reported, and its close is not either.
  bool isUnreported = false;
  // TLS: in the queue of incomplete records.
  bool isIncomplete = false;
};
static_assert(sizeof(Slot) <= 56, "documented as the cost of a connection");

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

  // The descriptor to poll for readability, or a negative errno.
  int descriptor() const { return epoll_; }
  // Applies to connections that are accepted later; see Tls::configure.
  // `startsPlain`: TLS begins with a call of `secure`, otherwise at once.
  std::string configureTls(const TlsSettings &settings, bool startsPlain) {
    startsPlain_ = startsPlain;
    return tls_.configure(settings);
  }
  // Returns the port.
  int listen(const char *host, uint16_t port);
  // Starts connecting. Both hosts are IP addresses; `localHost` "": chosen by the system.
  int connect(const char *host, uint16_t port, const char *localHost, uint32_t *slot,
              uint32_t *generation);
  WriteResult write(uint32_t slot, uint32_t generation, const char *bytes, size_t length);
  // Loads what `write` needs of a slot into the processor's cache.
  void prefetch(uint32_t slot) const;
  void end(uint32_t slot, uint32_t generation);
  void destroy(uint32_t slot, uint32_t generation);
  // Starts the handshake of a connection that was reported without one. `bytes` were received
  // already.
  void secure(uint32_t slot, uint32_t generation, const char *bytes, size_t length);
  // 0 ticks stop the timer.
  void setTimer(uint32_t slot, uint32_t generation, uint32_t ticks);
  size_t bufferedBytes(uint32_t slot, uint32_t generation) const;
  // Returns 0, or a negative errno.
  int remoteAddress(uint32_t slot, uint32_t generation, sockaddr_storage *address) const;
  // Stops reading until the connection is piped or ended.
  void pause(uint32_t slot, uint32_t generation);
  // Forwards the bytes of each to the other from now on. Returns false if that is not possible.
  bool pipe(uint32_t slot, uint32_t generation, uint32_t otherSlot, uint32_t otherGeneration);
  // Accepts at most `count` more until the next call; before the first call there is no limit.
  void acceptAtMost(uint32_t count);
  // Stops accepting.
  void stopListening();
  // Stops accepting and closes every connection.
  void close();
  // Closes everything, including the epoll descriptor.
  void dispose();

  // Handles the ready sockets once. To be called only after all events were fetched: it reuses the
  // read buffer.
  void poll();
  // Advances the timers; to be called once per TIMER_RESOLUTION_MS.
  void tick();
  // Removes up to `max` events from the queue, oldest first. Frees the slots whose close events
  // were fetched by the previous call.
  uint32_t fetch(Event *events, uint32_t max);
  bool hasEvents() const { return fetched_ < events_.size(); }

  const Tls &tls() const { return tls_; }
  uint64_t acceptPauses() const { return acceptPauses_; }
  size_t slotBytes() const {
    return chunks_.size() * kSlotsPerChunk * sizeof(Slot) + free_.capacity() * sizeof(uint32_t);
  }
  // Their capacity.
  size_t sendBufferBytes() const { return sendBufferBytes_; }

 private:
  static constexpr uint32_t kSlotsPerChunk = 1024;

  Slot *find(uint32_t slot, uint32_t generation) const;
  Slot *at(uint32_t slot) const {
    return &chunks_[slot / kSlotsPerChunk][slot % kSlotsPerChunk];
  }
  Slot *takeSlot();
  void accept();
  void addAccepted(int fd);
  void onReady(Slot *slot, uint32_t ready);
  void onConnected(Slot *slot);
  void read(Slot *slot);
  void readTls(Slot *slot);
  void onReceived(Slot *slot, char *bytes, const TlsReceived &received);
  void onReadEnd(Slot *slot);
  bool startHandshake(Slot *slot);
  void onEstablished(Slot *slot, size_t free);
  void sealEnd(Slot *slot);
  void abandonHandshake(Slot *slot, TlsFailure failure);
  void limitHandshakes();
  void noteIncomplete(Slot *slot);
  void endOldestRecord(TlsFailure failure);
  void onTlsFailed(Slot *slot, TlsFailure failure);
  void sweepRecords();
  TlsConnection *tlsOf(const Slot *slot) const {
    return slot->index < secured_.size() ? secured_[slot->index] : nullptr;
  }
  // Hands `sealed_` to the kernel, and buffers the rest.
  void sendSealed(Slot *slot, int flags = 0);
  // `flags` are those of send(2).
  void sendOrBuffer(Slot *slot, const char *bytes, size_t length, int flags = 0);
  void forward(Slot *to, const char *bytes, size_t length);
  void endWriting(Slot *slot);
  void unpipe(Slot *slot);
  bool isReadPaused(const Slot *slot) const;
  void flush(Slot *slot);
  void buffer(Slot *slot, const char *bytes, size_t length);
  void freeBuffer(Slot *slot);
  int watch(Slot *slot, int operation, uint32_t events);
  void updateWatch(Slot *slot);
  // Also updates the other side of a pipe: it is read only while this one has no unsent bytes.
  void updateWatches(Slot *slot);
  void closeSlot(Slot *slot, EventType cause);
  void fail(Slot *slot, int error);
  void setAccepting(bool isAccepting);
  void emit(EventType type, const Slot *slot, uint32_t offset = 0, uint32_t length = 0);

  const Limits limits_;
  char *const readBuffer_;
  const size_t readBufferBytes_;
  size_t readBufferUsed_ = 0;
  bool startsPlain_ = false;
  int epoll_ = -1;
  int listener_ = -1;
  bool isAccepting_ = false;
  uint64_t acceptsLeft_ = UINT64_MAX;
  uint32_t acceptAgainAt_ = 0;
  uint64_t acceptPauses_ = 0;
  uint32_t openCount_ = 0;
  size_t sendBufferBytes_ = 0;
  TimerWheel wheel_;
  Tls tls_;
  // By slot; as long as the highest slot that has used TLS requires.
  std::vector<TlsConnection *> secured_;
  // Handshakes, oldest first. Those that are over are removed when they are the oldest.
  std::deque<ConnectionId> handshakes_;
  // Slots with an incomplete record, oldest first.
  std::deque<IncompleteRecord> incomplete_;
  // Records to send; empty between calls.
  std::vector<char> sealed_;
  // Chunks never move, because timers are linked by address.
  std::vector<Slot *> chunks_;
  std::vector<uint32_t> free_;
  std::vector<uint32_t> closing_;
  std::vector<Event> events_;
  size_t fetched_ = 0;
};

}  // namespace longline
