#include "tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdio.h>
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
constexpr uint8_t kDecodeErrorAlert = 50;
constexpr uint8_t kIllegalParameterAlert = 47;
constexpr uint8_t kInternalErrorAlert = 80;
constexpr uint8_t kUserCanceled = 90;
constexpr uint8_t kWarning = 1;
constexpr uint8_t kFatal = 2;

// A KeyUpdate (RFC 8446 §4.6.3): its type, a length of three bytes, and whether one is requested.
constexpr uint8_t kKeyUpdate = 24;
constexpr size_t kMessageHeaderBytes = 4;
constexpr size_t kKeyUpdateBytes = 5;

// As many as OpenSSL permits.
constexpr uint8_t kEmptyRecordsMax = 32;
// The limit of AES-GCM is 2^24.5 records with one key (RFC 8446 §5.5).
constexpr uint64_t kRecordsPerKey = 1 << 23;

// Bound on incomplete records of all connections: 64 MB.
constexpr size_t kKeptBytesMax = 64 << 20;

constexpr char kPlainHttpAnswer[] =
    "HTTP/1.1 400 Bad Request\r\n"
    "content-type: text/plain\r\n"
    "content-length: 48\r\n"
    "connection: close\r\n"
    "\r\n"
    "This port expects TLS: use https://, or wss://.\n";

struct HandshakeSecrets {
  uint8_t client[kSecretBytesMax];
  uint8_t server[kSecretBytesMax];
};

size_t readHex(const char *text, uint8_t *bytes, size_t bytesMax) {
  size_t length = 0;
  unsigned value = 0;
  for (; length < bytesMax && sscanf(text + 2 * length, "%2x", &value) == 1; length++) {
    bytes[length] = static_cast<uint8_t>(value);
  }
  return length;
}

// Number of records with the type of encrypted ones.
size_t countEncrypted(const char *bytes, size_t length) {
  size_t count = 0;
  for (size_t at = 0; at + kRecordHeaderBytes <= length;) {
    const uint8_t *header = reinterpret_cast<const uint8_t *>(bytes) + at;
    if (header[0] == kApplicationData) count++;
    at += kRecordHeaderBytes + static_cast<size_t>(header[3] << 8 | header[4]);
  }
  return count;
}

bool suiteOf(const SSL *ssl, Suite *suite) {
  switch (SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl))) {
    case 0x1301:
      *suite = kAes128Gcm;
      return true;
    case 0x1302:
      *suite = kAes256Gcm;
      return true;
    case 0x1303:
      *suite = kChaCha20Poly1305;
      return true;
    default:
      return false;
  }
}

// Longest plaintext that the peer accepts in one record (RFC 6066 §4).
uint16_t plaintextBytesMaxOf(SSL *ssl) {
  uint8_t code = SSL_SESSION_get_max_fragment_length(SSL_get_session(ssl));
  bool isLimited = code >= TLSEXT_max_fragment_length_512 && code <= TLSEXT_max_fragment_length_4096;
  return static_cast<uint16_t>(isLimited ? 256 << code : kPlaintextBytesMax);
}

}  // namespace

// Followed by HandshakeSecrets, or after a handshake of TLS 1.3 by a RecordState.
struct TlsConnection {
  union {
    // Until TLS 1.3 is established.
    SSL *ssl;
    // Bytes of an incomplete record, or nullptr.
    uint8_t *kept;
  };
  uint16_t keptLength;
  Tls::Phase phase;
  // Records in a row without data.
  uint8_t emptyRecords;
  // Bytes of an incomplete message.
  uint8_t messageLength;
  uint8_t message[kKeyUpdateBytes];

  static TlsConnection *allocate(Tls::Phase phase, size_t trailerBytes) {
    auto *connection =
        static_cast<TlsConnection *>(calloc(1, sizeof(TlsConnection) + trailerBytes));
    if (connection != nullptr) connection->phase = phase;
    return connection;
  }
  HandshakeSecrets *secrets() { return reinterpret_cast<HandshakeSecrets *>(this + 1); }
  RecordState *records() { return reinterpret_cast<RecordState *>(this + 1); }
  const RecordState *records() const { return reinterpret_cast<const RecordState *>(this + 1); }
  size_t bytes() const {
    return sizeof(TlsConnection) + (phase == Tls::kTls13
                                        ? RecordProtection::stateBytes(records()->suite)
                                        : sizeof(HandshakeSecrets));
  }
};
static_assert(sizeof(TlsConnection) <= 24, "documented as a part of the cost of a connection");

Tls::Tls() : bioMethod_(BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "longline")) {
  BIO_meth_set_read(bioMethod_, readInput);
  BIO_meth_set_write(bioMethod_, writeOutput);
  BIO_meth_set_ctrl(bioMethod_, control);
  BIO_meth_set_create(bioMethod_, create);
}

Tls::~Tls() {
  for (Context &context : contexts_) SSL_CTX_free(context.context);
  OPENSSL_cleanse(ticketKeys_.data(), ticketKeys_.size() * sizeof(TicketKey));
  BIO_meth_free(bioMethod_);
}

// A line of the key log (draft-ietf-tls-keylogfile): label, client random, secret.
void Tls::onSecret(const SSL *ssl, const char *line) {
  auto *connection = static_cast<TlsConnection *>(SSL_get_app_data(ssl));
  const char *secret = strrchr(line, ' ');
  if (secret == nullptr) return;
  auto isLabel = [line](const char *label) { return strncmp(line, label, strlen(label)) == 0; };
  uint8_t *to = isLabel("CLIENT_TRAFFIC_SECRET_0 ")   ? connection->secrets()->client
                : isLabel("SERVER_TRAFFIC_SECRET_0 ") ? connection->secrets()->server
                                                      : nullptr;
  if (to != nullptr) readHex(secret + 1, to, kSecretBytesMax);
}

int Tls::readInput(BIO *bio, char *bytes, int length) {
  Io &io = static_cast<Tls *>(BIO_get_data(bio))->io_;
  BIO_clear_retry_flags(bio);
  size_t count = std::min(static_cast<size_t>(length), io.inputLength);
  if (count == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  memcpy(bytes, io.input, count);
  io.input += count;
  io.inputLength -= count;
  return static_cast<int>(count);
}

int Tls::writeOutput(BIO *bio, const char *bytes, int length) {
  Io &io = static_cast<Tls *>(BIO_get_data(bio))->io_;
  io.output->insert(io.output->end(), bytes, bytes + length);
  return length;
}

long Tls::control(BIO *, int command, long, void *) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

int Tls::create(BIO *bio) {
  BIO_set_init(bio, 1);
  return 1;
}

TlsConnection *Tls::accept() {
  TlsConnection *connection = TlsConnection::allocate(kHandshaking, sizeof(HandshakeSecrets));
  SSL *ssl = connection == nullptr ? nullptr : SSL_new(contexts_.front().context);
  BIO *bio = ssl == nullptr ? nullptr : BIO_new(bioMethod_);
  if (bio == nullptr) {
    SSL_free(ssl);
    ::free(connection);
    return nullptr;
  }
  BIO_set_data(bio, this);
  SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, connection);
  SSL_set_accept_state(ssl);
  connection->ssl = ssl;
  return connection;
}

void Tls::free(TlsConnection *connection) {
  if (connection->phase == kTls13) {
    tls13Bytes_ -= connection->bytes();
    dropKept(connection);
  } else {
    freeLibrary(connection);
  }
  OPENSSL_cleanse(connection, connection->bytes());
  ::free(connection);
}

void Tls::freeLibrary(TlsConnection *connection) {
  std::vector<char> unsent;
  io_ = {nullptr, 0, &unsent};
  SSL_set_quiet_shutdown(connection->ssl, 1);
  SSL_free(connection->ssl);
  connection->ssl = nullptr;
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
  return connection->phase == kTls13 ? connection->records()->sequence[kRead] : 0;
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

TlsReceived Tls::handshake(TlsConnection **connection, char *bytes, size_t length,
                           std::vector<char> *out) {
  SSL *ssl = (*connection)->ssl;
  TlsReceived received;
  if (SSL_in_before(ssl) != 0 && bytes[0] != static_cast<char>(kHandshake)) {
    // A method of HTTP, or something else.
    if (bytes[0] >= 'A' && bytes[0] <= 'Z') {
      out->insert(out->end(), kPlainHttpAnswer, kPlainHttpAnswer + strlen(kPlainHttpAnswer));
    }
    received.failure = kNotTls;
    return received;
  }
  size_t sentBefore = out->size();
  io_ = {bytes, length, out};
  ERR_clear_error();
  int result = SSL_do_handshake(ssl);
  if (result != 1) {
    if (SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ) return received;
    ERR_clear_error();
    received.failure = kHandshakeFailed;
    return received;
  }
  size_t rest = io_.inputLength;
  memmove(bytes, io_.input, rest);
  if (SSL_version(ssl) == TLS1_3_VERSION) {
    // Session tickets are the only records that are sent under the new keys before ours.
    *connection =
        replaceByKeys(*connection, countEncrypted(out->data() + sentBefore, out->size() - sentBefore));
    received = readRecords(*connection, bytes, rest, out);
  } else {
    (*connection)->phase = kTls12;
    OPENSSL_cleanse((*connection)->secrets(), sizeof(HandshakeSecrets));
    if (rest > 0) received = readLibrary(*connection, bytes, rest, out);
  }
  received.isEstablished = true;
  return received;
}

TlsConnection *Tls::replaceByKeys(TlsConnection *connection, size_t ticketRecords) {
  Suite suite;
  // The configured list has no other.
  if (!suiteOf(connection->ssl, &suite)) abort();
  TlsConnection *next = TlsConnection::allocate(kTls13, RecordProtection::stateBytes(suite));
  if (next == nullptr) abort();
  next->records()->plaintextBytesMax = plaintextBytesMaxOf(connection->ssl);
  HandshakeSecrets *secrets = connection->secrets();
  records_.start(next->records(), suite, secrets->client, secrets->server);
  next->records()->sequence[kWrite] = ticketRecords;
  tls13Bytes_ += next->bytes();
  free(connection);
  return next;
}

TlsReceived Tls::readLibrary(TlsConnection *connection, char *bytes, size_t length,
                             std::vector<char> *out) {
  TlsReceived received;
  scratch_.assign(bytes, bytes + length);
  io_ = {scratch_.data(), length, out};
  for (;;) {
    ERR_clear_error();
    int count = SSL_read(connection->ssl, bytes + received.plaintextLength,
                         static_cast<int>(kPlaintextBytesMax));
    if (count > 0) {
      received.plaintextLength += static_cast<size_t>(count);
      continue;
    }
    int error = SSL_get_error(connection->ssl, count);
    if (error == SSL_ERROR_ZERO_RETURN) received.hasEnded = true;
    if (error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL) received.failure = kBadRecord;
    break;
  }
  ERR_clear_error();
  return received;
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
      received.failure = onMessage(connection, plaintext, plaintextLength, &alert, out);
    } else if (type == kAlert) {
      received.failure = onAlert(plaintext, plaintextLength, &received.hasEnded, &alert);
    } else {
      received.failure = kUnexpectedMessage;
    }
  }
  size_t rest = length - at;
  if (received.failure == kNoFailure && keptBytes_ + rest > kKeptBytesMax) {
    received.failure = kTooManyIncompleteRecords;
    alert = kInternalErrorAlert;
  }
  if (received.failure != kNoFailure) {
    // A peer that has sent a fatal alert gets no answer.
    if (received.failure != kPeerAlert) sealAlert(connection, kFatal, alert, out);
  } else if (!received.hasEnded) {
    keep(connection, bytes + at, rest);
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
                          uint8_t *alert, std::vector<char> *out) {
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
  if (isRequested == 1) updateWriteKeys(connection, out);
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
}

size_t Tls::sealedBytes(const TlsConnection *connection, size_t length) const {
  // A record of TLS 1.2 grows by at most 5 + 16 + 48 + 16 bytes, with CBC and SHA-384.
  if (connection->phase != kTls13) return length + 85 * (length / kPlaintextBytesMax + 1);
  return RecordProtection::sealedBytes(connection->records(), length);
}

void Tls::seal(TlsConnection *connection, const char *bytes, size_t length,
               std::vector<char> *out) {
  if (length == 0) return;
  if (connection->phase == kTls13) {
    if (connection->records()->sequence[kWrite] >= kRecordsPerKey) updateWriteKeys(connection, out);
    records_.seal(connection->records(), kApplicationData, bytes, length, out);
    return;
  }
  io_ = {nullptr, 0, out};
  ERR_clear_error();
  SSL_write(connection->ssl, bytes, static_cast<int>(length));
  ERR_clear_error();
}

void Tls::sealEnd(TlsConnection *connection, std::vector<char> *out) {
  if (connection->phase == kTls13) return sealAlert(connection, kWarning, kCloseNotify, out);
  if (connection->phase == kHandshaking) return;
  io_ = {nullptr, 0, out};
  ERR_clear_error();
  SSL_shutdown(connection->ssl);
  ERR_clear_error();
}

void Tls::sealAlert(TlsConnection *connection, uint8_t level, uint8_t description,
                    std::vector<char> *out) {
  char alert[] = {static_cast<char>(level), static_cast<char>(description)};
  records_.seal(connection->records(), kAlert, alert, sizeof alert, out);
}

}  // namespace longline
