// TLS of a slot: from the handshake to the alert or close_notify that ends it.
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <algorithm>

#include "transport.h"

namespace longline {

namespace {

// Longest handshake of TLS: 10 s.
constexpr uint32_t kHandshakeTicks = 40;
// Bound on unfinished handshakes, which take up to 58 KB each while OpenSSL 3.5 waits for the
// client's second flight (43 KB without X25519MLKEM768). The oldest gives way: an honest one takes
// a second.
constexpr size_t kHandshakesMax = 5000;
// A slow link carries a record of 16 KB in this time: 30 s.
constexpr uint32_t kRecordTicks = 120;
// Bound on incomplete records of all connections: 64 MB. The oldest gives way.
constexpr size_t kKeptBytesMax = 64 << 20;

}  // namespace

void Transport::sendSealed(Slot *slot, int flags) {
  if (!sealed_.empty()) sendOrBuffer(slot, sealed_.data(), sealed_.size(), flags);
  sealed_.clear();
}

void Transport::sealEnd(Slot *slot) {
  TlsConnection *tls = tlsOf(slot);
  if (tls == nullptr) return;
  tls_.sealEnd(tls, &sealed_);
  sendSealed(slot);
}

void Transport::secure(uint32_t index, uint32_t generation, const char *bytes, size_t length) {
  Slot *slot = find(index, generation);
  bool isPlain = slot != nullptr && slot->state == kEstablished && tlsOf(slot) == nullptr;
  if (!isPlain || !tls_.isConfigured()) return;
  if (!startHandshake(slot)) return closeSlot(slot, kClosedByError);
  if (length == 0) return;
  // The read buffer is in use. No handshake is complete with the client's first bytes, so they
  // contain no data.
  std::vector<char> first(bytes, bytes + length);
  onReceived(slot, first.data(),
             tls_.receive(&secured_[slot->index], first.data(), length, &sealed_));
}

// Returns false if memory is exhausted.
bool Transport::startHandshake(Slot *slot) {
  slot->state = kSecuring;
  if (slot->index >= secured_.size()) secured_.resize(slot->index + 1);
  secured_[slot->index] = tls_.accept();
  wheel_.set(&slot->timer, kHandshakeTicks + 1);
  handshakes_.push_back({slot->index, slot->generation});
  limitHandshakes();
  return secured_[slot->index] != nullptr;
}

void Transport::limitHandshakes() {
  while (!handshakes_.empty()) {
    auto [index, generation] = handshakes_.front();
    Slot *oldest = find(index, generation);
    bool isOver = oldest == nullptr || !tls_.isHandshaking(tlsOf(oldest));
    if (!isOver && tls_.handshakes() <= kHandshakesMax) return;
    handshakes_.pop_front();
    if (!isOver) abandonHandshake(oldest, kTooManyHandshakes);
  }
}

void Transport::abandonHandshake(Slot *slot, TlsFailure failure) {
  // Otherwise it has failed, and was counted.
  if (slot->state == kSecuring) emit(kTlsFailed, slot, failure);
  closeSlot(slot, kClosedByUs);
}

void Transport::readTls(Slot *slot) {
  TlsConnection *connection = secured_[slot->index];
  size_t kept = tls_.keptBytes(connection);
  size_t room = readBufferBytes_ - readBufferUsed_;
  // Plaintext may be longer than what is received now: the library keeps bytes of TLS 1.2.
  size_t reserved = kept + kRecordBytesMax;
  if (slot->state == kSecuring) reserved += kClientCertificateBytesMax;
  if (room < reserved + kRecordBytesMax) return;
  size_t most = std::min(kReadBytesMax, room - reserved);
  if (slot->pipedTo != kNotPiped) most = std::min(most, limits_.sendBufferBytesMax);
  char *bytes = readBuffer_ + readBufferUsed_;
  ssize_t length = recv(slot->fd, bytes + kept, most, 0);
  if (length == 0) {
    if (slot->state == kEstablished) {
      emit(kTlsFailed, slot,
           tls_.keptBytes(connection) > 0 ? kTruncatedRecord : kNoCloseNotify);
    }
    return onReadEnd(slot);
  }
  if (length < 0) {
    if (errno != EAGAIN && errno != EINTR) fail(slot, errno);
    return;
  }
  tls_.takeKept(connection, bytes);
  size_t received = kept + static_cast<size_t>(length);
  onReceived(slot, bytes, tls_.receive(&secured_[slot->index], bytes, received, &sealed_));
}

void Transport::onReceived(Slot *slot, char *bytes, const TlsReceived &received) {
  // A session ticket can wait for the answer to the first data, which saves a segment.
  bool isAnswerDue = received.isEstablished && received.plaintextLength > 0;
  sendSealed(slot, isAnswerDue ? MSG_MORE : 0);
  if (slot->state == kClosed) return;
  size_t offset = readBufferUsed_;
  if (received.isEstablished) onEstablished(slot, offset + received.plaintextLength);
  size_t length = received.plaintextLength;
  if (length > 0 && slot->pipedTo != kNotPiped) {
    forward(at(slot->pipedTo), bytes, length);
  } else if (length > 0) {
    emit(kBytes, slot, static_cast<uint32_t>(offset), static_cast<uint32_t>(length));
    readBufferUsed_ = std::max(readBufferUsed_, offset + length);
  }
  if (received.failure != kNoFailure) return onTlsFailed(slot, received.failure);
  if (received.hasEnded) return onReadEnd(slot);
  noteIncomplete(slot);
  while (tls_.keptBytes() > kKeptBytesMax && !incomplete_.empty()) {
    endOldestRecord(kTooManyIncompleteRecords);
  }
}

// `free` is the offset in the read buffer behind the plaintext that is reported next.
void Transport::onEstablished(Slot *slot, size_t free) {
  wheel_.stop(&slot->timer);
  slot->state = kEstablished;
  if (slot->isUnreported) emit(kOpen, slot);
  slot->isUnreported = false;
  const std::vector<uint8_t> &certificate = tls_.clientCertificate();
  if (certificate.empty()) return;
  memcpy(readBuffer_ + free, certificate.data(), certificate.size());
  emit(kClientCertificate, slot, static_cast<uint32_t>(free),
       static_cast<uint32_t>(certificate.size()));
  readBufferUsed_ = free + certificate.size();
}

// An alert may have been sent. The connection lingers, so that the peer can read it.
void Transport::onTlsFailed(Slot *slot, TlsFailure failure) {
  emit(kTlsFailed, slot, failure);
  tls_.dropKept(secured_[slot->index]);
  unpipe(slot);
  slot->isPaused = false;
  slot->state = kEnding;
  wheel_.set(&slot->timer, kLingerTicks + 1);
  updateWatch(slot);
  if (slot->out == nullptr) shutdown(slot->fd, SHUT_WR);
}

void Transport::noteIncomplete(Slot *slot) {
  TlsConnection *connection = secured_[slot->index];
  if (slot->isIncomplete || tls_.keptBytes(connection) == 0) return;
  slot->isIncomplete = true;
  incomplete_.push_back(
      {slot->index, slot->generation, wheel_.now(), tls_.recordsRead(connection)});
}

// Ends the connection with the oldest incomplete record, unless that record was completed since.
void Transport::endOldestRecord(TlsFailure failure) {
  IncompleteRecord record = incomplete_.front();
  incomplete_.pop_front();
  Slot *slot = find(record.slot, record.generation);
  if (slot == nullptr || slot->state == kEnding) return;
  slot->isIncomplete = false;
  TlsConnection *connection = secured_[slot->index];
  if (tls_.recordsRead(connection) != record.recordsRead) {
    noteIncomplete(slot);
  } else if (tls_.keptBytes(connection) > 0) {
    onTlsFailed(slot, failure);
  }
}

void Transport::sweepRecords() {
  while (!incomplete_.empty() && incomplete_.front().since + kRecordTicks < wheel_.now()) {
    endOldestRecord(kRecordTimeout);
  }
}

}  // namespace longline
