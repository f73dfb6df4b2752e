/* Devices that measure the latency of pushes, for any server and any protocol: each sends its own
 * request, waits for the text that accepts it, and then compares the clock with the time in each
 * payload (timed-payload.ts). In C, so that the devices use as little of the machine as possible.
 *
 *   receivers <accepted> <heartbeat> <answer>
 *
 * `accepted` is text that only the answer to an accepted request contains. `heartbeat` and `answer`
 * are hexadecimal, or empty: what the server sends when it expects an answer, and the answer. Built
 * with -DTLS they use TLS.
 *
 * Each line on standard input is a command, and each is answered with one line:
 *
 *   connect <file>   opens a connection for each record of the file, `<port> <bytes>\n<request>`
 *                    -> the number of failures, microseconds from the first SYN to the last answer
 *   take             -> pushes and microseconds since the last `take`; p50, p99 and p99.9 of the
 *                    latency in microseconds; time of the newest push on CLOCK_MONOTONIC
 *   await <pushes>   the same as soon as this many pushes were received
 *   close            closes all connections -> 0
 *
 * Exits at the end of its standard input, and when a connection is lost. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "program.h"

#ifdef TLS
#include <openssl/ssl.h>
#endif

enum { DEVICES_MAX = 19500, READY_MAX = 256, READ_BYTES = 65536, CONNECTING_MAX = 512 };
/* Finding a free port takes the kernel longer the fewer ports an address has left. */
enum { ADDRESSES = 16 };
enum { DIGITS = 16 };
static const char MARK[] = "@t=";
enum { MARK_BYTES = sizeof MARK - 1, STAMP_BYTES = MARK_BYTES + DIGITS };

struct device {
  int fd;
  int port;
  int request_bytes;
  char *request;
#ifdef TLS
  SSL *ssl;
#endif
  int requested, answered;
  /* End of the last read, in which a time may have begun. */
  int carried;
  char carry[STAMP_BYTES];
};

static struct device devices[DEVICES_MAX];
static int count, next_device, connecting, failed;
static long long from_us;
static int epoll;
static const char *accepted;
static unsigned char heartbeat[64], answer[64];
static int heartbeat_bytes, answer_bytes;

/* Histogram of microseconds: 64 linear buckets for each power of two, so below 2 % of error. */
enum { SUB = 64, BUCKETS = 40 * SUB };
static long long histogram[BUCKETS];
static long long received, awaited = -1, since_us, last_us;

static void record(long long us) {
  if (us < 0) us = 0;
  int shift = 0;
  while ((us >> shift) >= 2 * SUB) shift++;
  int bucket = shift * SUB + (int)(us >> shift);
  histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
  received++;
}

static long long percentile(double percent) {
  long long rank = (long long)(percent / 100 * received + 0.999999), seen = 0;
  for (int bucket = 0; bucket < BUCKETS; bucket++) {
    seen += histogram[bucket];
    if (seen < rank || seen == 0) continue;
    int shift = bucket < 2 * SUB ? 0 : bucket / SUB - 1;
    return (long long)(bucket - shift * SUB) << shift;
  }
  return 0;
}

static void take(void) {
  long long now = now_us();
  printf("%lld %lld %lld %lld %lld %lld\n", received, now - since_us, percentile(50),
         percentile(99), percentile(99.9), last_us);
  memset(histogram, 0, sizeof histogram);
  received = 0;
  awaited = -1;
  since_us = now;
}

static void watch(int fd, unsigned events, int index, int operation) {
  struct epoll_event event = {.events = events, .data.u32 = (unsigned)index};
  if (epoll_ctl(epoll, operation, fd, &event) < 0) fail("epoll_ctl");
}

static int open_connection(int index) {
  struct device *device = &devices[index];
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  if (fd < 0) return -1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  struct sockaddr_in from = {.sin_family = AF_INET}, to = from;
  from.sin_addr.s_addr = htonl(0x7f000101u + (unsigned)(index % ADDRESSES));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons((unsigned short)device->port);
  if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0 ||
      (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)) {
    close(fd);
    return -1;
  }
  device->fd = fd;
  watch(fd, EPOLLOUT, index, EPOLL_CTL_ADD);
  return 0;
}

static void connect_more(void) {
  while (next_device < count && connecting < CONNECTING_MAX) {
    if (open_connection(next_device++) < 0) failed++;
    else connecting++;
  }
  if (next_device < count || connecting > 0 || from_us == 0) return;
  printf("%d %lld\n", failed, now_us() - from_us);
  from_us = 0;
  since_us = now_us();
}

static void read_records(const char *path) {
  FILE *file = fopen(path, "r");
  if (file == NULL) fail(path);
  int port, bytes;
  while (fscanf(file, "%d %d", &port, &bytes) == 2) {
    if (count == DEVICES_MAX) errno = EMFILE, fail(path);
    struct device *device = &devices[count++];
    *device = (struct device){.fd = -1, .port = port, .request_bytes = bytes};
    device->request = malloc((size_t)bytes);
    if (fgetc(file) != '\n' || fread(device->request, 1, (size_t)bytes, file) != (size_t)bytes)
      fail("record");
  }
  fclose(file);
}

#ifdef TLS
static SSL_CTX *context;

static void start_tls(void) {
  context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
}

/* 1: done, 0: continues when bytes arrive, -1: failed. */
static int shake_hands(struct device *device) {
  if (device->ssl == NULL) {
    device->ssl = SSL_new(context);
    SSL_set_fd(device->ssl, device->fd);
    SSL_set_connect_state(device->ssl);
  }
  int status = SSL_do_handshake(device->ssl);
  if (status == 1) return 1;
  return SSL_get_error(device->ssl, status) == SSL_ERROR_WANT_READ ? 0 : -1;
}

static ssize_t receive(struct device *device, char *bytes, int most) {
  int length = SSL_read(device->ssl, bytes, most);
  if (length > 0) return length;
  errno = EAGAIN;
  return SSL_get_error(device->ssl, length) == SSL_ERROR_WANT_READ ? -1 : 0;
}

static int transmit(struct device *device, const void *bytes, int length) {
  return SSL_write(device->ssl, bytes, length) == length ? 0 : -1;
}

static void disconnect(struct device *device) {
  SSL_free(device->ssl);
  close(device->fd);
  device->fd = -1;
}
#else
static void start_tls(void) {}

static int shake_hands(struct device *device) { return device->fd >= 0; }

static ssize_t receive(struct device *device, char *bytes, int most) {
  return read(device->fd, bytes, (size_t)most);
}

static int transmit(struct device *device, const void *bytes, int length) {
  return write(device->fd, bytes, (size_t)length) == length ? 0 : -1;
}

static void disconnect(struct device *device) {
  close(device->fd);
  device->fd = -1;
}
#endif

static void close_all(void) {
  for (int i = 0; i < count; i++) {
    if (devices[i].fd >= 0) disconnect(&devices[i]);
    free(devices[i].request);
  }
  count = next_device = connecting = failed = 0;
  puts("0");
}

static void run_command(char *line) {
  if (strncmp(line, "connect ", 8) == 0) {
    read_records(line + 8);
    from_us = now_us();
    connect_more();
  } else if (strncmp(line, "await ", 6) == 0) {
    awaited = atoll(line + 6);
    if (received >= awaited) take();
  } else if (strcmp(line, "take") == 0) {
    take();
  } else if (strcmp(line, "close") == 0) {
    close_all();
  } else {
    fprintf(stderr, "unknown command: %s\n", line);
    exit(1);
  }
}

static void read_commands(void) {
  static char text[4096];
  static size_t length;
  ssize_t bytes = read(0, text + length, sizeof text - length);
  if (bytes <= 0) exit(0);
  length += (size_t)bytes;
  char *line = text, *end;
  while ((end = memchr(line, '\n', length - (size_t)(line - text))) != NULL) {
    *end = '\0';
    run_command(line);
    line = end + 1;
  }
  length -= (size_t)(line - text);
  memmove(text, line, length);
}

static void record_times(struct device *device, char *bytes, size_t length) {
  char *at = bytes, *end = bytes + length, *found;
  long long now = now_us();
  while ((found = memmem(at, (size_t)(end - at), MARK, MARK_BYTES)) != NULL) {
    if (end - found < STAMP_BYTES) break;
    long long sent = 0;
    for (int i = 0; i < DIGITS; i++) sent = sent * 10 + (found[MARK_BYTES + i] - '0');
    record(now - sent);
    last_us = now;
    at = found + STAMP_BYTES;
  }
  size_t rest = (size_t)(end - at);
  if (rest > STAMP_BYTES - 1) rest = STAMP_BYTES - 1;
  memcpy(device->carry, end - rest, rest);
  device->carried = (int)rest;
}

/* A device that is rejected while it connects counts as failed; later, the whole bench is void. */
static void lose(struct device *device) {
  if (device->answered) {
    fprintf(stderr, "a device has lost its connection\n");
    exit(1);
  }
  disconnect(device);
  failed++;
  connecting--;
  connect_more();
}

static void on_readable(struct device *device) {
  static char buffer[STAMP_BYTES + READ_BYTES + 1];
  char *bytes = buffer + STAMP_BYTES;
  ssize_t length = receive(device, bytes, READ_BYTES);
  if (length < 0 && errno == EAGAIN) return;
  if (length <= 0) return lose(device);
  if (!device->answered) {
    // The head of a response may come before the text. A server that rejects closes the connection.
    if (memmem(bytes, (size_t)length, accepted, strlen(accepted)) == NULL) return;
    device->answered = 1;
    connecting--;
    connect_more();
  }
  if (heartbeat_bytes > 0 && memmem(bytes, (size_t)length, heartbeat, (size_t)heartbeat_bytes))
    if (transmit(device, answer, answer_bytes) < 0) return lose(device);
  memcpy(bytes - device->carried, device->carry, (size_t)device->carried);
  record_times(device, bytes - device->carried, (size_t)length + (size_t)device->carried);
  if (awaited >= 0 && received >= awaited) take();
}

static void on_ready(int index, unsigned events) {
  struct device *device = &devices[index];
  if (device->fd < 0) return;
  if ((events & EPOLLOUT) != 0) watch(device->fd, EPOLLIN, index, EPOLL_CTL_MOD);
  if (device->requested) return on_readable(device);
  int status = shake_hands(device);
  if (status == 0) return;
  if (status < 0 || transmit(device, device->request, device->request_bytes) < 0)
    return lose(device);
  device->requested = 1;
}

static int parse_hex(const char *text, unsigned char *bytes) {
  int length = 0;
  for (; text[2 * length] != '\0'; length++) sscanf(text + 2 * length, "%2hhx", &bytes[length]);
  return length;
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: receivers <accepted> <heartbeat> <answer>\n");
    return 1;
  }
  start_tls();
  accepted = argv[1];
  heartbeat_bytes = parse_hex(argv[2], heartbeat);
  answer_bytes = parse_hex(argv[3], answer);
  setvbuf(stdout, NULL, _IOLBF, 0);
  epoll = epoll_create1(0);
  watch(0, EPOLLIN, DEVICES_MAX, EPOLL_CTL_ADD);
  for (;;) {
    struct epoll_event events[READY_MAX];
    int ready = epoll_wait(epoll, events, READY_MAX, -1);
    for (int i = 0; i < ready; i++) {
      if (events[i].data.u32 == DEVICES_MAX) read_commands();
      else on_ready((int)events[i].data.u32, events[i].events);
    }
  }
}
