/**
 * Plays the packet sequences of Mosquitto's test suite to an MQTT port, and prints each that ends
 * differently: the connection open instead of closed, or closed instead of open. They are JSON
 * files in `test/broker/data` of Mosquitto's sources:
 *
 *   node dist/test/conformance/mqtt-vectors.js mosquitto-2.0.21/test/broker/data 7102
 *
 * docs/protocols.md has the results.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { frameMqtt } from '../../common/wire/mqtt/fields.js';
import { connect, field, hex, packet, variable } from '../support/devices/mqtt-bytes.js';
import { RawSocket } from '../support/devices/raw-socket.js';
import { eventually } from '../support/eventually.js';

interface Step {
  readonly type: 'send' | 'recv' | 'publish';
  readonly payload: string;
}

/** Settings of a group, which a test may override. */
interface Settings {
  /** Protocol level of the CONNECT before the steps. Default: 4. */
  readonly ver?: 3 | 4 | 5;
  /** Send a CONNECT before the steps. Default: true. */
  readonly connect?: boolean;
  /** Default: true. */
  readonly expect_disconnect?: boolean;
}

interface Vector extends Settings {
  readonly name: string;
  readonly msgs: readonly Step[];
}

interface Group extends Settings {
  readonly group: string;
  readonly disable?: boolean;
  readonly tests: readonly Vector[];
}

const ANSWER_MS = 1_000;
/** Maximum time until an expected close, after the last answer. */
const END_MS = 500;
const BYTES_MAX = 1_048_576;

const [directory, port] = process.argv.slice(2);
if (directory === undefined || port === undefined) {
  throw new Error('usage: mqtt-vectors.js <directory of JSON files> <port>');
}

const counts = { played: 0, same: 0, otherAnswer: 0, otherEnd: 0, unreadable: 0 };
for (const file of readdirSync(directory).sort()) {
  if (!file.endsWith('.json')) continue;
  const groups: readonly Group[] = JSON.parse(readFileSync(join(directory, file), 'utf8'));
  for (const { group, tests, disable, ...settings } of groups) {
    if (disable) continue;
    for (const vector of tests) await play(group, { ...settings, ...vector });
  }
}
console.log(JSON.stringify(counts));

async function play(group: string, vector: Vector): Promise<void> {
  const { msgs, expect_disconnect: isEndExpected = true } = vector;
  const steps = msgs.map(({ type, payload }) => ({
    type,
    bytes: type === 'publish' ? Buffer.alloc(0) : bytesOf(payload),
  }));
  if (steps.some(({ bytes }) => bytes === undefined)) {
    counts.unreadable++;
    return;
  }
  counts.played++;
  const socket = await RawSocket.connect(Number(port));
  let answered = 0;
  if (vector.connect ?? true) {
    await socket.send(connectOf(vector.ver ?? 4));
    answered = await untilAnswer(socket, 0);
  }
  let isSame = true;
  for (const { type, bytes } of steps) {
    if (type === 'send') await socket.send(bytes!);
    if (type !== 'recv') continue;
    const from = answered;
    answered = await untilAnswer(socket, from);
    isSame &&= socket.bytes.subarray(from, answered).equals(bytes!);
  }
  const isEnded = await hasEnded(socket, isEndExpected);
  socket.close();
  if (isEnded !== isEndExpected) {
    counts.otherEnd++;
    console.log(`${group} | ${vector.name} | ${isEnded ? 'closed' : 'open'}`);
  } else if (isSame) {
    counts.same++;
  } else {
    counts.otherAnswer++;
  }
}

/**
 * Returns the end of the packet that starts at `from`; the number of received bytes if none
 * arrives.
 */
async function untilAnswer(socket: RawSocket, from: number): Promise<number> {
  const end = () => {
    const frame = frameMqtt(socket.bytes, from, BYTES_MAX);
    return typeof frame === 'object' && 'end' in frame ? frame.end : 0;
  };
  await eventually(() => end() > 0 || socket.isEnded, ANSWER_MS).catch(() => {});
  return end() || socket.bytes.length;
}

async function hasEnded(socket: RawSocket, isEndExpected: boolean): Promise<boolean> {
  if (isEndExpected) await socket.untilEnded(END_MS).catch(() => {});
  const before = socket.bytes.length;
  await socket.send(hex('c000'));
  await eventually(() => socket.bytes.length > before || socket.isEnded, ANSWER_MS).catch(() => {});
  await sleep(10);
  return socket.isEnded;
}

function connectOf(version: 3 | 4 | 5): Buffer {
  const clientId = `vector-${counts.played}`;
  if (version > 3)
    return connect({ version: version === 5 ? 5 : 4, clientId, keepAliveSeconds: 60 });
  return packet(0x10, field('MQIsdp'), hex('03 02 003c'), field(clientId));
}

/**
 * Parses hex with numbers and texts: `i7` is one byte, `H7`, `k7`, `m7` and `s7` two, `L7` four,
 * `v7` and `r7` are variable byte integers, 'x' is text. Undefined for any other syntax.
 */
function bytesOf(payload: string): Buffer | undefined {
  const parts: Buffer[] = [];
  for (const part of payload.match(/'[^']*'|\S+/g) ?? []) {
    const value = Number(part.slice(1));
    if (part.startsWith("'")) parts.push(Buffer.from(part.slice(1, -1)));
    else if (/^i\d+$/.test(part)) parts.push(bigEndian(value, 1));
    else if (/^[Hkms]\d+$/.test(part)) parts.push(bigEndian(value, 2));
    else if (/^L\d+$/.test(part)) parts.push(bigEndian(value, 4));
    else if (/^[vr]\d+$/.test(part)) parts.push(variable(value));
    else if (/^([0-9a-f]{2})+$/i.test(part)) parts.push(hex(part));
    else return undefined;
  }
  return Buffer.concat(parts);
}

function bigEndian(value: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  buffer.writeUIntBE(value, 0, bytes);
  return buffer;
}
