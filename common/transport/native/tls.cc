// Connections, and their records of TLS 1.3.
#include "tls_connection.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>

namespace longline {

namespace {

// Descriptions of alerts (RFC 8446 §6).
constexpr uint8_t kCloseNotify = 0;
constexpr uint8_t kUnexpectedMessageAlert = 10;
constexpr uint8_t kBadRecordMacAlert = 20;
constexpr uint8_t kRecordOverflowAlert = 22;
constexpr uint8_t kIllegalParameterAlert = 47;
constexpr uint8_t kUserCanceled = 90;
constexpr uint8_t kWarning = 1;

// As many as OpenSSL permits.
constexpr uint8_t kEmptyRecordsMax = 32;
// The limit of AES-GCM is 2^24.5 records with one key (RFC 8446 §5.5).
constexpr uint64_t kRecordsPerKey = 1 << 23;

}  // namespace

Tls::Tls()
    : keyPools_{SecretPool(sizeof(TlsConnection) + RecordProtection::stateBytes(kAes128Gcm)),
                SecretPool(sizeof(TlsConnection) + RecordProtection::stateBytes(kAes256Gcm)),
                SecretPool(sizeof(TlsConnection) + RecordProtection::stateBytes(kChaCha20Poly1305))},
      handshakePool_(sizeof(TlsConnection) + sizeof(Library)),
      bioMethod_(createBioMethod()) {}

Tls::~Tls() {
  for (Context &context : contexts_) SSL_CTX_free(context.context);
  OPENSSL_cleanse(ticketKeys_.data(), ticketKeys_.size() * sizeof(TicketKey));
  BIO_meth_free(bioMethod_);
}

TlsConnection *Tls::allocate(Phase phase, SecretPool *pool) {
  auto *connection = static_cast<TlsConnection *>(pool->take());
  if (connection != nullptr) connection->phase = phase;
  return connection;
}

TlsConnection *Tls::accept() {
  TlsConnection *connection = allocate(kHandshaking, &handshakePool_);
  if (connection != nullptr) handshakes_++;
  return connection;
}

bool Tls::isHandshaking(const TlsConnection *connection) const {
  return connection != nullptr && connection->phase == kHandshaking;
}

void Tls::free(TlsConnection *connection) {
  dropKept(connection);
  if (connection->phase == kTls13) {
    SecretPool &pool = keyPools_[connection->records()->suite];
    tls13Connections_--;
    tls13Bytes_ -= pool.cellBytes();
    return pool.give(connection);
  }
  if (connection->phase == kTls12) tls12Connections_--;
  if (connection->phase == kHandshaking) handshakes_--;
  freeLibrary(connection->library()->ssl);
  handshakePool_.give(connection);
}

size_t Tls::keptBytes(const TlsConnection *connection) const { return connection->keptLength; }

void Tls::takeKept(TlsConnection *connection, char *to) {
  if (connection->keptLength == 0) return;
  memcpy(to, connection->kept, connection->keptLength);
  dropKept(connection);
}

void Tls::dropKept(TlsConnection *connection) {
  ::free(connection->kept);
  connection->kept = nullptr;
  keptBytes_ -= connection->keptLength;
  connection->keptLength = 0;
}

uint64_t Tls::recordsRead(const TlsConnection *connection) const {
  return connection->phase == kTls13 ? connection->records()->sequence[kRead] : connection->reads;
}

TlsReceived Tls::receive(TlsConnection **connection, char *bytes, size_t length,
                         std::vector<char> *out) {
  switch ((*connection)->phase) {
    case kHandshaking:
      return handshake(connection, bytes, length, out);
    case kTls12:
      return readLibrary(*connection, bytes, length, out);
    default:
      return readRecords(*connection, bytes, length, out);
  }
}

TlsReceived Tls::readRecords(TlsConnection *connection, char *bytes, size_t length,
                             std::vector<char> *out) {
  TlsReceived received;
  uint8_t alert = kUnexpectedMessageAlert;
  size_t at = 0;
  while (length - at >= kRecordHeaderBytes && !received.hasEnded && received.failure == kNoFailure) {
    auto *record = reinterpret_cast<uint8_t *>(bytes) + at;
    size_t recordLength = kRecordHeaderBytes + static_cast<size_t>(record[3] << 8 | record[4]);
    if (record[0] != kApplicationData) {
      received.failure = kUnexpectedMessage;
      break;
    }
    if (recordLength > kRecordBytesMax) {
      received.failure = kRecordTooLong;
      alert = kRecordOverflowAlert;
      break;
    }
    if (length - at < recordLength) break;
    at += recordLength;
    size_t plaintextLength = 0;
    uint8_t type = 0;
    switch (records_.open(connection->records(), record, recordLength, &plaintextLength, &type)) {
      case Opened::kBadMac:
        received.failure = kBadRecord;
        alert = kBadRecordMacAlert;
        continue;
      case Opened::kTooLong:
        received.failure = kRecordTooLong;
        alert = kRecordOverflowAlert;
        continue;
      case Opened::kNoType:
        received.failure = kUnexpectedMessage;
        continue;
      case Opened::kPlaintext:
        break;
    }
    const uint8_t *plaintext = record + kRecordHeaderBytes;
    bool isData = type == kApplicationData && plaintextLength > 0;
    connection->emptyRecords = isData ? 0 : connection->emptyRecords + 1;
    bool isMidMessage = connection->messageLength > 0 && type != kHandshake;
    if (isMidMessage) {
      received.failure = kUnexpectedMessage;
    } else if (connection->emptyRecords > kEmptyRecordsMax) {
      received.failure = kTooManyEmptyRecords;
    } else if (type == kApplicationData) {
      memmove(bytes + received.plaintextLength, plaintext, plaintextLength);
      received.plaintextLength += plaintextLength;
    } else if (type == kHandshake) {
      received.failure = onMessage(connection, plaintext, plaintextLength, &alert);
    } else if (type == kAlert) {
      received.failure = onAlert(plaintext, plaintextLength, &received.hasEnded, &alert);
    } else {
      received.failure = kUnexpectedMessage;
    }
  }
  if (received.failure != kNoFailure) {
    // A peer that has sent a fatal alert gets no answer.
    if (received.failure != kPeerAlert) sealAlert(connection, kFatal, alert, out);
  } else if (!received.hasEnded) {
    keep(connection, bytes + at, length - at);
  }
  return received;
}

void Tls::keep(TlsConnection *connection, const char *bytes, size_t length) {
  if (length == 0) return;
  connection->kept = static_cast<uint8_t *>(malloc(length));
  if (connection->kept == nullptr) abort();
  memcpy(connection->kept, bytes, length);
  connection->keptLength = static_cast<uint16_t>(length);
  keptBytes_ += length;
}

// A KeyUpdate, or a part of one, is all that a client may send after the handshake.
TlsFailure Tls::onMessage(TlsConnection *connection, const uint8_t *bytes, size_t length,
                          uint8_t *alert) {
  size_t missing = kKeyUpdateBytes - connection->messageLength;
  size_t taken = std::min(length, missing);
  memcpy(connection->message + connection->messageLength, bytes, taken);
  connection->messageLength += static_cast<uint8_t>(taken);
  const uint8_t *message = connection->message;
  if (length == 0 || message[0] != kKeyUpdate) return kUnexpectedMessage;
  constexpr uint8_t kLengthOfKeyUpdate[] = {0, 0, 1};
  if (connection->messageLength >= kMessageHeaderBytes &&
      memcmp(message + 1, kLengthOfKeyUpdate, sizeof kLengthOfKeyUpdate) != 0) {
    *alert = kDecodeErrorAlert;
    return kMalformedMessage;
  }
  if (connection->messageLength < kKeyUpdateBytes) return kNoFailure;
  // The next record has other keys, so the message must end with its record (§5.1).
  if (taken < length) return kUnexpectedMessage;
  connection->messageLength = 0;
  uint8_t isRequested = message[kMessageHeaderBytes];
  if (isRequested > 1) {
    *alert = kIllegalParameterAlert;
    return kMalformedMessage;
  }
  records_.updateKeys(connection->records(), kRead);
  if (isRequested == 1) connection->owesKeyUpdate = true;
  return kNoFailure;
}

TlsFailure Tls::onAlert(const uint8_t *bytes, size_t length, bool *hasEnded, uint8_t *alert) {
  if (length != 2) {
    if (length > 0) *alert = kDecodeErrorAlert;
    return length == 0 ? kUnexpectedMessage : kMalformedMessage;
  }
  // The level is ignored (RFC 8446 §6).
  uint8_t description = bytes[1];
  if (description == kCloseNotify) *hasEnded = true;
  return description == kCloseNotify || description == kUserCanceled ? kNoFailure : kPeerAlert;
}

void Tls::updateWriteKeys(TlsConnection *connection, std::vector<char> *out) {
  constexpr char kNotRequested[kKeyUpdateBytes] = {kKeyUpdate, 0, 0, 1, 0};
  records_.seal(connection->records(), kHandshake, kNotRequested, sizeof kNotRequested, out);
  records_.updateKeys(connection->records(), kWrite);
  connection->owesKeyUpdate = false;
}

size_t Tls::sealedBytes(const TlsConnection *connection, size_t length) const {
  if (connection->phase != kTls13) {
    // A record of TLS 1.2 grows by at most 5 + 16 + 48 + 16 bytes, with CBC and SHA-384.
    return length + 85 * (length / plaintextBytesMaxOf(connection->library()->ssl) + 1);
  }
  size_t keyUpdate = kRecordHeaderBytes + kKeyUpdateBytes + kExpansionBytes;
  return keyUpdate + RecordProtection::sealedBytes(connection->records(), length);
}

void Tls::seal(TlsConnection *connection, const char *bytes, size_t length,
               std::vector<char> *out) {
  if (length == 0) return;
  if (connection->phase == kTls13) {
    bool isKeyOld = connection->records()->sequence[kWrite] >= kRecordsPerKey;
    if (isKeyOld || connection->owesKeyUpdate) updateWriteKeys(connection, out);
    records_.seal(connection->records(), kApplicationData, bytes, length, out);
    return;
  }
  io_ = {nullptr, 0, out};
  ERR_clear_error();
  SSL_write(connection->library()->ssl, bytes, static_cast<int>(length));
  ERR_clear_error();
}

void Tls::prefetch(const TlsConnection *connection) {
  // The keys of TLS 1.3 reach to the third line.
  constexpr size_t kLineBytes = 64;
  auto *at = reinterpret_cast<const char *>(connection);
  for (size_t line = 0; line < 3; line++) __builtin_prefetch(at + line * kLineBytes);
}

void Tls::sealEnd(TlsConnection *connection, std::vector<char> *out) {
  if (connection->phase == kTls13) return sealAlert(connection, kWarning, kCloseNotify, out);
  if (connection->phase == kHandshaking) return;
  io_ = {nullptr, 0, out};
  ERR_clear_error();
  SSL_shutdown(connection->library()->ssl);
  ERR_clear_error();
}

void Tls::sealAlert(TlsConnection *connection, uint8_t level, uint8_t description,
                    std::vector<char> *out) {
  char alert[] = {static_cast<char>(level), static_cast<char>(description)};
  records_.seal(connection->records(), kAlert, alert, sizeof alert, out);
}

}  // namespace longline
