/**
 * **Goal:** failures that only the native transport can have: exhausted descriptors, threads that
 * end, an addon that cannot be loaded.
 * **Method:** the compiled code, in separate processes and threads.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, test } from '@jest/globals';
import { packageRoot } from '../../../common/process/package-root.js';
import {
  NativeTransport,
  nativeUnavailableReason,
} from '../../../common/transport/native-transport.js';
import { eventually } from '../../support/eventually.js';

const COMPILED = join(packageRoot, 'dist/common/transport');
const describeNative = nativeUnavailableReason() === undefined ? describe : describe.skip;

const peers: Socket[] = [];
const children: ChildProcess[] = [];

afterEach(() => {
  for (const peer of peers.splice(0)) peer.destroy();
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

function connectPeer(port: number): Socket {
  const peer = connect(port, '127.0.0.1');
  peer.on('error', () => {});
  peers.push(peer);
  return peer;
}

/** An echo server; its variables are `transport` and `open`, the number of open connections. */
const ECHO_SERVER = `
  const { NativeTransport } = await import(${JSON.stringify(pathToFileURL(join(COMPILED, 'native-transport.js')).href)});
  let open = 0;
  const transport = new NativeTransport({
    onOpen: () => open++,
    onBytes: (connection, bytes) => transport.write(connection, Buffer.from(bytes)),
    onEnd: (connection) => transport.end(connection),
    onClose: () => open--,
    onOverLimit: () => {},
    onTimer: () => {},
  }, { connectionsMax: 1000, sendBufferBytesMax: 65536 });
`;

describeNative('when descriptors are exhausted', () => {
  test('serves open connections without spinning, and accepts waiting ones later', async () => {
    // Prints the port, then every 250 ms: open connections, pauses in accepting, CPU time in µs.
    const program = `${ECHO_SERVER}
      console.log(await transport.listen('127.0.0.1', 0));
      setInterval(() => console.log(open, transport.acceptPauses(), process.cpuUsage().user + process.cpuUsage().system), 250);`;
    const child = spawn(
      'sh',
      ['-c', 'ulimit -n 64; exec "$0" --input-type=module -e "$1"', process.execPath, program],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    children.push(child);
    const lines = createInterface({ input: child.stdout! });
    const numbers = async () =>
      String((await once(lines, 'line'))[0])
        .split(' ')
        .map(Number);
    const [port] = await numbers();
    const waiting = Array.from({ length: 80 }, () => connectPeer(port!));
    await eventually(async () => {
      const [, pauses] = await numbers();
      expect(pauses).toBeGreaterThanOrEqual(2);
    });
    const [open, , cpuBefore] = await numbers();
    expect(open).toBeGreaterThan(20);
    expect(open).toBeLessThan(64);

    const first = waiting[0]!;
    first.write('hello');
    expect(String((await once(first, 'data'))[0])).toBe('hello');

    await numbers();
    await numbers();
    const [, , cpuAfter] = await numbers();
    // Measured over three quarters of a second, most of which a spinning process would use.
    expect(cpuAfter! - cpuBefore!).toBeLessThan(300_000);

    for (const peer of waiting.slice(0, 60)) peer.destroy();
    const last = waiting.at(-1)!;
    last.write('at last');
    expect(String((await once(last, 'data'))[0])).toBe('at last');
  });
});

/** Other C libraries than glibc cannot give it back, nor can sanitizers, which are preloaded. */
const isGlibc = 'glibcVersionRuntime' in (process.report.getReport() as { header: object }).header;
const testGlibc = isGlibc && process.env.LD_PRELOAD === undefined ? test : test.skip;

describeNative('trimMemory', () => {
  testGlibc('gives freed memory back to the system', async () => {
    // The last block stays, so that what is before it is not the end of the C library's memory.
    const program = `
      const { trimMemory } = await import(${JSON.stringify(pathToFileURL(join(COMPILED, 'native-transport.js')).href)});
      const allocate = (blocks) => Array.from({ length: blocks }, () => Buffer.allocUnsafeSlow(50_000).fill(1));
      let blocks = allocate(2_000);
      const last = allocate(1);
      const print = () => console.log(Math.round(process.memoryUsage.rss() / 1e6), last.length);
      print();
      blocks = undefined;
      setInterval(() => { gc(); trimMemory(); print(); }, 100);`;
    const args = ['--expose-gc', '--input-type=module', '-e', program];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    const lines = createInterface({ input: child.stdout! });
    const megabytes = async () => Number.parseInt(String((await once(lines, 'line'))[0]), 10);
    const before = await megabytes();
    await eventually(async () => expect(await megabytes()).toBeLessThan(before - 80));
  });
});

describeNative('acceptAtMost', () => {
  test('limits accepted connections, and the others are accepted later', async () => {
    let open = 0;
    const transport = new NativeTransport(
      {
        onOpen: () => open++,
        onBytes: () => {},
        onEnd: () => {},
        onClose: () => open--,
        onOverLimit: () => {},
        onTimer: () => {},
      },
      { connectionsMax: 1_000, sendBufferBytesMax: 65_536 },
    );
    try {
      const port = await transport.listen('127.0.0.1', 0);
      transport.acceptAtMost(2);
      for (let i = 0; i < 100; i++) connectPeer(port);
      await eventually(() => expect(open).toBe(2));
      await sleep(100);
      expect(open).toBe(2);
      transport.acceptAtMost(0);
      await sleep(50);
      expect(open).toBe(2);
      transport.acceptAtMost(70);
      await eventually(() => expect(open).toBe(72));
      transport.acceptAtMost(Number.POSITIVE_INFINITY);
      await eventually(() => expect(open).toBe(100));
    } finally {
      await transport.close();
    }
  });
});

describeNative('in several threads', () => {
  test('each thread serves its connections, and its end closes only those', async () => {
    const program = `
      const { parentPort } = require('node:worker_threads');
      (async () => {${ECHO_SERVER} parentPort.postMessage(await transport.listen('127.0.0.1', 0));})();`;
    const workers = Array.from({ length: 3 }, () => new Worker(program, { eval: true }));
    const ports = await Promise.all(
      workers.map(async (worker) => (await once(worker, 'message'))[0] as number),
    );
    const served = ports.map(connectPeer);
    for (const peer of served) {
      peer.write('hello');
      expect(String((await once(peer, 'data'))[0])).toBe('hello');
    }
    const gone = once(served[0]!, 'close');
    await workers[0]!.terminate();
    await gone;
    served[1]!.write('still there');
    expect(String((await once(served[1]!, 'data'))[0])).toBe('still there');
    await Promise.all(workers.map((worker) => worker.terminate()));
  });
});

describe('an addon that cannot be loaded', () => {
  const folders: string[] = [];
  afterEach(() => {
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
  });

  /** Returns the output of `openTransport` in a copy of the compiled code with this addon. */
  async function open(addon: string | undefined, requested: string | undefined): Promise<string> {
    mkdirSync(join(packageRoot, 'build'), { recursive: true });
    // Below the package, so that its dependencies are found.
    const folder = mkdtempSync(join(packageRoot, 'build/copy-'));
    folders.push(folder);
    cpSync(join(packageRoot, 'dist/common'), join(folder, 'dist/common'), { recursive: true });
    cpSync(join(packageRoot, 'dist/proto'), join(folder, 'dist/proto'), { recursive: true });
    writeFileSync(join(folder, 'package.json'), readFileSync(join(packageRoot, 'package.json')));
    if (addon !== undefined) {
      mkdirSync(join(folder, 'build'));
      writeFileSync(join(folder, 'build/transport.node'), addon);
    }
    const module = pathToFileURL(join(folder, 'dist/common/transport/open-transport.js')).href;
    const program = `
      const { openTransport } = await import(${JSON.stringify(module)});
      try {
        const { name, reason } = openTransport(${JSON.stringify(requested)}, {}, { connectionsMax: 1 });
        console.log(name + ': ' + reason);
      } catch (error) {
        console.log(error.constructor.name + ': ' + error.message);
      }`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program]);
    children.push(child);
    let output = '';
    child.stdout.on('data', (bytes) => {
      output += bytes;
    });
    await once(child, 'close');
    return output.trim();
  }

  test('is replaced by the portable transport, with the reason', async () => {
    expect(await open('not a library', undefined)).toMatch(
      /^net: native is unavailable: .*(file too short|invalid ELF header)/,
    );
    expect(await open(undefined, undefined)).toMatch(
      /^net: native is unavailable: it was not built/,
    );
  });

  test('is an error if it was requested by name', async () => {
    expect(await open('not a library', 'native')).toMatch(
      /^EnvironmentError: LONGLINE_TRANSPORT is native, but the addon cannot be loaded: /,
    );
  });
});
