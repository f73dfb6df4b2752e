// The part of TLS that OpenSSL does: handshakes, and connections of TLS 1.2.
#include <openssl/bio.h>
#include <openssl/err.h>
#include <malloc.h>
#include <string.h>

#include <algorithm>

#include "tls_connection.h"

namespace longline {

namespace {

// Longest first message of a flight: a ClientHello takes a few hundred bytes, with keys against
// quantum computers and a ticket some thousands. The library permits eight times as much, and
// allocates what a message announces.
constexpr size_t kFirstMessageBytesMax = 1 << 14;

// Longest record that the library accepts, one of TLS 1.2 (RFC 5246 §6.2.3).
constexpr size_t kLibraryRecordBytesMax = kRecordHeaderBytes + kPlaintextBytesMax + 2048;

constexpr char kPlainHttpAnswer[] =
    "HTTP/1.1 400 Bad Request\r\n"
    "content-type: text/plain\r\n"
    "content-length: 48\r\n"
    "connection: close\r\n"
    "\r\n"
    "This port expects TLS: use https://, or wss://.\n";

uint8_t digitOf(char hex) {
  return static_cast<uint8_t>(hex <= '9' ? hex - '0' : (hex | 0x20) - 'a' + 10);
}

void readHex(const char *text, uint8_t *bytes, size_t bytesMax) {
  size_t length = std::min(strlen(text) / 2, bytesMax);
  for (size_t i = 0; i < length; i++) {
    bytes[i] = static_cast<uint8_t>(digitOf(text[2 * i]) << 4 | digitOf(text[2 * i + 1]));
  }
}

size_t recordBytes(const char *record) {
  auto *header = reinterpret_cast<const uint8_t *>(record);
  return kRecordHeaderBytes + static_cast<size_t>(header[3] << 8 | header[4]);
}

// Number of records with the type of encrypted ones.
size_t countEncrypted(const char *bytes, size_t length) {
  size_t count = 0;
  for (size_t at = 0; at + kRecordHeaderBytes <= length; at += recordBytes(bytes + at)) {
    if (bytes[at] == kApplicationData) count++;
  }
  return count;
}

// Length of the complete records. One that is too long counts as complete, because the library
// rejects it by its header.
size_t completeBytes(const char *bytes, size_t length) {
  size_t at = 0;
  while (length - at >= kRecordHeaderBytes) {
    size_t next = recordBytes(bytes + at);
    if (next > kLibraryRecordBytesMax) return length;
    if (next > length - at) break;
    at += next;
  }
  return at;
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

}  // namespace

uint16_t plaintextBytesMaxOf(SSL *ssl) {
  uint8_t code = SSL_SESSION_get_max_fragment_length(SSL_get_session(ssl));
  bool isLimited = code >= TLSEXT_max_fragment_length_512 && code <= TLSEXT_max_fragment_length_4096;
  return static_cast<uint16_t>(isLimited ? 256 << code : kPlaintextBytesMax);
}

// The library has no socket: its input and output are the bytes of one call.
BIO_METHOD *Tls::createBioMethod() {
  BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "longline");
  BIO_meth_set_read(method, readInput);
  BIO_meth_set_write(method, writeOutput);
  BIO_meth_set_ctrl(method, control);
  BIO_meth_set_create(method, create);
  return method;
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

// A line of the key log (draft-ietf-tls-keylogfile): label, client random, secret.
void Tls::onSecret(const SSL *ssl, const char *line) {
  auto *connection = static_cast<TlsConnection *>(SSL_get_app_data(ssl));
  const char *secret = strrchr(line, ' ');
  if (secret == nullptr) return;
  auto isLabel = [line](const char *label) { return strncmp(line, label, strlen(label)) == 0; };
  uint8_t *to = isLabel("CLIENT_TRAFFIC_SECRET_0 ")   ? connection->library()->clientSecret
                : isLabel("SERVER_TRAFFIC_SECRET_0 ") ? connection->library()->serverSecret
                                                      : nullptr;
  if (to != nullptr) readHex(secret + 1, to, kSecretBytesMax);
}

bool Tls::startLibrary(TlsConnection *connection) {
  SSL *ssl = SSL_new(contexts_.front().context);
  BIO *bio = ssl == nullptr ? nullptr : BIO_new(bioMethod_);
  if (bio == nullptr) {
    SSL_free(ssl);
    return false;
  }
  BIO_set_data(bio, this);
  SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, connection);
  SSL_set_accept_state(ssl);
  connection->library()->ssl = ssl;
  return true;
}

// The library does not erase the secrets of TLS 1.3 in its object. They are arrays in a row, from
// `early_secret` to `early_exporter_master_secret` (ssl_local.h). Should they be elsewhere one day,
// the traffic secrets are erased all the same.
void Tls::eraseSecrets(Library *library, Suite suite) {
  constexpr size_t kArrayBytes = EVP_MAX_MD_SIZE;
  constexpr ptrdiff_t kArraysBefore = 8, kArraysFrom = 4;
  auto *object = reinterpret_cast<uint8_t *>(library->ssl);
  size_t objectBytes = malloc_usable_size(object);
  size_t length = RecordProtection::secretBytes(suite);
  auto find = [&](const uint8_t *secret) {
    return static_cast<uint8_t *>(memmem(object, objectBytes, secret, length));
  };
  uint8_t *client = find(library->clientSecret);
  uint8_t *server = find(library->serverSecret);
  bool isRow = client != nullptr && client - object >= kArraysBefore * ptrdiff_t{kArrayBytes} &&
               server == client + kArrayBytes;
  if (isRow) {
    // From `master_secret` and `server_finished_hash` (RFC 8446 §7.1).
    uint8_t derived[kSecretBytesMax];
    records_.expandLabel(suite, client - 6 * kArrayBytes, "c ap traffic", client - 2 * kArrayBytes,
                         derived, length);
    isRow = memcmp(derived, client, length) == 0;
    OPENSSL_cleanse(derived, sizeof derived);
  }
  if (isRow) {
    OPENSSL_cleanse(client - kArraysBefore * kArrayBytes,
                    (kArraysBefore + kArraysFrom) * kArrayBytes);
    return;
  }
  for (uint8_t *secret : {client, server}) {
    if (secret != nullptr) OPENSSL_cleanse(secret, length);
  }
}

void Tls::freeLibrary(SSL *ssl) {
  if (ssl == nullptr) return;
  std::vector<char> unsent;
  io_ = {nullptr, 0, &unsent};
  SSL_set_quiet_shutdown(ssl, 1);
  SSL_free(ssl);
}

TlsReceived Tls::handshake(TlsConnection **connection, char *bytes, size_t length,
                           std::vector<char> *out) {
  TlsReceived received;
  SSL *&ssl = (*connection)->library()->ssl;
  if (ssl == nullptr && bytes[0] != static_cast<char>(kHandshake)) {
    // A method of HTTP, or something else.
    if (bytes[0] >= 'A' && bytes[0] <= 'Z') {
      out->insert(out->end(), kPlainHttpAnswer, kPlainHttpAnswer + strlen(kPlainHttpAnswer));
    }
    received.failure = kNotTls;
    return received;
  }
  size_t complete = completeBytes(bytes, length);
  if (complete == 0) {
    keep(*connection, bytes, length);
    return received;
  }
  if (isFirstMessageTooLong(*connection, bytes, complete)) {
    constexpr char kAlertRecord[] = {kAlert, 3, 3, 0, 2, kFatal, kDecodeErrorAlert};
    out->insert(out->end(), kAlertRecord, kAlertRecord + sizeof kAlertRecord);
    received.failure = kMalformedMessage;
    return received;
  }
  if (ssl == nullptr && !startLibrary(*connection)) {
    received.failure = kHandshakeFailed;
    return received;
  }
  size_t sentBefore = out->size();
  io_ = {bytes, complete, out};
  ERR_clear_error();
  int result = SSL_do_handshake(ssl);
  size_t sent = out->size() - sentBefore;
  if (result != 1) {
    bool isWaiting = SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ;
    if (!isWaiting) received.failure = failureOfLibrary(kHandshakeFailed);
    // An answer is sent between flights.
    if (sent > 0) (*connection)->messageLength = 0;
    if (received.failure == kNoFailure) keep(*connection, bytes + complete, length - complete);
    return received;
  }
  if (!readClientCertificate(ssl)) {
    received.failure = kCertificateRejected;
    return received;
  }
  size_t rest = io_.inputLength + length - complete;
  memmove(bytes, io_.input, rest);
  if (SSL_version(ssl) == TLS1_3_VERSION) {
    // Session tickets are the only records that are sent under the new keys before ours.
    *connection = replaceByKeys(*connection, countEncrypted(out->data() + sentBefore, sent));
    received = readRecords(*connection, bytes, rest, out);
  } else {
    (*connection)->phase = kTls12;
    handshakes_--;
    tls12Connections_++;
    if (rest > 0) received = readLibrary(*connection, bytes, rest, out);
  }
  received.isEstablished = true;
  return received;
}

// The header of the message may be spread over several records. In TLS 1.2 only a ClientHello may
// be long, and later records may be encrypted.
bool Tls::isFirstMessageTooLong(TlsConnection *connection, const char *bytes, size_t length) {
  SSL *ssl = connection->library()->ssl;
  if (ssl != nullptr && SSL_version(ssl) == TLS1_2_VERSION) return false;
  uint8_t &known = connection->messageLength;
  for (size_t at = 0; at + kRecordHeaderBytes <= length && known < kMessageHeaderBytes;) {
    size_t end = std::min(at + recordBytes(bytes + at), length);
    if (bytes[at] == kHandshake) {
      size_t content = end - at - kRecordHeaderBytes;
      size_t count = std::min(content, kMessageHeaderBytes - known);
      memcpy(connection->message + known, bytes + at + kRecordHeaderBytes, count);
      known += static_cast<uint8_t>(count);
    }
    at = end;
  }
  const uint8_t *header = connection->message;
  size_t announced = static_cast<size_t>(header[1] << 16 | header[2] << 8 | header[3]);
  return known == kMessageHeaderBytes && announced > kFirstMessageBytesMax;
}

TlsConnection *Tls::replaceByKeys(TlsConnection *connection, size_t ticketRecords) {
  Suite suite;
  Library *library = connection->library();
  // The configured list has no other.
  if (!suiteOf(library->ssl, &suite)) abort();
  TlsConnection *next = allocate(kTls13, &keyPools_[suite]);
  if (next == nullptr) abort();
  next->records()->plaintextBytesMax = plaintextBytesMaxOf(library->ssl);
  records_.start(next->records(), suite, library->clientSecret, library->serverSecret);
  eraseSecrets(library, suite);
  next->records()->sequence[kWrite] = ticketRecords;
  tls13Connections_++;
  tls13Bytes_ += keyPools_[suite].cellBytes();
  free(connection);
  return next;
}

// The library gets whole records, so that it keeps no bytes of its own.
TlsReceived Tls::readLibrary(TlsConnection *connection, char *bytes, size_t length,
                             std::vector<char> *out) {
  TlsReceived received;
  SSL *ssl = connection->library()->ssl;
  size_t sentBefore = out->size();
  size_t complete = completeBytes(bytes, length);
  scratch_.assign(bytes, bytes + length);
  io_ = {scratch_.data(), complete, out};
  if (complete > 0) connection->reads++;
  for (;;) {
    ERR_clear_error();
    int count = SSL_read(ssl, bytes + received.plaintextLength,
                         static_cast<int>(kPlaintextBytesMax));
    if (count > 0) {
      received.plaintextLength += static_cast<size_t>(count);
      continue;
    }
    int error = SSL_get_error(ssl, count);
    if (error == SSL_ERROR_ZERO_RETURN) received.hasEnded = true;
    if (error == SSL_ERROR_SSL || error == SSL_ERROR_SYSCALL) {
      received.failure = failureOfLibrary(kBadRecord);
    }
    break;
  }
  ERR_clear_error();
  // A warning is all that the library may answer: the peer tries to renegotiate.
  if (received.failure == kNoFailure && out->size() > sentBefore) {
    received.failure = kUnexpectedMessage;
  }
  if (received.failure == kNoFailure && !received.hasEnded) {
    keep(connection, scratch_.data() + complete, length - complete);
  }
  return received;
}

}  // namespace longline
