/* Clients of TLS 1.3 that measure a server alone. They work in groups and in steps: they prepare
 * what they send before the clock runs, and handle the handshake's answer after it has stopped. So
 * the time is that in which the server works, however long the clients take.
 *
 *   handshakes <port> <request> <accepted> [resume]
 *
 * `accepted` is text of the answer to the request. With `resume` each client resumes the session of
 * an earlier one, if there was one.
 *
 * Each line on standard input is a number of clients to connect, which then stay, or 0, which
 * closes all. It is answered with one line: microseconds of the server, and the number of resumed
 * sessions. Exits at the end of its standard input, and when a client fails. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "../support/devices/program.h"

enum { CLIENTS_MAX = 19500, GROUP = 256, READ_BYTES = 16384 };
/* Finding a free port takes the kernel longer the fewer ports an address has left. */
enum { ADDRESSES = 16 };

struct client {
  SSL *ssl;
  BIO *input, *output;
  int fd, is_served;
};

static struct client group[GROUP];
static int fds[CLIENTS_MAX], count, resumed;
static int epoll, port, is_resuming;
static const char *request, *accepted;
static SSL_CTX *context;
static SSL_SESSION *session;

static int keep_session(SSL *ssl, SSL_SESSION *next) {
  (void)ssl;
  SSL_SESSION_free(session);
  session = next;
  return 1;
}

/* Makes a socket and the first flight, without connecting. */
static void prepare(struct client *client) {
  int on = 1;
  client->is_served = 0;
  client->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (client->fd < 0) fail("socket");
  setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  struct sockaddr_in from = {.sin_family = AF_INET};
  from.sin_addr.s_addr = htonl(0x7f000101u + (unsigned)(count % ADDRESSES));
  if (bind(client->fd, (struct sockaddr *)&from, sizeof from) < 0) fail("bind");
  fds[count++] = client->fd;
  client->ssl = SSL_new(context);
  client->input = BIO_new(BIO_s_mem());
  client->output = BIO_new(BIO_s_mem());
  SSL_set_bio(client->ssl, client->input, client->output);
  SSL_set_connect_state(client->ssl);
  /* A copy: OpenSSL uses each object once. */
  SSL_SESSION *own = is_resuming && session != NULL ? SSL_SESSION_dup(session) : NULL;
  if (own != NULL) SSL_set_session(client->ssl, own);
  SSL_SESSION_free(own);
  SSL_do_handshake(client->ssl);
}

static void connect_to_server(struct client *client) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  to.sin_port = htons((unsigned short)port);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
  if (connect(client->fd, (struct sockaddr *)&to, sizeof to) < 0) fail("connect");
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) < 0) fail("epoll_ctl");
}

static void transmit(struct client *client) {
  char *bytes;
  long length = BIO_get_mem_data(client->output, &bytes);
  if (send(client->fd, bytes, (size_t)length, MSG_NOSIGNAL) != length) fail("send");
  (void)BIO_reset(client->output);
}

static void receive(struct client *client, int flags) {
  char bytes[READ_BYTES];
  ssize_t length = recv(client->fd, bytes, sizeof bytes, flags);
  if (length == 0) errno = ECONNRESET;
  if (length <= 0) fail("recv");
  BIO_write(client->input, bytes, (int)length);
}

/* Whether the server has done its part: it has sent its flight, and then its answer. */
static int is_served(struct client *client, int is_shaking_hands) {
  if (is_shaking_hands) return 1;
  char text[READ_BYTES];
  int length = SSL_read(client->ssl, text, sizeof text);
  return length > 0 && memmem(text, (size_t)length, accepted, strlen(accepted)) != NULL;
}

static void await(int size, int is_shaking_hands) {
  for (int served = 0; served < size;) {
    struct epoll_event events[GROUP];
    int ready = epoll_wait(epoll, events, GROUP, -1);
    for (int i = 0; i < ready; i++) {
      struct client *client = events[i].data.ptr;
      receive(client, MSG_DONTWAIT);
      if (client->is_served || !is_served(client, is_shaking_hands)) continue;
      client->is_served = 1;
      served++;
    }
  }
}

/* The second flight, with the request. */
static void answer(struct client *client) {
  client->is_served = 0;
  while (SSL_do_handshake(client->ssl) != 1) receive(client, 0);
  resumed += SSL_session_reused(client->ssl);
  if (SSL_write(client->ssl, request, (int)strlen(request)) <= 0) fail("request");
}

/* The connection stays, without the library's object. */
static void release(struct client *client) {
  epoll_ctl(epoll, EPOLL_CTL_DEL, client->fd, NULL);
  /* Without it, OpenSSL does not resume the session. */
  SSL_set_shutdown(client->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(client->ssl);
}

/* Returns the microseconds of the server. */
static long long connect_group(int size) {
  for (int i = 0; i < size; i++) prepare(&group[i]);
  long long from = now_us();
  for (int i = 0; i < size; i++) {
    connect_to_server(&group[i]);
    transmit(&group[i]);
  }
  await(size, 1);
  long long us = now_us() - from;
  for (int i = 0; i < size; i++) answer(&group[i]);
  from = now_us();
  for (int i = 0; i < size; i++) transmit(&group[i]);
  await(size, 0);
  us += now_us() - from;
  for (int i = 0; i < size; i++) release(&group[i]);
  return us;
}

int main(int argc, char **argv) {
  if (argc < 4 || argc > 5) {
    fprintf(stderr, "usage: handshakes <port> <request> <accepted> [resume]\n");
    return 1;
  }
  port = atoi(argv[1]);
  request = argv[2];
  accepted = argv[3];
  is_resuming = argc == 5;
  setvbuf(stdout, NULL, _IOLBF, 0);
  epoll = epoll_create1(0);
  context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, keep_session);
  char line[64];
  while (fgets(line, sizeof line, stdin) != NULL) {
    int rest = atoi(line);
    long long us = 0;
    resumed = 0;
    if (rest == 0) {
      while (count > 0) close(fds[--count]);
    }
    if (count + rest > CLIENTS_MAX) errno = EMFILE, fail("too many clients");
    for (int size; rest > 0; rest -= size) {
      size = rest < GROUP ? rest : GROUP;
      us += connect_group(size);
    }
    printf("%lld %d\n", us, resumed);
  }
}
