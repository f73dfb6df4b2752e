/* TLS 1.3 of the baseline server, by OpenSSL, in one of two ways after the handshake:
 *
 *   library  OpenSSL's object stays, its buffers are released while they are empty
 *   keys     after the answer only the keys stay, and events are sealed here: the least work that a
 *            server can do to write to all connections. Such a connection reads no more. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/ssl.h>

enum { KEY_BYTES = 16, IV_BYTES = 12, SECRET_BYTES = 32, HEADER_BYTES = 5, TAG_BYTES = 16 };
enum { EVENT_BYTES_MAX = 16384 };
/* The library has sent a session ticket and the answer. */
enum { RECORDS_SENT = 2 };

struct keys {
  unsigned char key[KEY_BYTES], iv[IV_BYTES];
  unsigned long long sequence;
};

static SSL_CTX *context;
static SSL *ssls[FDS_MAX];
static struct keys *keys[FDS_MAX];
static unsigned char secrets[FDS_MAX][SECRET_BYTES];
static EVP_CIPHER_CTX *sealing;
static int keeps_library;

static void keep_secret(const SSL *ssl, const char *line) {
  if (strncmp(line, "SERVER_TRAFFIC_SECRET_0", 23) != 0) return;
  unsigned char *secret = secrets[SSL_get_fd(ssl)];
  const char *hex = strrchr(line, ' ') + 1;
  for (int i = 0; i < SECRET_BYTES; i++) sscanf(hex + 2 * i, "%2hhx", &secret[i]);
}

/* <certificate> <key> <way> */
static void start_tls(char **arguments) {
  keeps_library = strcmp(arguments[2], "library") == 0;
  context = SSL_CTX_new(TLS_server_method());
  if (SSL_CTX_use_certificate_chain_file(context, arguments[0]) != 1) fail("certificate");
  if (SSL_CTX_use_PrivateKey_file(context, arguments[1], SSL_FILETYPE_PEM) != 1) fail("key");
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 1);
  if (!keeps_library) SSL_CTX_set_keylog_callback(context, keep_secret);
  sealing = EVP_CIPHER_CTX_new();
  EVP_EncryptInit_ex(sealing, EVP_aes_128_gcm(), NULL, NULL, NULL);
}

/* Returns whether the handshake is over, also when it has failed: then `receive` finds the end. */
static int shake_hands(int fd) {
  if (ssls[fd] == NULL) {
    if (keys[fd] != NULL) return 1;
    ssls[fd] = SSL_new(context);
    SSL_set_fd(ssls[fd], fd);
    SSL_set_accept_state(ssls[fd]);
  }
  if (SSL_is_init_finished(ssls[fd])) return 1;
  int status = SSL_do_handshake(ssls[fd]);
  return status == 1 || SSL_get_error(ssls[fd], status) != SSL_ERROR_WANT_READ;
}

static ssize_t receive(int fd, char *bytes, size_t most) {
  if (ssls[fd] == NULL) return recv(fd, bytes, most, 0);
  int length = SSL_read(ssls[fd], bytes, (int)most);
  if (length > 0) return length;
  errno = EAGAIN;
  return SSL_get_error(ssls[fd], length) == SSL_ERROR_WANT_READ ? -1 : 0;
}

/* HKDF-Expand-Label (RFC 8446 §7.1). */
static void expand(const unsigned char *secret, const char *label, unsigned char *out, int length) {
  unsigned char info[32], block[EVP_MAX_MD_SIZE];
  int used = sprintf((char *)info + 3, "tls13 %s", label);
  info[0] = 0, info[1] = (unsigned char)length, info[2] = (unsigned char)used;
  info[3 + used] = 0, info[4 + used] = 1;
  HMAC(EVP_sha256(), secret, SECRET_BYTES, info, (size_t)used + 5, block, NULL);
  memcpy(out, block, (size_t)length);
}

static void on_answered(int fd) {
  if (keeps_library) return;
  keys[fd] = malloc(sizeof *keys[fd]);
  expand(secrets[fd], "key", keys[fd]->key, KEY_BYTES);
  expand(secrets[fd], "iv", keys[fd]->iv, IV_BYTES);
  keys[fd]->sequence = RECORDS_SENT;
  SSL_set_quiet_shutdown(ssls[fd], 1);
  SSL_free(ssls[fd]);
  ssls[fd] = NULL;
}

static int transmit(int fd, const char *bytes, size_t length) {
  static unsigned char record[HEADER_BYTES + EVENT_BYTES_MAX + 1 + TAG_BYTES];
  if (ssls[fd] != NULL) return SSL_write(ssls[fd], bytes, (int)length) == (int)length;
  struct keys *own = keys[fd];
  size_t rest = length + 1 + TAG_BYTES;
  unsigned char header[HEADER_BYTES] = {23, 3, 3, (unsigned char)(rest >> 8), (unsigned char)rest};
  memcpy(record, header, sizeof header);
  unsigned char nonce[IV_BYTES], type = 23, *at = record + HEADER_BYTES;
  memcpy(nonce, own->iv, IV_BYTES);
  for (int i = 0; i < 8; i++) nonce[IV_BYTES - 1 - i] ^= (unsigned char)(own->sequence >> (8 * i));
  own->sequence++;
  int written;
  EVP_EncryptInit_ex(sealing, NULL, NULL, own->key, nonce);
  EVP_EncryptUpdate(sealing, NULL, &written, header, sizeof header);
  EVP_EncryptUpdate(sealing, at, &written, (const unsigned char *)bytes, (int)length);
  EVP_EncryptUpdate(sealing, at + length, &written, &type, 1);
  EVP_EncryptFinal_ex(sealing, at + length + 1, &written);
  EVP_CIPHER_CTX_ctrl(sealing, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, at + length + 1);
  ssize_t total = (ssize_t)(HEADER_BYTES + rest);
  return send(fd, record, (size_t)total, MSG_NOSIGNAL) == total;
}

static void on_closed(int fd) {
  if (ssls[fd] != NULL) {
    SSL_set_quiet_shutdown(ssls[fd], 1);
    SSL_free(ssls[fd]);
  }
  free(keys[fd]);
  ssls[fd] = NULL;
  keys[fd] = NULL;
}
