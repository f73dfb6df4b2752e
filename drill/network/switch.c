// A network of namespaces, joined by this process, which forwards every packet between them and can
// cut, delay, lose, duplicate and reorder those of single directions of single links. It needs no
// netem, no nftables and no bridge of the kernel; only TUN devices and network namespaces.
//
//   switch <ports> <groups>
//
// Port 0 is the namespace in which it is started. Each other port is a new one, which exists as
// long as this process: a process enters it with `nsenter --net=<path>`. The address of port i is
// 198.18.0.<i + 1>. Port 0 has one more address for each group, 198.18.1.<group + 1>, so that
// each group has links of its own. A link is a pair of addresses; the nodes are numbered, ports
// first.
//
// Output: `port <i> <path>` for each new namespace, then `ready`. Commands, one a line, each
// answered with `ok` and the packets so far that were cut, lost, delayed, duplicated and reordered:
//
//   set <from> <to> <cut> <delay us> <loss ppm> <duplicates ppm> <reordered ppm>
//   seed <number>
//
// It exits at the end of its input, so it does not outlive the process that started it.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NODES_MAX 128
#define MTU 1500
// Packets on the way; more are lost, as in the queue of a switch.
#define WAITING_MAX 16384
// How long a reordered packet stays back.
#define REORDER_US 15000
// Packets that are read from one port before the next one has its turn.
#define BATCH 64

struct link {
  uint32_t cut, delay_us, loss, duplicates, reordered;
};

struct packet {
  uint64_t due_us, sequence;
  uint16_t port, bytes;
  uint8_t data[MTU];
};

static int ports, groups;
static int tuns[NODES_MAX];
static struct link links[NODES_MAX][NODES_MAX];
// A binary heap by time, then in the order of arrival.
static struct packet *waiting[WAITING_MAX];
static int waiting_count;
static uint64_t next_sequence, random_state = 1;
static unsigned long cut, lost, delayed, duplicated, reordered;

static void fail(const char *what) {
  fprintf(stderr, "switch: %s: %s\n", what, strerror(errno));
  exit(1);
}

static uint64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

// xorshift64* (Vigna, 2016). Whether something with this probability happens.
static int happens(uint32_t ppm) {
  if (ppm == 0) return 0;
  random_state ^= random_state >> 12;
  random_state ^= random_state << 25;
  random_state ^= random_state >> 27;
  return ((random_state * 2685821657736338717ull) >> 32) % 1000000 < ppm;
}

static int is_before(const struct packet *a, const struct packet *b) {
  return a->due_us != b->due_us ? a->due_us < b->due_us : a->sequence < b->sequence;
}

static void push_waiting(struct packet *packet) {
  int i = waiting_count++;
  while (i > 0 && is_before(packet, waiting[(i - 1) / 2])) {
    waiting[i] = waiting[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  waiting[i] = packet;
}

static struct packet *pop_waiting(void) {
  struct packet *first = waiting[0], *last = waiting[--waiting_count];
  int i = 0;
  for (;;) {
    int child = 2 * i + 1;
    if (child >= waiting_count) break;
    if (child + 1 < waiting_count && is_before(waiting[child + 1], waiting[child])) child++;
    if (!is_before(waiting[child], last)) break;
    waiting[i] = waiting[child];
    i = child;
  }
  if (waiting_count > 0) waiting[i] = last;
  return first;
}

static void write_to(int port, const uint8_t *data, int bytes) {
  // A full queue of the device loses the packet.
  if (write(tuns[port], data, (size_t)bytes) < 0) lost++;
}

static void hold(int port, const uint8_t *data, int bytes, uint64_t due_us) {
  struct packet *packet = waiting_count < WAITING_MAX ? malloc(sizeof *packet) : NULL;
  if (packet == NULL) {
    lost++;
    return;
  }
  packet->due_us = due_us;
  packet->sequence = next_sequence++;
  packet->port = (uint16_t)port;
  packet->bytes = (uint16_t)bytes;
  memcpy(packet->data, data, (size_t)bytes);
  push_waiting(packet);
}

// The node with this address, 198.18.0.x or 198.18.1.x; -1 for none.
static int node_of(const uint8_t *address) {
  if (address[0] != 198 || address[1] != 18) return -1;
  int number = address[3] - 1;
  if (address[2] == 0 && number >= 0 && number < ports) return number;
  if (address[2] == 1 && number >= 0 && number < groups) return ports + number;
  return -1;
}

static void forward(const uint8_t *data, int bytes) {
  // IPv4 only.
  if (bytes < 20 || data[0] >> 4 != 4) return;
  int from = node_of(data + 12), to = node_of(data + 16);
  if (from < 0 || to < 0) return;
  const struct link *link = &links[from][to];
  if (link->cut) {
    cut++;
    return;
  }
  if (happens(link->loss)) {
    lost++;
    return;
  }
  int port = to < ports ? to : 0;
  int copies = 1;
  if (happens(link->duplicates)) {
    copies = 2;
    duplicated++;
  }
  for (int i = 0; i < copies; i++) {
    uint64_t wait_us = link->delay_us;
    if (wait_us > 0) delayed++;
    if (happens(link->reordered)) {
      wait_us += REORDER_US;
      reordered++;
    }
    if (wait_us == 0) write_to(port, data, bytes);
    else hold(port, data, bytes, now_us() + wait_us);
  }
}

static void configure(const char *device, const char *address, const char *mask) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0) fail("socket");
  struct ifreq request = {0};
  strncpy(request.ifr_name, device, IFNAMSIZ - 1);
  if (address != NULL) {
    struct sockaddr_in in = {.sin_family = AF_INET};
    inet_pton(AF_INET, address, &in.sin_addr);
    memcpy(&request.ifr_addr, &in, sizeof in);
    if (ioctl(fd, SIOCSIFADDR, &request) < 0) fail("SIOCSIFADDR");
    inet_pton(AF_INET, mask, &in.sin_addr);
    memcpy(&request.ifr_netmask, &in, sizeof in);
    if (ioctl(fd, SIOCSIFNETMASK, &request) < 0) fail("SIOCSIFNETMASK");
  }
  if (strchr(device, ':') == NULL) {
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) fail("SIOCGIFFLAGS");
    request.ifr_flags |= IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0) fail("SIOCSIFFLAGS");
  }
  close(fd);
}

// Opens the device of a port in the current namespace.
static void open_port(int port) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) fail("/dev/net/tun");
  struct ifreq request = {0};
  request.ifr_flags = IFF_TUN | IFF_NO_PI;
  strncpy(request.ifr_name, "drill", IFNAMSIZ - 1);
  if (ioctl(fd, TUNSETIFF, &request) < 0) fail("TUNSETIFF");
  tuns[port] = fd;
  configure("lo", NULL, NULL);
  char address[32];
  snprintf(address, sizeof address, "198.18.0.%d", port + 1);
  configure("drill", address, "255.255.0.0");
  for (int group = 0; port == 0 && group < groups; group++) {
    char alias[32];
    snprintf(alias, sizeof alias, "drill:%d", group);
    snprintf(address, sizeof address, "198.18.1.%d", group + 1);
    configure(alias, address, "255.255.0.0");
  }
}

static void open_ports(void) {
  int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
  if (home < 0) fail("/proc/self/ns/net");
  open_port(0);
  for (int port = 1; port < ports; port++) {
    if (unshare(CLONE_NEWNET) < 0) fail("unshare");
    int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (fd < 0) fail("/proc/self/ns/net");
    open_port(port);
    printf("port %d /proc/%d/fd/%d\n", port, (int)getpid(), fd);
  }
  if (setns(home, CLONE_NEWNET) < 0) fail("setns");
  printf("ready\n");
}

static void obey(const char *line) {
  int from, to;
  struct link link;
  unsigned long long seed;
  if (sscanf(line, "seed %llu", &seed) == 1) {
    random_state = seed * 2 + 1;
  } else if (sscanf(line, "set %d %d %u %u %u %u %u", &from, &to, &link.cut, &link.delay_us,
                    &link.loss, &link.duplicates, &link.reordered) == 7 &&
             from >= 0 && to >= 0 && from < ports + groups && to < ports + groups) {
    links[from][to] = link;
  } else {
    fprintf(stderr, "switch: not a command: %s\n", line);
    exit(1);
  }
  printf("ok %lu %lu %lu %lu %lu\n", cut, lost, delayed, duplicated, reordered);
}

// Returns 0 at the end of the input.
static int read_commands(void) {
  static char buffer[64 * 1024];
  static size_t used;
  ssize_t bytes = read(0, buffer + used, sizeof buffer - 1 - used);
  if (bytes <= 0) return 0;
  used += (size_t)bytes;
  buffer[used] = '\0';
  char *start = buffer;
  for (char *end; (end = strchr(start, '\n')) != NULL; start = end + 1) {
    *end = '\0';
    obey(start);
  }
  used -= (size_t)(start - buffer);
  memmove(buffer, start, used);
  return 1;
}

int main(int argc, char **argv) {
  ports = argc > 1 ? atoi(argv[1]) : 0;
  groups = argc > 2 ? atoi(argv[2]) : 0;
  if (ports < 1 || groups < 0 || ports + groups > NODES_MAX) {
    fprintf(stderr, "switch: expected the numbers of ports and groups\n");
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  open_ports();
  struct pollfd polled[NODES_MAX + 1];
  for (int port = 0; port < ports; port++) polled[port] = (struct pollfd){tuns[port], POLLIN, 0};
  polled[ports] = (struct pollfd){0, POLLIN, 0};
  uint8_t data[MTU];
  for (;;) {
    struct timespec wait, *limit = NULL;
    if (waiting_count > 0) {
      uint64_t now = now_us(), due = waiting[0]->due_us;
      uint64_t us = due > now ? due - now : 0;
      wait = (struct timespec){(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
      limit = &wait;
    }
    if (ppoll(polled, (nfds_t)ports + 1, limit, NULL) < 0 && errno != EINTR) fail("poll");
    if (polled[ports].revents != 0 && !read_commands()) return 0;
    for (uint64_t now = now_us(); waiting_count > 0 && waiting[0]->due_us <= now;) {
      struct packet *packet = pop_waiting();
      write_to(packet->port, packet->data, packet->bytes);
      free(packet);
    }
    for (int port = 0; port < ports; port++) {
      if (!(polled[port].revents & POLLIN)) continue;
      for (int i = 0; i < BATCH; i++) {
        ssize_t bytes = read(tuns[port], data, sizeof data);
        if (bytes <= 0) break;
        forward(data, (int)bytes);
      }
    }
  }
}
