/* The minimum that can hold connections: one epoll descriptor, one array of file descriptors, no
 * state. It is the baseline of the native transport; it guarantees nothing and survives no abuse.
 *
 *   baseline-server <opening> <event> [<certificate> <key> library|keys]
 *
 * Prints its port. Answers every request with the opening and keeps the connection. For each line
 * on standard input it writes the event once to every answered connection, and prints the number of
 * writes and their duration in nanoseconds. Exits at the end of its standard input.
 *
 * Built with -DTLS it speaks TLS 1.3 (baseline-tls.h). */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FDS_MAX = 20000, READY_MAX = 256, ACCEPTS_MAX = 64 };

static int fds[FDS_MAX];
static int count = 0;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

#ifdef TLS
#include "baseline-tls.h"
#else
static void start_tls(char **arguments) { (void)arguments; }

static int shake_hands(int fd) { return fd >= 0; }

static ssize_t receive(int fd, char *bytes, size_t most) { return recv(fd, bytes, most, 0); }

static int transmit(int fd, const char *bytes, size_t length) {
  return send(fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static void on_answered(int fd) { (void)fd; }

static void on_closed(int fd) { (void)fd; }
#endif

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void watch(int epoll, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) fail("epoll_ctl");
}

static int listen_anywhere(void) {
  int on = 1;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 4096) < 0) fail("listen");
  getsockname(fd, (struct sockaddr *)&address, &length);
  printf("%d\n", ntohs(address.sin_port));
  fflush(stdout);
  return fd;
}

static void write_to_all(const char *event) {
  size_t length = strlen(event);
  long long from = now();
  int written = 0;
  for (int i = 0; i < count; i++) {
    written += transmit(fds[i], event, length);
  }
  printf("%d %lld\n", written, now() - from);
  fflush(stdout);
}

static void answer(int fd, const char *opening) {
  char request[8192];
  if (!shake_hands(fd)) return;
  ssize_t length = receive(fd, request, sizeof request);
  if (length <= 0) {
    if (length < 0 && errno == EAGAIN) return;
    for (int i = 0; i < count; i++) {
      if (fds[i] == fd) fds[i] = fds[--count];
    }
    on_closed(fd);
    close(fd);
  } else if (memmem(request, length, "\r\n\r\n", 4) != NULL && count < FDS_MAX) {
    if (!transmit(fd, opening, strlen(opening))) return;
    fds[count++] = fd;
    on_answered(fd);
  }
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  start_tls(argv + 3);
  int epoll = epoll_create1(0);
  int listener = listen_anywhere();
  watch(epoll, listener);
  watch(epoll, STDIN_FILENO);
  for (;;) {
    struct epoll_event ready[READY_MAX];
    int n = epoll_wait(epoll, ready, READY_MAX, -1);
    for (int i = 0; i < n; i++) {
      int fd = ready[i].data.fd;
      if (fd == listener) {
        for (int k = 0; k < ACCEPTS_MAX; k++) {
          int accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
          if (accepted < 0) break;
          watch(epoll, accepted);
        }
      } else if (fd == STDIN_FILENO) {
        char line[64];
        if (read(STDIN_FILENO, line, sizeof line) <= 0) return 0;
        write_to_all(argv[2]);
      } else {
        answer(fd, argv[1]);
      }
    }
  }
}
