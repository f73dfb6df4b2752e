// Record protection of TLS 1.3 (RFC 8446 §5 and §7) with the memory that it needs and no more:
// per direction a traffic secret, key, IV and sequence number. The contexts of ciphers and hashes
// are shared by all connections, because setting a key costs less than a microsecond and a context
// hundreds of bytes.
#pragma once
#include <openssl/evp.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace longline {

enum Suite : uint8_t { kAes128Gcm, kAes256Gcm, kChaCha20Poly1305 };
constexpr int kSuites = 3;

enum Direction : uint8_t { kRead = 0, kWrite = 1 };

// Types of records (RFC 8446 §5.1).
enum ContentType : uint8_t {
  kChangeCipherSpec = 20,
  kAlert = 21,
  kHandshake = 22,
  kApplicationData = 23,
};

constexpr size_t kRecordHeaderBytes = 5;
constexpr size_t kPlaintextBytesMax = 1 << 14;
// The inner type and the authentication tag (RFC 8446 §5.2); a peer may add padding, up to 256
// bytes of expansion in all.
constexpr size_t kTagBytes = 16;
constexpr size_t kExpansionBytes = 1 + kTagBytes;
constexpr size_t kCiphertextBytesMax = kPlaintextBytesMax + 256;
constexpr size_t kRecordBytesMax = kRecordHeaderBytes + kCiphertextBytesMax;

// The longest secret and key of all suites.
constexpr size_t kSecretBytesMax = 48;

// Keys of one connection. Allocated with `stateBytes`.
struct RecordState {
  uint64_t sequence[2];
  // Longest plaintext of a sent record: 2^14, or less if the peer asked for it (RFC 6066 §4).
  uint16_t plaintextBytesMax;
  Suite suite;
  // For each direction: IV, key, traffic secret.
  uint8_t material[];
};

enum class Opened : uint8_t { kPlaintext, kBadMac, kTooLong, kNoType };

class RecordProtection {
 public:
  RecordProtection();
  ~RecordProtection();
  RecordProtection(const RecordProtection &) = delete;
  RecordProtection &operator=(const RecordProtection &) = delete;

  static size_t stateBytes(Suite suite);
  // Also the length of the suite's hash.
  static size_t secretBytes(Suite suite);
  // Length of the records that `seal` makes of `length` bytes, which are at least one.
  static size_t sealedBytes(const RecordState *state, size_t length);

  // `plaintextBytesMax` must be set before.
  void start(RecordState *state, Suite suite, const uint8_t *readSecret,
             const uint8_t *writeSecret) const;
  // Appends records.
  void seal(RecordState *state, ContentType type, const char *bytes, size_t length,
            std::vector<char> *out);
  // Opens the record at `record`, in place: the plaintext follows the header.
  Opened open(RecordState *state, uint8_t *record, size_t recordLength, size_t *plaintextLength,
              uint8_t *type);
  // The next traffic secret (RFC 8446 §7.2).
  void updateKeys(RecordState *state, Direction direction) const;
  // HKDF-Expand-Label (RFC 8446 §7.1) for results that are not longer than the suite's hash.
  // `context` is a hash, or nullptr.
  void expandLabel(Suite suite, const uint8_t *secret, const char *label, const uint8_t *context,
                   uint8_t *out, size_t length) const;
  // Overwrites the keys that the shared contexts have used last.
  void eraseUsedKeys() const;

 private:
  void expandKeys(RecordState *state, Direction direction) const;
  void sealOne(RecordState *state, ContentType type, const char *bytes, size_t length,
               uint8_t *record);

  EVP_CIPHER *ciphers_[kSuites];
  EVP_CIPHER_CTX *sealing_[kSuites];
  EVP_CIPHER_CTX *opening_[kSuites];
  EVP_MAC_CTX *expanding_[kSuites];
};

}  // namespace longline
