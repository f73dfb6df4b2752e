/**
 * **Goal:** what only the native transport can get wrong: descriptors that run out, threads that end,
 * an addon that cannot be loaded.
 * **Method:** the compiled code, in processes and threads of their own.
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

/** Echoes. Says its port, and then once a second what it holds, its pauses, and its CPU in ms. */
const ECHO = `
  const { NativeTransport } = await import(${JSON.stringify(pathToFileURL(join(COMPILED, 'native-transport.js')).href)});
  let held = 0;
  const transport = new NativeTransport({
    onOpen: () => held++,
    onBytes: (connection, bytes) => transport.write(connection, Buffer.from(bytes)),
    onEnd: (connection) => transport.end(connection),
    onClose: () => held--,
    onOverLimit: () => {},
    onTimer: () => {},
  }, { connectionsMax: 1000, sendBufferBytesMax: 65536 });
`;

describeNative('when descriptors run out', () => {
  test('what is held is served, nothing spins, and who waits is let in when there is room', async () => {
    const program = `${ECHO}
      console.log(await transport.listen('127.0.0.1', 0));
      setInterval(() => console.log(held, transport.acceptPauses(), process.cpuUsage().user + process.cpuUsage().system), 250);`;
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
    const [held, , cpuBefore] = await numbers();
    expect(held).toBeGreaterThan(20);
    expect(held).toBeLessThan(64);

    const first = waiting[0]!;
    first.write('hello');
    expect(String((await once(first, 'data'))[0])).toBe('hello');

    await numbers();
    await numbers();
    const [, , cpuAfter] = await numbers();
    // Three quarters of a second, of which a spinning one would take most.
    expect(cpuAfter! - cpuBefore!).toBeLessThan(300_000);

    for (const peer of waiting.slice(0, 60)) peer.destroy();
    const last = waiting.at(-1)!;
    last.write('at last');
    expect(String((await once(last, 'data'))[0])).toBe('at last');
  });
});

describeNative('a transport that is to accept few', () => {
  test('accepts no more than it is told, and whoever waits is served later', async () => {
    let held = 0;
    const transport = new NativeTransport(
      {
        onOpen: () => held++,
        onBytes: () => {},
        onEnd: () => {},
        onClose: () => held--,
        onOverLimit: () => {},
        onTimer: () => {},
      },
      { connectionsMax: 1_000, sendBufferBytesMax: 65_536 },
    );
    try {
      const port = await transport.listen('127.0.0.1', 0);
      transport.acceptAtMost(2);
      for (let i = 0; i < 100; i++) connectPeer(port);
      await eventually(() => expect(held).toBe(2));
      await sleep(100);
      expect(held).toBe(2);
      transport.acceptAtMost(0);
      await sleep(50);
      expect(held).toBe(2);
      transport.acceptAtMost(70);
      await eventually(() => expect(held).toBe(72));
      transport.acceptAtMost(Number.POSITIVE_INFINITY);
      await eventually(() => expect(held).toBe(100));
    } finally {
      await transport.close();
    }
  });
});

describeNative('in several threads', () => {
  test('each serves its own, and one that is ended takes only its own with it', async () => {
    const program = `
      const { parentPort } = require('node:worker_threads');
      (async () => {${ECHO} parentPort.postMessage(await transport.listen('127.0.0.1', 0));})();`;
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

  /** What `openTransport` makes of it, asked in a copy of the compiled code. */
  async function open(addon: string | undefined, wanted: string | undefined): Promise<string> {
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
        const { name, because } = openTransport(${JSON.stringify(wanted)}, {}, { connectionsMax: 1 });
        console.log(name + ': ' + because);
      } catch (error) {
        console.log(error.constructor.name + ': ' + error.message);
      }`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program]);
    children.push(child);
    let said = '';
    child.stdout.on('data', (bytes) => {
      said += bytes;
    });
    await once(child, 'close');
    return said.trim();
  }

  test('is replaced by the portable transport, and the reason is said', async () => {
    expect(await open('this is no library', undefined)).toMatch(
      /^net: native: .*(file too short|invalid ELF header)/,
    );
    expect(await open(undefined, undefined)).toMatch(/^net: native: it was not built/);
  });

  test('is an error when it was asked for by name', async () => {
    expect(await open('this is no library', 'native')).toMatch(
      /^EnvironmentError: LONGLINE_TRANSPORT=native, but it cannot be loaded: /,
    );
  });
});
