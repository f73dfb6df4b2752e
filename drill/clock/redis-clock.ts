/**
 * The clock of a Redis server as a drill sets it: a small library, loaded before Redis
 * (LD_PRELOAD), replaces the wall clock of the process by one that differs from the machine's.
 * libfaketime does the same, but does not start with the allocator of Redis. It is compiled when it
 * is needed, so a drill without a C compiler leaves the clock of Redis alone.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { platform } from 'node:process';
import { text } from 'node:stream/consumers';

export interface ClockSetting {
  /** Milliseconds by which the clock is ahead of the machine's. */
  readonly aheadMs: number;
  /** Parts per million by which it runs faster from now on. */
  readonly driftPpm: number;
}

/**
 * System calls and a mapped file only: the first calls come before libc is initialised. The layout
 * of the file is that of `shiftBytes`.
 */
const SOURCE = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct shift { int64_t set_at_ns, ahead_ns, drift_ppm; };
static volatile const struct shift *shift;

static int64_t now_of(clockid_t id) {
  struct timespec ts;
  syscall(SYS_clock_gettime, id, &ts);
  return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static int64_t wall_ns(void) {
  if (shift == NULL) {
    const char *path = getenv("DRILL_CLOCK_FILE");
    int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return now_of(CLOCK_REALTIME);
    void *mapped = mmap(NULL, sizeof(struct shift), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED) return now_of(CLOCK_REALTIME);
    shift = mapped;
  }
  int64_t since_ns = now_of(CLOCK_MONOTONIC) - shift->set_at_ns;
  return now_of(CLOCK_REALTIME) + shift->ahead_ns + since_ns / 1000000 * shift->drift_ppm;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
  if (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE) {
    return (int)syscall(SYS_clock_gettime, id, ts);
  }
  int64_t ns = wall_ns();
  ts->tv_sec = ns / 1000000000;
  ts->tv_nsec = ns % 1000000000;
  return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz) {
  (void)tz;
  int64_t ns = wall_ns();
  tv->tv_sec = ns / 1000000000;
  tv->tv_usec = ns % 1000000000 / 1000;
  return 0;
}

time_t time(time_t *seconds) {
  time_t now = wall_ns() / 1000000000;
  if (seconds != NULL) *seconds = now;
  return now;
}
`;

/** Why the clock of a Redis cannot be set on this machine; undefined if it can. */
export async function redisClockObstacle(): Promise<string | undefined> {
  if (platform !== 'linux') return 'it needs Linux';
  const { code } = await compile(['-fsyntax-only']);
  return code === 0 ? undefined : 'it needs a C compiler (cc)';
}

/** @throws Error with the messages of the compiler */
export async function buildRedisClock(library: string): Promise<void> {
  const { code, messages } = await compile(['-shared', '-fPIC', '-O2', '-o', library]);
  if (code !== 0) throw new Error(`the clock of Redis cannot be compiled: ${messages}`);
}

/** Content of DRILL_CLOCK_FILE of a Redis. */
export function shiftBytes({ aheadMs, driftPpm }: ClockSetting): Buffer {
  const bytes = Buffer.alloc(24);
  bytes.writeBigInt64LE(process.hrtime.bigint(), 0);
  bytes.writeBigInt64LE(BigInt(Math.round(aheadMs)) * 1_000_000n, 8);
  bytes.writeBigInt64LE(BigInt(Math.round(driftPpm)), 16);
  return bytes;
}

async function compile(args: readonly string[]): Promise<{ code: number; messages: string }> {
  const compiler = spawn('cc', ['-x', 'c', '-Wall', ...args, '-'], {
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  const exited = once(compiler, 'close') as Promise<[number]>;
  compiler.stdin.on('error', () => {});
  compiler.stdin.end(SOURCE);
  try {
    const [messages, [code]] = await Promise.all([text(compiler.stderr), exited]);
    return { code, messages };
  } catch {
    return { code: 127, messages: 'there is no cc' };
  }
}
