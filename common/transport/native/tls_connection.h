// The state of a connection, for the sources of Tls.
#pragma once
#include <openssl/ssl.h>

#include "tls.h"

namespace longline {

// Descriptions of alerts (RFC 8446 §6) that several sources use.
constexpr uint8_t kDecodeErrorAlert = 50;
constexpr uint8_t kFatal = 2;

// A KeyUpdate (RFC 8446 §4.6.3): its type, a length of three bytes, and whether one is requested.
constexpr uint8_t kKeyUpdate = 24;
constexpr size_t kMessageHeaderBytes = 4;
constexpr size_t kKeyUpdateBytes = 5;

// State of a connection while it uses the library.
struct Library {
  // nullptr until the first record is complete: a silent peer costs next to nothing.
  SSL *ssl;
  // Traffic secrets of TLS 1.3.
  uint8_t clientSecret[kSecretBytesMax];
  uint8_t serverSecret[kSecretBytesMax];
};

// Followed by a Library, or after a handshake of TLS 1.3 by a RecordState.
struct TlsConnection {
  // Bytes of an incomplete record, or nullptr.
  uint8_t *kept;
  // TLS 1.2: times that a record was complete.
  uint32_t reads;
  uint16_t keptLength;
  // Records in a row without data.
  uint8_t emptyRecords;
  // The peer has requested new keys. However often: one change precedes the next data (§4.6.3).
  bool owesKeyUpdate;
  // Bytes of an incomplete message; in the handshake, of the header of a flight's first message.
  uint8_t messageLength;
  uint8_t message[kKeyUpdateBytes];
  Tls::Phase phase;

  Library *library() { return reinterpret_cast<Library *>(this + 1); }
  const Library *library() const { return reinterpret_cast<const Library *>(this + 1); }
  RecordState *records() { return reinterpret_cast<RecordState *>(this + 1); }
  const RecordState *records() const { return reinterpret_cast<const RecordState *>(this + 1); }
};
static_assert(sizeof(TlsConnection) <= 24, "documented as a part of the cost of a connection");

// Longest plaintext that the peer accepts in one record (RFC 6066 §4).
uint16_t plaintextBytesMaxOf(SSL *ssl);

}  // namespace longline
