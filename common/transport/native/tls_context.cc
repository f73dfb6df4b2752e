// The settings of handshakes: certificates, session tickets, protocols.
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <string.h>
#include <strings.h>

#include <algorithm>

#include "tls.h"

namespace longline {

namespace {

// In the server's order: AES with 128 bits needs the least memory.
constexpr char kSuiteList[] =
    "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384";

// The first list is for libraries that know it. Others that the library has cost the server up to
// two hundred times as much (ffdhe8192), and the client chooses.
constexpr const char *kGroupLists[] = {"X25519MLKEM768:X25519:P-256:P-384", "X25519:P-256:P-384"};

constexpr const char *kProtocols[] = {"http/1.1", "mqtt"};

// The oldest error of the library as text; clears all.
std::string takeError() {
  char text[256];
  ERR_error_string_n(ERR_peek_error(), text, sizeof text);
  ERR_clear_error();
  return text;
}

int noPassword(char *, int, int, void *) { return 0; }

// Returns the error, or ''.
std::string requestCertificates(SSL_CTX *context, const TlsSettings &settings) {
  if (settings.clientCertificates == kNotRequested) return "";
  const std::string &authorities = settings.clientAuthorities;
  BIO *text = BIO_new_mem_buf(authorities.data(), static_cast<int>(authorities.size()));
  int count = 0;
  for (;; count++) {
    X509 *authority = PEM_read_bio_X509(text, nullptr, noPassword, nullptr);
    if (authority == nullptr) break;
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority);
    SSL_CTX_add_client_CA(context, authority);
    X509_free(authority);
  }
  BIO_free(text);
  ERR_clear_error();
  if (count == 0) return "no authority of client certificates was found";
  bool isRequired = settings.clientCertificates == kRequired;
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | (isRequired ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                     nullptr);
  SSL_CTX_set_max_cert_list(context, kClientCertificateBytesMax);
  // A session is resumed without its certificate, so only under the same authorities.
  uint8_t id[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const uint8_t *>(authorities.data()), authorities.size(), id);
  SSL_CTX_set_session_id_context(context, id, sizeof id);
  return "";
}

bool isEqual(const std::string &a, const char *b) { return strcasecmp(a.c_str(), b) == 0; }

}  // namespace

std::string Tls::configure(const TlsSettings &settings) {
  std::vector<Context> contexts;
  std::string error;
  for (const TlsCertificate &certificate : settings.certificates) {
    SSL_CTX *context = createContext(certificate, settings, &error);
    if (context == nullptr) break;
    contexts.push_back({context, certificate.names});
  }
  if (error.empty()) contexts.swap(contexts_);
  for (Context &context : contexts) SSL_CTX_free(context.context);
  if (!error.empty()) return error;

  std::vector<TicketKey> keys(std::max<size_t>(1, settings.ticketKeys.size()));
  static_assert(sizeof(TicketKey) == kTicketKeyBytes);
  for (size_t i = 0; i < settings.ticketKeys.size(); i++) {
    memcpy(&keys[i], settings.ticketKeys[i].data(), kTicketKeyBytes);
  }
  if (settings.ticketKeys.empty()) {
    // They outlast a new certificate.
    if (ticketKeys_.size() == 1) return error;
    RAND_bytes(reinterpret_cast<uint8_t *>(keys.data()), kTicketKeyBytes);
  }
  ticketKeys_.swap(keys);
  OPENSSL_cleanse(keys.data(), keys.size() * sizeof(TicketKey));
  return error;
}

SSL_CTX *Tls::createContext(const TlsCertificate &certificate, const TlsSettings &settings,
                            std::string *error) {
  ERR_clear_error();
  SSL_CTX *context = SSL_CTX_new(TLS_server_method());
  BIO *chain = BIO_new_mem_buf(certificate.chain.data(), static_cast<int>(certificate.chain.size()));
  BIO *keyText = BIO_new_mem_buf(certificate.key.data(), static_cast<int>(certificate.key.size()));
  X509 *own = PEM_read_bio_X509_AUX(chain, nullptr, noPassword, nullptr);
  EVP_PKEY *key = PEM_read_bio_PrivateKey(keyText, nullptr, noPassword, nullptr);
  bool isOk = own != nullptr && key != nullptr && SSL_CTX_use_certificate(context, own) == 1 &&
              SSL_CTX_use_PrivateKey(context, key) == 1 &&
              SSL_CTX_set_cipher_list(context, settings.cipherList.c_str()) == 1 &&
              SSL_CTX_set_ciphersuites(context, kSuiteList) == 1;
  X509_free(own);
  EVP_PKEY_free(key);
  while (isOk) {
    X509 *issuer = PEM_read_bio_X509(chain, nullptr, noPassword, nullptr);
    if (issuer == nullptr) break;
    SSL_CTX_add0_chain_cert(context, issuer);
  }
  BIO_free(chain);
  BIO_free(keyText);
  if (!isOk) {
    *error = takeError();
    SSL_CTX_free(context);
    return nullptr;
  }
  *error = requestCertificates(context, settings);
  if (!error->empty()) {
    SSL_CTX_free(context);
    return nullptr;
  }
  SSL_CTX_set_min_proto_version(context, settings.isTls12Allowed ? TLS1_2_VERSION : TLS1_3_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                   SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 1);
  for (const char *groups : kGroupLists) {
    if (SSL_CTX_set1_groups_list(context, groups) == 1) break;
  }
  SSL_CTX_set_app_data(context, this);
  SSL_CTX_set_keylog_callback(context, onSecret);
  SSL_CTX_set_tlsext_servername_callback(context, onServerName);
  SSL_CTX_set_tlsext_servername_arg(context, this);
  SSL_CTX_set_alpn_select_cb(context, onAlpn, this);
  SSL_CTX_set_tlsext_ticket_key_evp_cb(context, onTicketKey);
  // The end of the chain and an unknown group are errors in the library's list.
  ERR_clear_error();
  return context;
}

// A name, then a wildcard for its first label (RFC 6125 §6.4.3), then the first certificate.
SSL_CTX *Tls::contextFor(const char *serverName) const {
  const char *rest = strchr(serverName, '.');
  std::string wildcard = rest == nullptr ? "" : std::string("*") + rest;
  for (const char *wanted : {serverName, wildcard.c_str()}) {
    for (const Context &context : contexts_) {
      for (const std::string &name : context.names) {
        if (isEqual(name, wanted)) return context.context;
      }
    }
  }
  return contexts_.front().context;
}

int Tls::onServerName(SSL *ssl, int *, void *tls) {
  const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (name != nullptr) SSL_set_SSL_CTX(ssl, static_cast<Tls *>(tls)->contextFor(name));
  return SSL_TLSEXT_ERR_OK;
}

// The first of the client's protocols that is known here; without one, an alert (RFC 7301 §3.2).
int Tls::onAlpn(SSL *, const unsigned char **out, unsigned char *outLength,
                const unsigned char *offered, unsigned int offeredLength, void *) {
  for (unsigned at = 0; at < offeredLength; at += 1u + offered[at]) {
    for (const char *protocol : kProtocols) {
      if (offered[at] != strlen(protocol) || memcmp(offered + at + 1, protocol, offered[at]) != 0) {
        continue;
      }
      *out = offered + at + 1;
      *outLength = offered[at];
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

TlsFailure Tls::failureOfLibrary(TlsFailure otherwise) {
  unsigned long error = ERR_peek_last_error();
  int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
  ERR_clear_error();
  if (reason >= SSL_AD_REASON_OFFSET) return kPeerAlert;
  bool isOfCertificate = reason == SSL_R_CERTIFICATE_VERIFY_FAILED ||
                         reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE;
  return isOfCertificate ? kCertificateRejected : otherwise;
}

bool Tls::readClientCertificate(SSL *ssl) {
  clientCertificate_.clear();
  X509 *certificate = SSL_get0_peer_certificate(ssl);
  if (certificate == nullptr) return true;
  uint8_t *encoded = nullptr;
  int length = i2d_X509(certificate, &encoded);
  if (length > 0) clientCertificate_.assign(encoded, encoded + length);
  OPENSSL_free(encoded);
  return !clientCertificate_.empty() && clientCertificate_.size() <= kClientCertificateBytesMax;
}

// RFC 5077 §4, with the layout of keys that Node has: name, HMAC key, AES key, 16 bytes each.
int Tls::onTicketKey(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int isNew) {
  auto *tls = static_cast<Tls *>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
  std::vector<TicketKey> &keys = tls->ticketKeys_;
  size_t i = 0;
  if (isNew != 0) {
    memcpy(name, keys[0].name, sizeof keys[0].name);
    if (RAND_bytes(iv, 16) != 1) return -1;
  } else {
    while (i < keys.size() && memcmp(name, keys[i].name, sizeof keys[i].name) != 0) i++;
    if (i == keys.size()) return 0;
  }
  char digest[] = "SHA256";
  OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, keys[i].hmac, sizeof keys[i].hmac),
      OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
      OSSL_PARAM_construct_end(),
  };
  bool isOk = EVP_CipherInit_ex(cipher, EVP_aes_128_cbc(), nullptr, keys[i].aes, iv, isNew) == 1 &&
              EVP_MAC_CTX_set_params(mac, parameters) == 1;
  if (!isOk) return -1;
  // 2: the client gets a new ticket. With TLS 1.3 it may use each only once (RFC 8446 C.4).
  bool isRenewed = isNew == 0 && (i > 0 || SSL_version(ssl) == TLS1_3_VERSION);
  return isRenewed ? 2 : 1;
}

}  // namespace longline
