/**
 * Goal: the switch cuts and damages exactly the given direction of the given link, and nothing of
 * it is left when its parent ends. Method: a switch with three namespaces and one group, and UDP
 * packets between them.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { networkObstacle } from '../../../drill/network/namespace.js';
import { SWITCH_SOURCE } from '../../../drill/network/network.js';
import { eventually } from '../../support/eventually.js';

const obstacle = await networkObstacle();
if (obstacle !== undefined) console.warn(`the switch of the drill is not tested: ${obstacle}`);

const PACKETS = 40;
/**
 * Prints the numbers of the packets that arrive, in order, after the end of its input and then half
 * a second of silence.
 */
const RECEIVER = `
  const socket = require('node:dgram').createSocket('udp4');
  const numbers = [];
  let timer;
  let isEnding = false;
  const wait = () => { clearTimeout(timer); timer = setTimeout(() => {
    process.stdout.write(JSON.stringify(numbers)); process.exit();
  }, 500); };
  socket.on('message', (bytes) => { numbers.push(Number(bytes)); if (isEnding) wait(); });
  socket.bind(9000, () => console.error('bound'));
  process.stdin.on('end', () => { isEnding = true; wait(); }).resume();
`;
const SENDER = `
  const socket = require('node:dgram').createSocket('udp4');
  const [to, from] = process.argv.slice(1);
  let sent = 0;
  socket.bind(0, from || '0.0.0.0', () => {
    const timer = setInterval(() => {
      if (sent === ${PACKETS}) { clearInterval(timer); return socket.close(); }
      socket.send(String(sent++), 9000, to);
    }, 2);
  });
`;

(obstacle === undefined ? describe : describe.skip)('the switch', () => {
  let folder: string;
  let child: ChildProcess;
  const paths: string[] = [];
  const answers: ((line: string) => void)[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'longline-switch-'));
    const binary = join(folder, 'switch');
    execFileSync('cc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', binary, SWITCH_SOURCE]);
    child = spawn('unshare', ['--net', binary, '3', '1'], { stdio: ['pipe', 'pipe', 'inherit'] });
    await new Promise<void>((resolve) => {
      createInterface({ input: child.stdout! }).on('line', (line) => {
        const [word, port, path] = line.split(' ');
        if (word === 'port') paths[Number(port)] = path!;
        else if (word === 'ready') resolve();
        else answers.shift()?.(line);
      });
    });
    paths[0] = `/proc/${child.pid}/ns/net`;
  });

  afterAll(() => {
    child.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  });

  /** The packets so far that were cut, lost, delayed, duplicated and reordered. */
  async function set(from: number, to: number, rest: string): Promise<number[]> {
    const answer = new Promise<string>((resolve) => answers.push(resolve));
    child.stdin!.write(`set ${from} ${to} ${rest}\n`);
    return (await answer).split(' ').slice(1).map(Number);
  }

  function run(port: number, code: string, ...args: string[]): ChildProcess {
    const command = [`--net=${paths[port]}`, process.execPath, '-e', code, ...args];
    return spawn('nsenter', command, { stdio: ['pipe', 'pipe', 'pipe'] });
  }

  /** Numbers of the packets that arrive. */
  async function send(from: number, to: number, source = ''): Promise<number[]> {
    const receiver = run(to, RECEIVER);
    let output = '';
    receiver.stdout!.on('data', (bytes) => {
      output += bytes;
    });
    await new Promise((resolve) => receiver.stderr!.once('data', resolve));
    const sender = run(from, SENDER, `198.18.0.${to + 1}`, source);
    await new Promise((resolve) => sender.once('close', resolve));
    receiver.stdin!.end();
    await new Promise((resolve) => receiver.once('close', resolve));
    return JSON.parse(output);
  }

  const all = Array.from({ length: PACKETS }, (_, i) => i);

  test('cuts one direction of one link', async () => {
    await set(1, 2, '1 0 0 0 0');
    expect(await send(1, 2)).toEqual([]);
    expect(await send(2, 1)).toEqual(all);
    expect(await send(0, 2)).toEqual(all);
    const [cut] = await set(1, 2, '0 0 0 0 0');
    expect(cut).toBe(PACKETS);
    expect(await send(1, 2)).toEqual(all);
  });

  test('a group has links of its own', async () => {
    await set(3, 2, '1 0 0 0 0');
    expect(await send(0, 2, '198.18.1.1')).toEqual([]);
    expect(await send(0, 1, '198.18.1.1')).toEqual(all);
    expect(await send(0, 2)).toEqual(all);
  });

  test('loses, duplicates and reorders packets', async () => {
    await set(1, 2, '0 0 500000 0 0');
    const some = await send(1, 2);
    expect(some.length).toBeGreaterThan(0);
    expect(some.length).toBeLessThan(PACKETS);
    await set(1, 2, '0 0 0 1000000 0');
    expect(await send(1, 2)).toEqual(all.flatMap((i) => [i, i]));
    await set(1, 2, '0 0 0 0 300000');
    const received = await send(1, 2);
    expect(received).not.toEqual(all);
    expect(received.toSorted((a, b) => a - b)).toEqual(all);
    await set(1, 2, '0 20000 0 0 0');
    expect(await send(1, 2)).toEqual(all);
    const [, , delayed] = await set(1, 2, '0 0 0 0 0');
    expect(delayed).toBe(PACKETS);
  });

  test('ends with its input, and its namespaces with it', async () => {
    child.stdin!.end();
    await eventually(() => expect(existsSync(paths[1]!)).toBe(false));
  });
});
