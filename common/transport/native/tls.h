// The server side of TLS for the connections of one transport, without sockets.
//
// OpenSSL runs the handshake. After a handshake of TLS 1.3, the traffic secrets stay in a few dozen
// bytes, the library's object of 14 to 23 KB is freed, and records are opened and sealed here: the
// rest of RFC 8446 that a server needs then is closure, alerts and key updates. A connection of
// TLS 1.2 keeps the library's object.
#pragma once
#include <openssl/ssl.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "record_protection.h"
#include "secret_pool.h"

namespace longline {

// Why a connection failed. The order is that of TLS_FAILURES in ../tls-failures.ts.
enum TlsFailure : uint8_t {
  kNoFailure,
  // The peer sent bytes that are no TLS.
  kNotTls,
  // The handshake failed: no common version or cipher.
  kHandshakeFailed,
  kHandshakeTimeout,
  // The peer disconnected before the handshake was complete.
  kHandshakeAborted,
  // A record could not be authenticated.
  kBadRecord,
  // A record is longer than permitted.
  kRecordTooLong,
  // A record or message that is not allowed after the handshake.
  kUnexpectedMessage,
  // A message of a wrong form.
  kMalformedMessage,
  // Many records in a row without data: key updates, alerts or empty ones.
  kTooManyEmptyRecords,
  // A record that the peer did not complete in time.
  kRecordTimeout,
  // The oldest incomplete record, when all together take too much memory.
  kTooManyIncompleteRecords,
  // The peer sent a fatal alert.
  kPeerAlert,
  // The oldest unfinished handshake, when there are too many.
  kTooManyHandshakes,
  // The certificate of the peer is invalid, or it sent none although one is required.
  kCertificateRejected,
  // The peer ended a connection in the middle of a record.
  kTruncatedRecord,
  // The peer ended a connection without close_notify, after a record.
  kNoCloseNotify,
};

// One certificate with its key, in PEM, and the server names for which it is used.
struct TlsCertificate {
  std::string chain;
  std::string key;
  std::vector<std::string> names;
};

constexpr size_t kTicketKeyBytes = 48;
// Bound on the certificates that a client sends.
constexpr size_t kClientCertificateBytesMax = 16 << 10;

enum ClientCertificates : uint8_t { kNotRequested, kOptional, kRequired };

struct TlsSettings {
  // The first is used for server names that match none.
  std::vector<TlsCertificate> certificates;
  // The first seals session tickets; all open them. None: keys of this process.
  std::vector<std::string> ticketKeys;
  // In OpenSSL's notation, for TLS 1.2.
  std::string cipherList;
  bool isTls12Allowed = true;
  ClientCertificates clientCertificates = kNotRequested;
  // In PEM: the authorities of client certificates.
  std::string clientAuthorities;
};

// The state of one connection; opaque outside of the sources of Tls.
struct TlsConnection;
struct Library;

// Result of `receive`. Plaintext replaces the bytes that were received.
struct TlsReceived {
  size_t plaintextLength = 0;
  // The handshake was completed by these bytes.
  bool isEstablished = false;
  // The peer sends no more (close_notify).
  bool hasEnded = false;
  TlsFailure failure = kNoFailure;
};

class Tls {
 public:
  Tls();
  ~Tls();
  Tls(const Tls &) = delete;
  Tls &operator=(const Tls &) = delete;

  // Applies to later handshakes. Returns the error; on an error the former settings stay.
  std::string configure(const TlsSettings &settings);
  bool isConfigured() const { return !contexts_.empty(); }

  // Starts a handshake. Returns nullptr if memory is exhausted.
  TlsConnection *accept();
  // Frees a connection and erases its keys.
  void free(TlsConnection *connection);
  // Erases what the library's contexts keep of the keys that were used last.
  void eraseUsedKeys() { records_.eraseUsedKeys(); }

  // Bytes that were kept of an incomplete record; they must precede the next received ones.
  size_t keptBytes(const TlsConnection *connection) const;
  void takeKept(TlsConnection *connection, char *to);
  void dropKept(TlsConnection *connection);
  // Handles `length` received bytes, the kept ones included. Appends what is to be sent to `out`,
  // also on a failure. At most kPlaintextBytesMax more bytes than `length` are written to `bytes`.
  // The connection may move.
  TlsReceived receive(TlsConnection **connection, char *bytes, size_t length,
                      std::vector<char> *out);
  // Length of what `seal` appends, or an upper bound.
  size_t sealedBytes(const TlsConnection *connection, size_t length) const;
  void seal(TlsConnection *connection, const char *bytes, size_t length, std::vector<char> *out);
  // Loads what `seal` needs into the processor's cache.
  static void prefetch(const TlsConnection *connection);
  // Appends close_notify.
  void sealEnd(TlsConnection *connection, std::vector<char> *out);
  // The client's certificate in DER, of the handshake that `receive` has just completed; empty
  // without one.
  const std::vector<uint8_t> &clientCertificate() const { return clientCertificate_; }
  // Changes with each record that is complete.
  uint64_t recordsRead(const TlsConnection *connection) const;

  // Connections whose handshake is unfinished or has failed.
  size_t handshakes() const { return handshakes_; }
  bool isHandshaking(const TlsConnection *connection) const;
  // Incomplete records of all connections.
  size_t keptBytes() const { return keptBytes_; }
  // Established connections.
  size_t tls12Connections() const { return tls12Connections_; }
  size_t tls13Connections() const { return tls13Connections_; }
  // Keys of TLS 1.3 and incomplete records.
  size_t tls13Bytes() const { return tls13Bytes_ + keptBytes_; }
  // An estimate, because OpenSSL does not count its memory.
  size_t tls12Bytes() const { return tls12Connections_ * kTls12Bytes; }

 private:
  friend struct TlsConnection;
  enum Phase : uint8_t { kHandshaking, kTls12, kTls13 };
  // Measured: an idle connection without buffers (docs/memory.md).
  static constexpr size_t kTls12Bytes = 13'500;

  struct Context {
    SSL_CTX *context;
    std::vector<std::string> names;
  };
  // Input and output of the library during one call.
  struct Io {
    const char *input = nullptr;
    size_t inputLength = 0;
    std::vector<char> *output = nullptr;
  };
  struct TicketKey {
    uint8_t name[16];
    uint8_t hmac[16];
    uint8_t aes[16];
  };

  static int onServerName(SSL *ssl, int *alert, void *tls);
  static int onAlpn(SSL *ssl, const unsigned char **out, unsigned char *outLength,
                    const unsigned char *offered, unsigned int offeredLength, void *tls);
  static int onTicketKey(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                         EVP_MAC_CTX *mac, int isNew);
  static void onSecret(const SSL *ssl, const char *line);
  static BIO_METHOD *createBioMethod();
  static int readInput(BIO *bio, char *bytes, int length);
  static int writeOutput(BIO *bio, const char *bytes, int length);
  static long control(BIO *bio, int command, long, void *);
  static int create(BIO *bio);

  SSL_CTX *createContext(const TlsCertificate &certificate, const TlsSettings &settings,
                         std::string *error);
  SSL_CTX *contextFor(const char *serverName) const;
  // Takes the reason from the errors of the library, and clears them.
  static TlsFailure failureOfLibrary(TlsFailure otherwise);
  // Returns false if the certificate is too long.
  bool readClientCertificate(SSL *ssl);
  TlsReceived handshake(TlsConnection **connection, char *bytes, size_t length,
                        std::vector<char> *out);
  bool startLibrary(TlsConnection *connection);
  bool isFirstMessageTooLong(TlsConnection *connection, const char *bytes, size_t length);
  TlsReceived readLibrary(TlsConnection *connection, char *bytes, size_t length,
                          std::vector<char> *out);
  TlsReceived readRecords(TlsConnection *connection, char *bytes, size_t length,
                          std::vector<char> *out);
  TlsFailure onMessage(TlsConnection *connection, const uint8_t *bytes, size_t length,
                       uint8_t *alert);
  TlsFailure onAlert(const uint8_t *bytes, size_t length, bool *hasEnded, uint8_t *alert);
  void keep(TlsConnection *connection, const char *bytes, size_t length);
  TlsConnection *replaceByKeys(TlsConnection *connection, size_t ticketRecords);
  void sealAlert(TlsConnection *connection, uint8_t level, uint8_t description,
                 std::vector<char> *out);
  void updateWriteKeys(TlsConnection *connection, std::vector<char> *out);
  void eraseSecrets(Library *library, Suite suite);
  void freeLibrary(SSL *ssl);

  TlsConnection *allocate(Phase phase, SecretPool *pool);

  RecordProtection records_;
  // TLS 1.3, by suite.
  SecretPool keyPools_[kSuites];
  SecretPool handshakePool_;
  std::vector<Context> contexts_;
  std::vector<TicketKey> ticketKeys_;
  BIO_METHOD *bioMethod_;
  Io io_;
  // Plaintext of TLS 1.2, which the library may not write over its own input.
  std::vector<char> scratch_;
  std::vector<uint8_t> clientCertificate_;
  size_t tls12Connections_ = 0;
  size_t tls13Connections_ = 0;
  size_t tls13Bytes_ = 0;
  size_t keptBytes_ = 0;
  size_t handshakes_ = 0;
};

}  // namespace longline
