import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, expect, test } from '@jest/globals';
import { listenableHost } from '../../../common/net/any-host.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { testIpv6 } from '../../support/ipv6.js';

const folder = mkdtempSync(join(tmpdir(), 'longline-no-ipv6-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** In a process with this library, sockets behave as on a kernel booted with `ipv6.disable=1`. */
const NO_IPV6 = `
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>
int socket(int domain, int type, int protocol) {
  int (*real)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
  if (domain == AF_INET6) { errno = EAFNOSUPPORT; return -1; }
  return real(domain, type, protocol);
}`;

function buildShim(): string | undefined {
  const library = join(folder, 'no-ipv6.so');
  writeFileSync(join(folder, 'no-ipv6.c'), NO_IPV6);
  const built = spawnSync('cc', ['-shared', '-fPIC', '-o', library, 'no-ipv6.c', '-ldl'], {
    cwd: folder,
  });
  return built.status === 0 ? library : undefined;
}

const shim = buildShim();
if (shim === undefined) console.log('skipped: no C compiler for a process without IPv6');

testIpv6.each(['::', '::1', '127.0.0.1', 'localhost'])('leaves %s as it is', async (host) => {
  expect(await listenableHost(host)).toBe(host);
});

(shim === undefined ? test.skip : test)('without IPv6, :: becomes 0.0.0.0', async () => {
  const module = pathToFileURL(join(packageRoot, 'dist/common/net/any-host.js')).href;
  const program = `
    const { listenableHost } = await import(${JSON.stringify(module)});
    console.log(await listenableHost('::'), await listenableHost('::1'));`;
  const args = ['--input-type=module', '-e', program];
  const env = { ...process.env, LD_PRELOAD: shim };
  const { stdout } = await promisify(execFile)(process.execPath, args, { env });
  expect(stdout.trim()).toBe('0.0.0.0 ::1');
});
