// Fuzzer of TLS. OpenSSL's client makes the handshake in memory; then random records are sealed
// here, cut anywhere and received by the server, and the outcome is compared with that of a model
// that knows what was sealed.
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#include <memory>
#include <string>
#include <vector>

#include "../../../common/transport/native/tls_connection.h"
#include "fuzz.h"

using namespace longline;

namespace {

constexpr uint8_t kNewSessionTicket = 4;
constexpr uint8_t kUserCanceled = 90;
constexpr int kEmptyRecordsMax = 32;
constexpr int kRecordsMax = 60;

std::string pem(int (*write)(BIO *, void *), void *object) {
  BIO *bio = BIO_new(BIO_s_mem());
  CHECK(write(bio, object) == 1);
  char *bytes;
  long length = BIO_get_mem_data(bio, &bytes);
  std::string text(bytes, static_cast<size_t>(length));
  BIO_free(bio);
  return text;
}

TlsCertificate makeCertificate() {
  EVP_PKEY *key = EVP_EC_gen("P-256");
  X509 *certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  CHECK(X509_sign(certificate, key, EVP_sha256()) > 0);
  auto writeCertificate = [](BIO *bio, void *object) {
    return PEM_write_bio_X509(bio, static_cast<X509 *>(object));
  };
  auto writeKey = [](BIO *bio, void *object) {
    auto *key = static_cast<EVP_PKEY *>(object);
    return PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  };
  TlsCertificate result = {pem(writeCertificate, certificate), pem(writeKey, key), {}};
  X509_free(certificate);
  EVP_PKEY_free(key);
  return result;
}

// The server's side of one connection, called as transport.cc does.
struct Server {
  Tls &tls;
  TlsConnection *connection;
  bool isTls13 = false;
  bool isEstablished = false;
  bool hasEnded = false;
  TlsFailure failure = kNoFailure;
  std::string received;
  std::vector<char> out;

  explicit Server(Tls &tls) : tls(tls), connection(tls.accept()) {}
  ~Server() { tls.free(connection); }

  void receivePiece(const char *bytes, size_t length) {
    size_t kept = tls.keptBytes(connection);
    // Not a byte more of a TLS 1.3 record may be written.
    size_t more = isEstablished && isTls13 ? 0 : kPlaintextBytesMax;
    std::unique_ptr<char[]> buffer(new char[kept + length + more]);
    tls.takeKept(connection, buffer.get());
    memcpy(buffer.get() + kept, bytes, length);
    TlsReceived result = tls.receive(&connection, buffer.get(), kept + length, &out);
    received.append(buffer.get(), result.plaintextLength);
    isEstablished = isEstablished || result.isEstablished;
    hasEnded = result.hasEnded;
    failure = result.failure;
  }

  void receive(const std::string &bytes) {
    uint32_t pieceMax = below(4) == 0 ? 3 : 1 + below(40'000);
    for (size_t at = 0; at < bytes.size() && failure == kNoFailure && !hasEnded;) {
      size_t length = std::min<size_t>(1 + below(pieceMax), bytes.size() - at);
      receivePiece(bytes.data() + at, length);
      at += length;
    }
  }
};

// OpenSSL's client, and after a handshake of TLS 1.3 its keys.
struct Client {
  SSL *ssl;
  BIO *input = BIO_new(BIO_s_mem());
  BIO *output = BIO_new(BIO_s_mem());
  uint8_t secrets[2][kSecretBytesMax];
  RecordProtection records;
  RecordState *state = nullptr;

  explicit Client(SSL_CTX *context) : ssl(SSL_new(context)) {
    SSL_set_bio(ssl, input, output);
    SSL_set_connect_state(ssl);
    SSL_set_app_data(ssl, this);
  }
  ~Client() {
    SSL_free(ssl);
    ::free(state);
  }

  static void onSecret(const SSL *ssl, const char *line) {
    auto *client = static_cast<Client *>(SSL_get_app_data(ssl));
    bool isClient = strstr(line, "CLIENT_TRAFFIC_SECRET_0") == line;
    if (!isClient && strstr(line, "SERVER_TRAFFIC_SECRET_0") != line) return;
    const char *hex = strrchr(line, ' ') + 1;
    for (size_t i = 0; i < strlen(hex) / 2; i++) {
      unsigned value;
      sscanf(hex + 2 * i, "%2x", &value);
      client->secrets[isClient ? kWrite : kRead][i] = static_cast<uint8_t>(value);
    }
  }

  std::string takeOutput() {
    char *bytes;
    long length = BIO_get_mem_data(output, &bytes);
    std::string taken(bytes, static_cast<size_t>(length));
    (void)BIO_reset(output);
    return taken;
  }

  void useKeys() {
    uint32_t id = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl));
    Suite suite = id == 0x1301 ? kAes128Gcm : id == 0x1302 ? kAes256Gcm : kChaCha20Poly1305;
    state = static_cast<RecordState *>(calloc(1, RecordProtection::stateBytes(suite)));
    state->plaintextBytesMax = UINT16_MAX;
    records.start(state, suite, secrets[kRead], secrets[kWrite]);
  }

  // The last byte of what `seal` appends is the last of the padding, or the type.
  std::string seal(uint8_t type, const std::string &content, size_t padding) {
    std::string inner = content;
    if (padding > 0) inner += static_cast<char>(type) + std::string(padding - 1, '\0');
    // `seal` makes no record without content.
    if (inner.empty()) return seal(type, content, 1);
    std::vector<char> record;
    auto last = static_cast<ContentType>(padding > 0 ? 0 : type);
    records.seal(state, last, inner.data(), inner.size(), &record);
    return std::string(record.begin(), record.end());
  }
};

void mutateBytes(std::string *bytes) {
  if (bytes->empty()) return;
  size_t at = below(static_cast<uint32_t>(bytes->size()));
  switch (below(3)) {
    case 0:
      (*bytes)[at] = static_cast<char>((*bytes)[at] ^ (1 << below(8)));
      break;
    case 1:
      bytes->insert(at, std::string(1 + below(8), static_cast<char>(below(256))));
      break;
    default:
      bytes->resize(at);
  }
}

// Returns whether the client has completed the handshake. Its last bytes are in its output.
// `mutations` of its flights are changed.
bool shakeHands(Client *client, Server *server, int mutations) {
  for (int flight = 0; flight < 8 && server->failure == kNoFailure; flight++) {
    if (SSL_do_handshake(client->ssl) == 1) return true;
    ERR_clear_error();
    std::string sent = client->takeOutput();
    if (sent.empty()) return false;
    if (mutations > 0 && below(2) == 0) {
      mutateBytes(&sent);
      mutations--;
    }
    server->receive(sent);
    BIO_write(client->input, server->out.data(), static_cast<int>(server->out.size()));
    server->out.clear();
  }
  return false;
}

// The duties of the server after the records so far.
struct Model {
  std::string received;
  bool hasEnded = false;
  bool isKeyUpdateOwed = false;
  TlsFailure failure = kNoFailure;
  int emptyRecords = 0;
  std::string message;

  bool isOver() const { return hasEnded || failure != kNoFailure; }

  void onRecord(uint8_t type, const std::string &content) {
    if (type == 0) {
      failure = kUnexpectedMessage;
      return;
    }
    bool isData = type == kApplicationData && !content.empty();
    emptyRecords = isData ? 0 : emptyRecords + 1;
    if (!message.empty() && type != kHandshake) {
      failure = kUnexpectedMessage;
    } else if (emptyRecords > kEmptyRecordsMax) {
      failure = kTooManyEmptyRecords;
    } else if (type == kApplicationData) {
      received += content;
    } else if (type == kAlert) {
      onAlert(content);
    } else if (type == kHandshake) {
      onMessage(content);
    } else {
      failure = kUnexpectedMessage;
    }
  }

  void onAlert(const std::string &content) {
    if (content.size() != 2) {
      failure = content.empty() ? kUnexpectedMessage : kMalformedMessage;
    } else if (content[1] == 0) {
      hasEnded = true;
    } else if (content[1] != kUserCanceled) {
      failure = kPeerAlert;
    }
  }

  void onMessage(const std::string &content) {
    message += content;
    if (content.empty() || message[0] != kKeyUpdate) {
      failure = kUnexpectedMessage;
    } else if (message.size() >= 4 && message.compare(1, 3, std::string("\0\0\1", 3)) != 0) {
      failure = kMalformedMessage;
    } else if (message.size() > 5) {
      failure = kUnexpectedMessage;
    } else if (message.size() == 5) {
      uint8_t isRequested = static_cast<uint8_t>(message[4]);
      if (isRequested > 1) failure = kMalformedMessage;
      if (isRequested == 1) isKeyUpdateOwed = true;
      message.clear();
    }
  }
};

std::string randomContent(uint8_t type, const std::string &message) {
  const std::string keyUpdate = {kKeyUpdate, 0, 0, 1, static_cast<char>(below(2))};
  switch (type) {
    case 0:
      return "";
    case kHandshake: {
      // The rest of a message, or a part of one.
      std::string rest = keyUpdate.substr(message.size());
      if (below(20) == 0) mutateBytes(&rest);
      return below(3) == 0 ? rest.substr(0, below(6)) : rest;
    }
    case kAlert: {
      if (below(30) == 0) return std::string(below(4), '\1');
      uint8_t description = below(4) == 0 ? static_cast<uint8_t>(below(256)) : kUserCanceled;
      return {static_cast<char>(1 + below(2)), static_cast<char>(description)};
    }
    default: {
      size_t length = below(10) == 0 ? below(kPlaintextBytesMax + 1) : below(300);
      return std::string(below(6) == 0 ? 0 : length, static_cast<char>(below(256)));
    }
  }
}

uint8_t randomType() {
  constexpr uint8_t kTypes[] = {kApplicationData, kApplicationData, kApplicationData, kHandshake,
                                kHandshake,       kAlert};
  return below(100) == 0 ? static_cast<uint8_t>(below(256)) : kTypes[below(sizeof kTypes)];
}

// Bytes that no key seals, and what the server must make of them.
std::string unsealed(TlsFailure *failure) {
  switch (below(3)) {
    case 0:
      *failure = kUnexpectedMessage;
      return {static_cast<char>(below(kApplicationData)), 3, 3, 0, 1, 1};
    case 1:
      *failure = kRecordTooLong;
      return {kApplicationData, 3, 3, static_cast<char>(0x41 + below(0xbf)), 1};
    default:
      *failure = kBadRecord;
      return std::string{kApplicationData, 3, 3, 0, 40} + std::string(40, 'x');
  }
}

// Seals records for the server, at most one of them bad, until the model is over.
std::string sealRecords(Client *client, Model *model) {
  std::string stream;
  int count = 1 + static_cast<int>(below(kRecordsMax));
  // A flood.
  bool isMonotonous = below(8) == 0;
  uint8_t type = randomType();
  for (int i = 0; i < count && !model->isOver(); i++) {
    if (!isMonotonous) type = randomType();
    std::string content = randomContent(type, model->message);
    size_t padding = below(4) == 0 ? below(300) : 0;
    if (below(200) == 0) padding = kPlaintextBytesMax - std::min(content.size(), kPlaintextBytesMax);
    if (below(150) == 0) padding = kPlaintextBytesMax + 1;
    padding = std::min(padding, kCiphertextBytesMax - kExpansionBytes - content.size());
    std::string record = client->seal(type, content, padding);
    if (below(150) == 0) {
      // Not the type and the length: for these there is `unsealed`.
      size_t at = record.size() - 1 - below(static_cast<uint32_t>(record.size() - kRecordHeaderBytes));
      record[at] = static_cast<char>(record[at] ^ (1 << below(8)));
      model->failure = kBadRecord;
    } else if (below(150) == 0) {
      record = unsealed(&model->failure);
    } else if (content.size() + padding > kPlaintextBytesMax) {
      model->failure = kRecordTooLong;
    } else {
      size_t before = model->message.size();
      model->onRecord(type, content);
      bool isKeyUpdate = type == kHandshake && before + content.size() == 5 && !model->isOver();
      if (isKeyUpdate) client->records.updateKeys(client->state, kWrite);
    }
    stream += record;
  }
  return stream;
}

struct Sent {
  std::string data;
  std::vector<uint8_t> alerts;
  int keyUpdates = 0;
  size_t longest = 0;
};

// Opens all that the server has sent, like a client.
Sent openAll(Client *client, std::vector<char> *out) {
  Sent sent;
  size_t at = 0;
  while (at < out->size()) {
    auto *record = reinterpret_cast<uint8_t *>(out->data()) + at;
    CHECK(out->size() - at >= kRecordHeaderBytes);
    size_t recordLength = kRecordHeaderBytes + static_cast<size_t>(record[3] << 8 | record[4]);
    CHECK(recordLength <= out->size() - at);
    size_t length;
    uint8_t type;
    Opened opened = client->records.open(client->state, record, recordLength, &length, &type);
    CHECK(opened == Opened::kPlaintext);
    const uint8_t *content = record + kRecordHeaderBytes;
    if (type == kApplicationData) {
      sent.data.append(reinterpret_cast<const char *>(content), length);
      sent.longest = std::max(sent.longest, length);
    } else if (type == kAlert) {
      CHECK(length == 2 && (content[0] == kFatal) == (content[1] != 0));
      sent.alerts.push_back(content[1]);
    } else {
      CHECK(type == kHandshake);
      if (content[0] == kKeyUpdate) {
        CHECK(length == 5 && content[4] == 0);
        sent.keyUpdates++;
        client->records.updateKeys(client->state, kRead);
      } else {
        CHECK(content[0] == kNewSessionTicket);
      }
    }
    at += recordLength;
  }
  out->clear();
  return sent;
}

void fuzzRecords(Client *client, Server *server, size_t fragmentMax) {
  Model model;
  client->useKeys();
  server->isTls13 = true;
  server->receive(client->takeOutput() + sealRecords(client, &model));
  CHECK(server->isEstablished);
  CHECK(server->received == model.received);
  CHECK(server->failure == model.failure);
  CHECK(server->hasEnded == model.hasEnded);
  Sent answer = openAll(client, &server->out);
  bool isAlertDue = model.failure != kNoFailure && model.failure != kPeerAlert;
  CHECK(answer.alerts.size() == (isAlertDue ? 1 : 0));
  CHECK(answer.data.empty() && answer.keyUpdates == 0);
  if (model.failure != kNoFailure) return;

  // As if the server had sent many records.
  constexpr uint64_t kRecordsPerKey = 1 << 23;
  bool isKeyOld = below(3) == 0;
  if (isKeyOld || below(2) == 0) {
    uint64_t sequence = kRecordsPerKey - (isKeyOld ? 0 : 1);
    server->connection->records()->sequence[kWrite] = sequence;
    client->state->sequence[kRead] = sequence;
  }
  std::string data(1 + below(50'000), 'x');
  size_t bound = server->tls.sealedBytes(server->connection, data.size());
  server->tls.seal(server->connection, data.data(), data.size(), &server->out);
  CHECK(server->out.size() <= bound);
  server->tls.sealEnd(server->connection, &server->out);
  Sent sent = openAll(client, &server->out);
  CHECK(sent.data == data && sent.longest <= fragmentMax);
  CHECK(sent.keyUpdates == (model.isKeyUpdateOwed || isKeyOld ? 1 : 0));
  CHECK(sent.alerts == std::vector<uint8_t>{0});
}

// The library handles records of TLS 1.2; here is only what surrounds it.
void fuzzLibrary(Client *client, Server *server) {
  std::string data(1 + below(40'000), 'y');
  CHECK(SSL_write(client->ssl, data.data(), static_cast<int>(data.size())) > 0);
  bool isRenegotiating = below(4) == 0;
  if (isRenegotiating) {
    SSL_renegotiate(client->ssl);
    SSL_do_handshake(client->ssl);
  }
  std::string sent = client->takeOutput();
  bool isMutated = below(2) == 0;
  if (isMutated) mutateBytes(&sent);
  server->receive(sent);
  CHECK(data.compare(0, server->received.size(), server->received) == 0);
  if (isMutated) return;
  CHECK(server->received == data);
  CHECK(server->failure == (isRenegotiating ? kUnexpectedMessage : kNoFailure));
  if (isRenegotiating) return;
  server->tls.seal(server->connection, data.data(), data.size(), &server->out);
  CHECK(server->out.size() <= server->tls.sealedBytes(server->connection, data.size()));
  server->tls.sealEnd(server->connection, &server->out);
}

void fuzzConnection(Tls *tls) {
  constexpr const char *kSuites[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                     "TLS_CHACHA20_POLY1305_SHA256"};
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_keylog_callback(context, Client::onSecret);
  SSL_CTX_set_ciphersuites(context, kSuites[below(3)]);
  bool isTls12 = below(4) == 0;
  if (isTls12) SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
  size_t fragmentMax = kPlaintextBytesMax;
  if (below(4) == 0) {
    uint8_t code = static_cast<uint8_t>(1 + below(4));
    SSL_CTX_set_tlsext_max_fragment_length(context, code);
    fragmentMax = 256u << code;
  }
  {
    Client client(context);
    Server server(*tls);
    int mutations = below(4) == 0 ? 1 + static_cast<int>(below(2)) : 0;
    bool isConnected = shakeHands(&client, &server, mutations);
    CHECK(mutations > 0 || isConnected);
    if (isConnected && mutations == 0) {
      if (isTls12) fuzzLibrary(&client, &server);
      else fuzzRecords(&client, &server, fragmentMax);
    }
  }
  SSL_CTX_free(context);
  CHECK(tls->tls13Bytes() == 0 && tls->keptBytes() == 0 && tls->handshakes() == 0);
}

}  // namespace

TlsSettings makeSettings() {
  TlsSettings settings;
  settings.certificates.push_back(makeCertificate());
  settings.cipherList = "DEFAULT";
  return settings;
}

void fuzzTls(int connections) {
  testTlsBounds();
  Tls tls;
  std::string error = tls.configure(makeSettings());
  CHECK(error.empty());
  for (int i = 0; i < connections; i++) fuzzConnection(&tls);
}
