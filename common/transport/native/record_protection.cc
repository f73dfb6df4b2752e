#include "record_protection.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

namespace longline {

namespace {

constexpr size_t kIvBytes = 12;

struct Parameters {
  const char *cipher;
  const char *hash;
  uint8_t keyBytes;
  uint8_t secretBytes;
};

constexpr Parameters kParameters[kSuites] = {
    {"AES-128-GCM", "SHA256", 16, 32},
    {"AES-256-GCM", "SHA384", 32, 48},
    {"ChaCha20-Poly1305", "SHA256", 32, 32},
};

size_t directionBytes(Suite suite) {
  return kIvBytes + kParameters[suite].keyBytes + kParameters[suite].secretBytes;
}

uint8_t *ivOf(RecordState *state, Direction direction) {
  return state->material + direction * directionBytes(state->suite);
}

uint8_t *keyOf(RecordState *state, Direction direction) {
  return ivOf(state, direction) + kIvBytes;
}

uint8_t *secretOf(RecordState *state, Direction direction) {
  return keyOf(state, direction) + kParameters[state->suite].keyBytes;
}

// The IV combined with the sequence number, which it increments (RFC 8446 §5.3).
void nextNonce(RecordState *state, Direction direction, uint8_t *nonce) {
  memcpy(nonce, ivOf(state, direction), kIvBytes);
  uint64_t sequence = state->sequence[direction]++;
  for (size_t i = 0; i < sizeof sequence; i++) {
    nonce[kIvBytes - 1 - i] ^= static_cast<uint8_t>(sequence >> (8 * i));
  }
}

// These calls fail only if the library is broken.
void check(bool isOk) {
  if (!isOk) abort();
}

}  // namespace

RecordProtection::RecordProtection() {
  EVP_MAC *hmac = EVP_MAC_fetch(nullptr, "HMAC", nullptr);
  for (int suite = 0; suite < kSuites; suite++) {
    ciphers_[suite] = EVP_CIPHER_fetch(nullptr, kParameters[suite].cipher, nullptr);
    sealing_[suite] = EVP_CIPHER_CTX_new();
    opening_[suite] = EVP_CIPHER_CTX_new();
    check(EVP_EncryptInit_ex2(sealing_[suite], ciphers_[suite], nullptr, nullptr, nullptr) == 1);
    check(EVP_DecryptInit_ex2(opening_[suite], ciphers_[suite], nullptr, nullptr, nullptr) == 1);
    expanding_[suite] = EVP_MAC_CTX_new(hmac);
    char *hash = const_cast<char *>(kParameters[suite].hash);
    const OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, hash, 0),
        OSSL_PARAM_construct_end(),
    };
    check(EVP_MAC_CTX_set_params(expanding_[suite], parameters) == 1);
  }
  EVP_MAC_free(hmac);
}

RecordProtection::~RecordProtection() {
  for (int suite = 0; suite < kSuites; suite++) {
    EVP_CIPHER_CTX_free(sealing_[suite]);
    EVP_CIPHER_CTX_free(opening_[suite]);
    EVP_MAC_CTX_free(expanding_[suite]);
    EVP_CIPHER_free(ciphers_[suite]);
  }
}

size_t RecordProtection::stateBytes(Suite suite) {
  return sizeof(RecordState) + 2 * directionBytes(suite);
}

size_t RecordProtection::secretBytes(Suite suite) { return kParameters[suite].secretBytes; }

size_t RecordProtection::sealedBytes(const RecordState *state, size_t length) {
  size_t most = state->plaintextBytesMax;
  size_t records = length <= most ? 1 : (length + most - 1) / most;
  return length + records * (kRecordHeaderBytes + kExpansionBytes);
}

void RecordProtection::start(RecordState *state, Suite suite, const uint8_t *readSecret,
                             const uint8_t *writeSecret) const {
  state->suite = suite;
  memcpy(secretOf(state, kRead), readSecret, secretBytes(suite));
  memcpy(secretOf(state, kWrite), writeSecret, secretBytes(suite));
  expandKeys(state, kRead);
  expandKeys(state, kWrite);
}

void RecordProtection::seal(RecordState *state, ContentType type, const char *bytes, size_t length,
                            std::vector<char> *out) {
  size_t at = out->size();
  out->resize(at + sealedBytes(state, length));
  for (size_t sealed = 0; sealed < length;) {
    size_t rest = length - sealed;
    size_t part = rest < state->plaintextBytesMax ? rest : state->plaintextBytesMax;
    sealOne(state, type, bytes + sealed, part, reinterpret_cast<uint8_t *>(out->data()) + at);
    sealed += part;
    at += kRecordHeaderBytes + part + kExpansionBytes;
  }
}

void RecordProtection::sealOne(RecordState *state, ContentType type, const char *bytes,
                               size_t length, uint8_t *record) {
  size_t ciphertextLength = length + kExpansionBytes;
  // The legacy version of every record is TLS 1.2.
  uint8_t header[kRecordHeaderBytes] = {kApplicationData, 3, 3,
                                        static_cast<uint8_t>(ciphertextLength >> 8),
                                        static_cast<uint8_t>(ciphertextLength)};
  memcpy(record, header, sizeof header);
  uint8_t nonce[kIvBytes];
  nextNonce(state, kWrite, nonce);
  EVP_CIPHER_CTX *context = sealing_[state->suite];
  uint8_t *at = record + kRecordHeaderBytes;
  // A copy costs less than a second call for the type.
  memcpy(at, bytes, length);
  at[length] = type;
  int written = 0;
  check(EVP_EncryptInit_ex2(context, nullptr, keyOf(state, kWrite), nonce, nullptr) == 1);
  check(EVP_EncryptUpdate(context, nullptr, &written, header, sizeof header) == 1);
  check(EVP_EncryptUpdate(context, at, &written, at, static_cast<int>(length + 1)) == 1);
  at += written;
  check(EVP_EncryptFinal_ex(context, at, &written) == 1);
  check(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, at) == 1);
}

Opened RecordProtection::open(RecordState *state, uint8_t *record, size_t recordLength,
                              size_t *plaintextLength, uint8_t *type) {
  size_t length = recordLength - kRecordHeaderBytes;
  if (length < kExpansionBytes) return Opened::kBadMac;
  length -= kTagBytes;
  uint8_t *content = record + kRecordHeaderBytes;
  uint8_t nonce[kIvBytes];
  nextNonce(state, kRead, nonce);
  EVP_CIPHER_CTX *context = opening_[state->suite];
  int written = 0;
  bool isOpen =
      EVP_DecryptInit_ex2(context, nullptr, keyOf(state, kRead), nonce, nullptr) == 1 &&
      EVP_DecryptUpdate(context, nullptr, &written, record, kRecordHeaderBytes) == 1 &&
      EVP_DecryptUpdate(context, content, &written, content, static_cast<int>(length)) == 1 &&
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagBytes, content + length) == 1 &&
      EVP_DecryptFinal_ex(context, content + length, &written) == 1;
  if (!isOpen) return Opened::kBadMac;
  if (length > kPlaintextBytesMax + 1) return Opened::kTooLong;
  // The type is the last byte that is not padding.
  while (length > 0 && content[length - 1] == 0) length--;
  if (length == 0) return Opened::kNoType;
  *type = content[length - 1];
  *plaintextLength = length - 1;
  return Opened::kPlaintext;
}

void RecordProtection::updateKeys(RecordState *state, Direction direction) const {
  uint8_t next[kSecretBytesMax];
  size_t length = secretBytes(state->suite);
  expandLabel(state->suite, secretOf(state, direction), "traffic upd", nullptr, next, length);
  memcpy(secretOf(state, direction), next, length);
  OPENSSL_cleanse(next, sizeof next);
  expandKeys(state, direction);
}

void RecordProtection::expandKeys(RecordState *state, Direction direction) const {
  const uint8_t *secret = secretOf(state, direction);
  expandLabel(state->suite, secret, "key", nullptr, keyOf(state, direction),
              kParameters[state->suite].keyBytes);
  expandLabel(state->suite, secret, "iv", nullptr, ivOf(state, direction), kIvBytes);
  state->sequence[direction] = 0;
}

// One round of HKDF-Expand suffices (RFC 5869 §2.3).
void RecordProtection::expandLabel(Suite suite, const uint8_t *secret, const char *label,
                                   const uint8_t *context, uint8_t *out, size_t length) const {
  constexpr char kPrefix[] = "tls13 ";
  size_t labelLength = strlen(kPrefix) + strlen(label);
  size_t contextLength = context == nullptr ? 0 : secretBytes(suite);
  uint8_t info[32 + kSecretBytesMax];
  size_t used = 0;
  info[used++] = 0;
  info[used++] = static_cast<uint8_t>(length);
  info[used++] = static_cast<uint8_t>(labelLength);
  memcpy(info + used, kPrefix, strlen(kPrefix));
  memcpy(info + used + strlen(kPrefix), label, strlen(label));
  used += labelLength;
  info[used++] = static_cast<uint8_t>(contextLength);
  if (contextLength > 0) memcpy(info + used, context, contextLength);
  used += contextLength;
  info[used++] = 1;
  EVP_MAC_CTX *mac = expanding_[suite];
  uint8_t block[EVP_MAX_MD_SIZE];
  size_t blockLength = 0;
  check(EVP_MAC_init(mac, secret, secretBytes(suite), nullptr) == 1);
  check(EVP_MAC_update(mac, info, used) == 1);
  check(EVP_MAC_final(mac, block, &blockLength, sizeof block) == 1);
  memcpy(out, block, length);
  OPENSSL_cleanse(block, sizeof block);
}

void RecordProtection::eraseUsedKeys() const {
  constexpr uint8_t kZeros[kSecretBytesMax] = {};
  for (int suite = 0; suite < kSuites; suite++) {
    check(EVP_EncryptInit_ex2(sealing_[suite], nullptr, kZeros, kZeros, nullptr) == 1);
    check(EVP_DecryptInit_ex2(opening_[suite], nullptr, kZeros, kZeros, nullptr) == 1);
    check(EVP_MAC_init(expanding_[suite], kZeros, kParameters[suite].secretBytes, nullptr) == 1);
  }
}

}  // namespace longline
