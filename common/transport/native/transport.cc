#include "transport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

namespace longline {

namespace {

constexpr uint32_t kSlotsMax = 1u << 24;
// Identifies the listener among the epoll events of slots.
constexpr uint64_t kListener = UINT64_MAX;
constexpr int kReadyPerRound = 256;
constexpr int kAcceptsPerRound = 64;
constexpr int kBacklog = 4096;
// A peer that has not acknowledged sent bytes for this long is dead (RFC 5482): several times what
// a phone needs to change networks, and far below the quarter of an hour of TCP retransmissions.
constexpr unsigned kUserTimeoutMs = 60'000;
// Pause in accepting after descriptors or memory were exhausted: 0.5 s.
constexpr uint32_t kAcceptPauseTicks = 2;

bool parseAddress(const char *host, uint16_t port, sockaddr_storage *address, socklen_t *length) {
  memset(address, 0, sizeof *address);
  auto *v4 = reinterpret_cast<sockaddr_in *>(address);
  auto *v6 = reinterpret_cast<sockaddr_in6 *>(address);
  if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    *length = sizeof *v4;
    return true;
  }
  if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    *length = sizeof *v6;
    return true;
  }
  return false;
}

void enable(int fd, int level, int option, int value = 1) {
  setsockopt(fd, level, option, &value, sizeof value);
}

// Accepted sockets inherit these from the listener, which saves a system call each.
void setOptions(int fd) {
  enable(fd, IPPROTO_TCP, TCP_NODELAY);
  enable(fd, SOL_SOCKET, SO_KEEPALIVE);
  enable(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs);
}

bool isShortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

uint64_t keyOf(const Slot *slot) {
  return (static_cast<uint64_t>(slot->generation) << 32) | slot->index;
}

}  // namespace

Transport::Transport(Limits limits, char *readBuffer, size_t readBufferBytes)
    : limits_(limits), readBuffer_(readBuffer), readBufferBytes_(readBufferBytes) {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) epoll_ = -errno;
}

Transport::~Transport() {
  dispose();
  for (Slot *chunk : chunks_) delete[] chunk;
}

int Transport::listen(const char *host, uint16_t port) {
  sockaddr_storage address;
  socklen_t length;
  if (!parseAddress(host, port, &address, &length)) return -EINVAL;
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  enable(fd, SOL_SOCKET, SO_REUSEADDR);
  // "::" also accepts IPv4, independently of the system's default.
  if (address.ss_family == AF_INET6) enable(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
  setOptions(fd);
  if (bind(fd, reinterpret_cast<sockaddr *>(&address), length) < 0 || ::listen(fd, kBacklog) < 0 ||
      getsockname(fd, reinterpret_cast<sockaddr *>(&address), &length) < 0) {
    int error = errno;
    ::close(fd);
    return -error;
  }
  listener_ = fd;
  setAccepting(true);
  return ntohs(address.ss_family == AF_INET
                   ? reinterpret_cast<sockaddr_in *>(&address)->sin_port
                   : reinterpret_cast<sockaddr_in6 *>(&address)->sin6_port);
}

int Transport::connect(const char *host, uint16_t port, const char *localHost, uint32_t *slotIndex,
                       uint32_t *generation) {
  sockaddr_storage address, local;
  socklen_t length, localLength;
  if (!parseAddress(host, port, &address, &length)) return -EINVAL;
  if (openCount_ >= limits_.connectionsMax) return -EUSERS;
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  setOptions(fd);
  int status = 0;
  if (*localHost != '\0') {
    if (!parseAddress(localHost, 0, &local, &localLength)) {
      ::close(fd);
      return -EINVAL;
    }
    // Without it, the local port would be reserved for all destinations.
    enable(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT);
    status = bind(fd, reinterpret_cast<sockaddr *>(&local), localLength);
  }
  if (status == 0) status = ::connect(fd, reinterpret_cast<sockaddr *>(&address), length);
  Slot *slot = status == 0 || errno == EINPROGRESS ? takeSlot() : nullptr;
  if (slot == nullptr) {
    int error = errno;
    ::close(fd);
    return error == EINPROGRESS ? -ENOMEM : -error;
  }
  slot->fd = fd;
  slot->state = kConnecting;
  *slotIndex = slot->index;
  *generation = slot->generation;
  if (int error = watch(slot, EPOLL_CTL_ADD, EPOLLOUT); error != 0) fail(slot, error);
  return 0;
}

WriteResult Transport::write(uint32_t index, uint32_t generation, const char *bytes,
                             size_t length) {
  Slot *slot = find(index, generation);
  if (slot == nullptr || slot->state != kEstablished || slot->hasWriteEnd) return kGone;
  TlsConnection *tls = tlsOf(slot);
  if (slot->out != nullptr) {
    size_t needed = tls == nullptr ? length : tls_.sealedBytes(tls, length);
    if (slot->out->length + needed > limits_.sendBufferBytesMax) return kFull;
  }
  if (tls == nullptr) {
    sendOrBuffer(slot, bytes, length);
  } else {
    tls_.seal(tls, bytes, length, &sealed_);
    sendSealed(slot);
  }
  return slot->state == kEstablished ? kAccepted : kGone;
}

void Transport::prefetch(uint32_t index) const {
  if (index >= chunks_.size() * kSlotsPerChunk) return;
  __builtin_prefetch(at(index));
  if (index < secured_.size() && secured_[index] != nullptr) Tls::prefetch(secured_[index]);
}

void Transport::end(uint32_t index, uint32_t generation) {
  Slot *slot = find(index, generation);
  if (slot == nullptr || slot->state == kEnding) return;
  if (slot->state == kConnecting) return closeSlot(slot, kClosedByUs);
  bool wasReadPaused = isReadPaused(slot);
  unpipe(slot);
  slot->isPaused = false;
  slot->state = kEnding;
  wheel_.set(&slot->timer, kLingerTicks + 1);
  // Reading must resume, to receive the peer's FIN.
  if (wasReadPaused) updateWatch(slot);
  if (!slot->hasWriteEnd) sealEnd(slot);
  if (slot->state == kClosed) return;
  if (slot->out != nullptr) return;
  // Closing while the peer still sends would reset the connection, and the peer could lose our last
  // bytes (RFC 9112 §9.6). So send a FIN, then read and drop bytes until the peer's FIN.
  if (slot->hasReadEnd) {
    closeSlot(slot, kClosedByUs);
  } else {
    shutdown(slot->fd, SHUT_WR);
  }
}

void Transport::destroy(uint32_t index, uint32_t generation) {
  Slot *slot = find(index, generation);
  if (slot == nullptr) return;
  linger reset = {1, 0};
  setsockopt(slot->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  closeSlot(slot, kClosedByUs);
}

void Transport::setTimer(uint32_t index, uint32_t generation, uint32_t ticks) {
  Slot *slot = find(index, generation);
  // The timer of a handshake, and the linger timer.
  if (slot == nullptr || slot->state == kSecuring || slot->state == kEnding) return;
  if (ticks == 0) {
    wheel_.stop(&slot->timer);
  } else {
    wheel_.set(&slot->timer, ticks);
  }
}

size_t Transport::bufferedBytes(uint32_t index, uint32_t generation) const {
  Slot *slot = find(index, generation);
  return slot == nullptr || slot->out == nullptr ? 0 : slot->out->length;
}

int Transport::remoteAddress(uint32_t index, uint32_t generation,
                             sockaddr_storage *address) const {
  Slot *slot = find(index, generation);
  if (slot == nullptr) return -ENOTCONN;
  socklen_t length = sizeof *address;
  return getpeername(slot->fd, reinterpret_cast<sockaddr *>(address), &length) < 0 ? -errno : 0;
}

void Transport::pause(uint32_t index, uint32_t generation) {
  Slot *slot = find(index, generation);
  if (slot == nullptr || slot->state != kEstablished || slot->pipedTo != kNotPiped) return;
  slot->isPaused = true;
  updateWatch(slot);
}

bool Transport::pipe(uint32_t index, uint32_t generation, uint32_t otherIndex,
                     uint32_t otherGeneration) {
  Slot *slot = find(index, generation);
  Slot *other = find(otherIndex, otherGeneration);
  if (slot == nullptr || other == nullptr || slot == other) return false;
  for (Slot *each : {slot, other}) {
    bool isPipeable =
        each->state == kEstablished && each->pipedTo == kNotPiped && !each->hasWriteEnd;
    if (!isPipeable) return false;
  }
  slot->pipedTo = other->index;
  other->pipedTo = slot->index;
  slot->isPaused = other->isPaused = false;
  updateWatches(slot);
  if (slot->hasReadEnd) endWriting(other);
  if (other->hasReadEnd) endWriting(slot);
  return true;
}

void Transport::acceptAtMost(uint32_t count) {
  acceptsLeft_ = count;
  // A pause after a shortage has precedence; it ends by itself.
  if (acceptAgainAt_ == 0) setAccepting(count > 0);
}

void Transport::stopListening() {
  if (listener_ < 0) return;
  ::close(listener_);
  listener_ = -1;
  isAccepting_ = false;
  acceptAgainAt_ = 0;
}

void Transport::close() {
  stopListening();
  for (uint32_t index = 0; index < chunks_.size() * kSlotsPerChunk; index++) {
    Slot *slot = at(index);
    if (slot->state != kFree && slot->state != kClosed) closeSlot(slot, kClosedByUs);
  }
}

void Transport::dispose() {
  close();
  if (epoll_ >= 0) ::close(epoll_);
  epoll_ = -EBADF;
}

void Transport::poll() {
  readBufferUsed_ = 0;
  epoll_event ready[kReadyPerRound];
  int count = epoll_wait(epoll_, ready, kReadyPerRound, 0);
  for (int i = 0; i < count; i++) {
    uint64_t key = ready[i].data.u64;
    if (key == kListener) {
      accept();
      continue;
    }
    Slot *slot = find(static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32));
    if (slot != nullptr) onReady(slot, ready[i].events);
  }
}

void Transport::tick() {
  if (acceptAgainAt_ != 0 && acceptAgainAt_ <= wheel_.now()) setAccepting(acceptsLeft_ > 0);
  sweepRecords();
  tls_.eraseUsedKeys();
  for (Timer *timer = wheel_.tick(); timer != nullptr;) {
    // The timer is the first member of its slot.
    Slot *slot = reinterpret_cast<Slot *>(timer);
    timer = timer->next;
    slot->timer.next = nullptr;
    if (slot->state == kSecuring) {
      abandonHandshake(slot, kHandshakeTimeout);
    } else if (slot->state == kEnding) {
      closeSlot(slot, kClosedByUs);
    } else {
      emit(kTimer, slot);
    }
  }
}

uint32_t Transport::fetch(Event *events, uint32_t max) {
  for (uint32_t index : closing_) {
    at(index)->state = kFree;
    free_.push_back(index);
  }
  closing_.clear();
  uint32_t count = 0;
  for (; count < max && fetched_ < events_.size(); count++, fetched_++) {
    const Event &event = events_[fetched_];
    events[count] = event;
    if (event.type >= kClosedByPeer && event.type <= kClosedByError) {
      closing_.push_back(event.slot);
    }
  }
  if (fetched_ == events_.size()) {
    events_.clear();
    fetched_ = 0;
  }
  return count;
}

Slot *Transport::find(uint32_t index, uint32_t generation) const {
  if (index >= chunks_.size() * kSlotsPerChunk) return nullptr;
  Slot *slot = at(index);
  bool isOpen = slot->state != kFree && slot->state != kClosed;
  return isOpen && slot->generation == generation ? slot : nullptr;
}

Slot *Transport::takeSlot() {
  if (free_.empty()) {
    uint32_t first = static_cast<uint32_t>(chunks_.size()) * kSlotsPerChunk;
    if (first >= kSlotsMax) {
      errno = ENOMEM;
      return nullptr;
    }
    chunks_.push_back(new Slot[kSlotsPerChunk]);
    // Lowest first, so that arrays indexed by slot stay short.
    for (uint32_t i = kSlotsPerChunk; i-- > 0;) free_.push_back(first + i);
  }
  uint32_t index = free_.back();
  free_.pop_back();
  Slot *slot = at(index);
  slot->index = index;
  slot->generation++;
  slot->pipedTo = kNotPiped;
  slot->hasReadEnd = slot->hasWriteEnd = slot->isPaused = false;
  slot->isUnreported = slot->isIncomplete = false;
  openCount_++;
  return slot;
}

void Transport::accept() {
  for (int i = 0; i < kAcceptsPerRound && listener_ >= 0; i++) {
    if (acceptsLeft_ == 0) return setAccepting(false);
    int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      acceptsLeft_--;
      addAccepted(fd);
      continue;
    }
    if (isShortage(errno)) {
      // The connection stays in the backlog. Retrying at once would spin.
      setAccepting(false);
      acceptAgainAt_ = wheel_.now() + kAcceptPauseTicks;
      acceptPauses_++;
      return;
    }
    // EAGAIN ends the batch; any other error concerns a single connection that failed (accept(2)).
    if (errno == EAGAIN) return;
  }
}

void Transport::addAccepted(int fd) {
  Slot *slot = openCount_ < limits_.connectionsMax ? takeSlot() : nullptr;
  if (slot == nullptr) {
    ::close(fd);
    events_.push_back({kOverLimit, 0, 0, 0, 0});
    return;
  }
  slot->fd = fd;
  slot->state = kEstablished;
  if (!tls_.isConfigured() || startsPlain_) {
    emit(kOpen, slot);
  } else {
    slot->isUnreported = true;
    if (!startHandshake(slot)) return closeSlot(slot, kClosedByError);
  }
  if (int error = watch(slot, EPOLL_CTL_ADD, EPOLLIN); error != 0) fail(slot, error);
}

void Transport::onReady(Slot *slot, uint32_t ready) {
  if (slot->state == kConnecting) return onConnected(slot);
  if ((ready & EPOLLOUT) != 0) flush(slot);
  if (slot->state == kClosed) return;
  // Reading may have been paused during this round.
  if ((ready & EPOLLIN) != 0 && !slot->hasReadEnd && !isReadPaused(slot)) return read(slot);
  if ((ready & (EPOLLERR | EPOLLHUP)) != 0) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(slot->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    // Both directions have ended, but the bytes before the FIN are not read yet, or the other side
    // of the pipe is not finished.
    if (error == 0 && (slot->isPaused || slot->pipedTo != kNotPiped)) return;
    fail(slot, error == 0 ? ECONNRESET : error);
  }
}

void Transport::onConnected(Slot *slot) {
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(slot->fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error == 0) error = watch(slot, EPOLL_CTL_MOD, EPOLLIN);
  if (error != 0) return closeSlot(slot, kClosedByError);
  slot->state = kEstablished;
  emit(kOpen, slot);
}

void Transport::read(Slot *slot) {
  bool isEnding = slot->state == kEnding;
  if (!isEnding && tlsOf(slot) != nullptr) return readTls(slot);
  size_t room = readBufferBytes_ - readBufferUsed_;
  // The read buffer is full for this round. The socket stays ready.
  if (room == 0) return;
  size_t most = room < kReadBytesMax ? room : kReadBytesMax;
  bool isPiped = slot->pipedTo != kNotPiped;
  // Bytes that the other socket does not accept at once are buffered, so read at most the limit.
  if (isPiped && most > limits_.sendBufferBytesMax) most = limits_.sendBufferBytesMax;
  ssize_t length = recv(slot->fd, readBuffer_ + readBufferUsed_, most, 0);
  if (length > 0) {
    if (isEnding) return;
    if (isPiped) return forward(at(slot->pipedTo), readBuffer_ + readBufferUsed_, length);
    emit(kBytes, slot, static_cast<uint32_t>(readBufferUsed_), static_cast<uint32_t>(length));
    readBufferUsed_ += static_cast<size_t>(length);
  } else if (length == 0) {
    onReadEnd(slot);
  } else if (errno != EAGAIN && errno != EINTR) {
    fail(slot, errno);
  }
}

void Transport::onReadEnd(Slot *slot) {
  slot->hasReadEnd = true;
  if (slot->state == kSecuring) return fail(slot, ECONNRESET);
  if (slot->state != kEnding) {
    emit(kEnd, slot);
  } else if (slot->out == nullptr) {
    return closeSlot(slot, kClosedByUs);
  }
  // A socket after its FIN would stay readable.
  updateWatch(slot);
  if (slot->pipedTo != kNotPiped) endWriting(at(slot->pipedTo));
}

void Transport::forward(Slot *to, const char *bytes, size_t length) {
  TlsConnection *tls = tlsOf(to);
  if (tls == nullptr) return sendOrBuffer(to, bytes, length);
  tls_.seal(tls, bytes, length, &sealed_);
  sendSealed(to);
}

void Transport::sendOrBuffer(Slot *slot, const char *bytes, size_t length, int flags) {
  bool hasBuffer = slot->out != nullptr;
  ssize_t sent = hasBuffer ? 0 : send(slot->fd, bytes, length, MSG_NOSIGNAL | flags);
  if (sent < 0) {
    if (errno != EAGAIN && errno != EINTR && !isShortage(errno)) return fail(slot, errno);
    sent = 0;
  }
  if (static_cast<size_t>(sent) == length) return;
  buffer(slot, bytes + sent, length - sent);
  if (!hasBuffer) updateWatches(slot);
}

// Forwards the FIN of the pipe's other side, once no unsent bytes are left.
void Transport::endWriting(Slot *slot) {
  if (slot->out != nullptr || slot->hasWriteEnd) return;
  slot->hasWriteEnd = true;
  sealEnd(slot);
  if (slot->state == kClosed) return;
  if (slot->out == nullptr) shutdown(slot->fd, SHUT_WR);
  Slot *other = at(slot->pipedTo);
  if (!slot->hasReadEnd || !other->hasWriteEnd) return;
  closeSlot(slot, kClosedByPeer);
  closeSlot(other, kClosedByPeer);
}

void Transport::unpipe(Slot *slot) {
  if (slot->pipedTo == kNotPiped) return;
  Slot *other = at(slot->pipedTo);
  slot->pipedTo = other->pipedTo = kNotPiped;
  updateWatch(other);
}

bool Transport::isReadPaused(const Slot *slot) const {
  return slot->isPaused || (slot->pipedTo != kNotPiped && at(slot->pipedTo)->out != nullptr);
}

void Transport::flush(Slot *slot) {
  SendBuffer *out = slot->out;
  if (out == nullptr) return;
  ssize_t sent = send(slot->fd, out->bytes + out->start, out->length, MSG_NOSIGNAL);
  if (sent < 0) {
    if (errno != EAGAIN && errno != EINTR && !isShortage(errno)) fail(slot, errno);
    return;
  }
  out->start += static_cast<size_t>(sent);
  out->length -= static_cast<size_t>(sent);
  if (out->length > 0) return;
  freeBuffer(slot);
  if (slot->state == kEnding && slot->hasReadEnd) return closeSlot(slot, kClosedByUs);
  if (slot->state == kEnding || slot->hasWriteEnd) shutdown(slot->fd, SHUT_WR);
  updateWatches(slot);
  if (slot->pipedTo != kNotPiped && at(slot->pipedTo)->hasReadEnd) endWriting(slot);
}

void Transport::buffer(Slot *slot, const char *bytes, size_t length) {
  if (slot->out == nullptr) {
    slot->out = new SendBuffer{nullptr, 0, 0, 0};
    sendBufferBytes_ += sizeof(SendBuffer);
  }
  SendBuffer *out = slot->out;
  if (out->start + out->length + length > out->capacity) {
    if (out->start > 0) memmove(out->bytes, out->bytes + out->start, out->length);
    out->start = 0;
    if (out->length + length > out->capacity) {
      sendBufferBytes_ += out->length + length - out->capacity;
      out->capacity = out->length + length;
      out->bytes = static_cast<char *>(realloc(out->bytes, out->capacity));
      if (out->bytes == nullptr) abort();
    }
  }
  memcpy(out->bytes + out->start + out->length, bytes, length);
  out->length += length;
}

void Transport::freeBuffer(Slot *slot) {
  if (slot->out == nullptr) return;
  sendBufferBytes_ -= sizeof(SendBuffer) + slot->out->capacity;
  free(slot->out->bytes);
  delete slot->out;
  slot->out = nullptr;
}

int Transport::watch(Slot *slot, int operation, uint32_t events) {
  epoll_event event;
  event.events = events;
  event.data.u64 = keyOf(slot);
  return epoll_ctl(epoll_, operation, slot->fd, &event) < 0 ? errno : 0;
}

void Transport::updateWatch(Slot *slot) {
  uint32_t events = 0;
  if (!slot->hasReadEnd && !isReadPaused(slot)) events |= EPOLLIN;
  if (slot->out != nullptr) events |= EPOLLOUT;
  // Without events, epoll still reports errors and the end of both directions; edge-triggered, it
  // reports them once.
  if (events == 0) events = EPOLLET;
  // Cannot fail: the descriptor is registered, and nothing is allocated.
  watch(slot, EPOLL_CTL_MOD, events);
}

void Transport::updateWatches(Slot *slot) {
  updateWatch(slot);
  if (slot->pipedTo != kNotPiped) updateWatch(at(slot->pipedTo));
}

void Transport::closeSlot(Slot *slot, EventType cause) {
  unpipe(slot);
  wheel_.stop(&slot->timer);
  freeBuffer(slot);
  if (TlsConnection *tls = tlsOf(slot); tls != nullptr) {
    tls_.free(tls);
    secured_[slot->index] = nullptr;
  }
  ::close(slot->fd);
  slot->fd = -1;
  slot->state = kClosed;
  openCount_--;
  if (slot->isUnreported) {
    closing_.push_back(slot->index);
  } else {
    emit(cause, slot);
  }
}

void Transport::fail(Slot *slot, int error) {
  // A reset by the peer is normal. Any other error comes from the system.
  bool isByPeer = error == ECONNRESET || error == EPIPE;
  if (slot->state == kSecuring) emit(kTlsFailed, slot, kHandshakeAborted);
  closeSlot(slot, slot->state == kEnding ? kClosedByUs : isByPeer ? kClosedByPeer : kClosedByError);
}

void Transport::setAccepting(bool isAccepting) {
  acceptAgainAt_ = 0;
  if (listener_ < 0 || isAccepting == isAccepting_) return;
  isAccepting_ = isAccepting;
  epoll_event event;
  event.events = EPOLLIN;
  event.data.u64 = kListener;
  epoll_ctl(epoll_, isAccepting ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, listener_, &event);
}

void Transport::emit(EventType type, const Slot *slot, uint32_t offset, uint32_t length) {
  events_.push_back({type, slot->index, slot->generation, offset, length});
}

}  // namespace longline
