/** The frames before and after CONNECT, in any fragmentation. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { rejection } from '../../../../common/process/errors.js';
import { parseMqttConnect } from '../../../../common/wire/mqtt/connect.js';
import { FrameReader } from '../../../../common/wire/websocket/frame.js';
import {
  MqttOpeningReader,
  mqttRejectionFrames,
} from '../../../../common/wire/websocket/mqtt-opening.js';
import { type Frame, maskedFrame } from '../../../support/devices/masked-frame.js';
import { connect, hex } from '../../../support/devices/mqtt-bytes.js';

const BYTES_MAX = 512;
const CONNECT = connect({ clientId: 'device' });
const AFTER = Buffer.concat([hex('82 0b 0001 0006 707573682f23 01'), hex('c000')]);

const binary = (payload: Buffer): Frame => ({ opcode: 2, payload });

function parse(stream: Buffer) {
  const parsed = parseMqttConnect(stream, BYTES_MAX);
  if (parsed === 'more') return parsed;
  if ('code' in parsed) return { clientId: `rejected ${parsed.code}`, left: Buffer.alloc(0) };
  return { clientId: parsed.clientId, left: stream.subarray(parsed.byteLength) };
}

/** Reads pieces as an edge does: the frames after CONNECT with a reader of their own. */
function readAll(pieces: readonly Buffer[]) {
  const outcome = { clientId: '', after: '', replies: '', closed: '' };
  const opening = new MqttOpeningReader(BYTES_MAX);
  const limits = { messageBytesMax: 100_000, fragmentsMax: 1_000 };
  const later = new FrameReader(limits, {
    onMessage: (payload) => {
      outcome.after += payload.toString('hex');
    },
    onPing: () => {},
    onPong: () => {},
    onClose: () => {},
  });
  for (const piece of pieces) {
    if (outcome.clientId !== '') {
      later.read(piece);
      continue;
    }
    const read = opening.read(piece, parse);
    if (read.type === 'closed') return { ...outcome, closed: read.bytes.toString('hex') };
    outcome.replies += read.reply.toString('hex');
    if (read.type !== 'parsed') continue;
    outcome.clientId = read.result.clientId;
    later.read(opening.framesAfter(read.result.left));
  }
  return outcome;
}

function split(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [0, ...[...new Set(cuts.map((cut) => cut % bytes.length))].sort((a, b) => a - b)];
  return at.map((start, i) => bytes.subarray(start, at[i + 1])).filter(({ length }) => length > 0);
}

test('packets may be split and joined over frames and reads at any byte [MQTT-6.0.0-2]', () => {
  const stream = Buffer.concat([CONNECT, AFTER]);
  const cuts = fc.array(fc.nat(10_000), { maxLength: 60 });
  fc.assert(
    fc.property(cuts, cuts, (frameCuts, readCuts) => {
      const frames = split(stream, frameCuts).map((payload) => maskedFrame(binary(payload)));
      const read = readAll(split(Buffer.concat(frames), readCuts));
      expect(read).toEqual({
        clientId: 'device',
        after: AFTER.toString('hex'),
        replies: '',
        closed: '',
      });
    }),
  );
});

test('a long rest of the message with CONNECT is kept', () => {
  const after = Buffer.alloc(300, AFTER);
  const bytes = maskedFrame(binary(Buffer.concat([CONNECT, after])));
  expect(readAll([bytes]).after).toBe(after.toString('hex'));
});

test('CONNECT may come in fragments, and pings between them are answered', () => {
  const bytes = Buffer.concat([
    maskedFrame({ ...binary(CONNECT.subarray(0, 5)), isFinal: false }),
    maskedFrame({ opcode: 9, payload: Buffer.from('?') }),
    maskedFrame({ opcode: 0, payload: CONNECT.subarray(5) }),
  ]);
  expect(readAll([bytes])).toMatchObject({ clientId: 'device', replies: '8a013f' });
});

describe('the opening ends', () => {
  test.each([
    ['a text message with 1003', maskedFrame({ opcode: 1, payload: CONNECT }), '03eb'],
    ['an unmasked frame with 1002', hex('8202 1000'), '03ea'],
    ['a reserved bit with 1002', hex('c280 00000000'), '03ea'],
    ['a message over the bound with 1009', hex('82fe 4000'), '03f1'],
    ['a length of 2^63 with 1009', hex('82ff ffffffffffffffff'), '03f1'],
    ['a close frame with its code', maskedFrame({ opcode: 8, payload: hex('03e9') }), '03e9'],
    ['an empty close frame with 1000', maskedFrame({ opcode: 8, payload: hex('') }), '03e8'],
  ])('for %s', (_name, bytes, code) => {
    expect(readAll([bytes]).closed.slice(4, 8)).toBe(code);
    expect(readAll([...bytes].map((byte) => Buffer.of(byte))).closed.slice(4, 8)).toBe(code);
  });

  test('for empty frames without end', () => {
    const empty = maskedFrame(binary(Buffer.alloc(0)));
    const count = Math.ceil((8 * BYTES_MAX) / empty.length) + 1;
    const many = Array.from({ length: count }, () => empty);
    expect(readAll(many.slice(2)).closed).toBe('');
    expect(readAll(many).closed.slice(4, 8)).toBe('03f1');
  });
});

test('a rejection has the CONNACK and a close code, which differs if the device may retry', () => {
  const rejected = rejection('UNAUTHENTICATED', 'no token');
  const frames = mqttRejectionFrames(hex('20020005'), rejected).toString('hex');
  expect(frames).toBe(`820420020005880a03f0${Buffer.from('no token').toString('hex')}`);
  expect(mqttRejectionFrames(Buffer.alloc(0), rejected).toString('hex').slice(4, 8)).toBe('03f5');
  const long = rejection('UNAUTHENTICATED', 'é'.repeat(200));
  expect(mqttRejectionFrames(Buffer.alloc(0), long)).toHaveLength(127);
});
