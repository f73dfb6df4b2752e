import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import * as ws from 'ws';
import { FrameReader, type FrameSink } from '../../../../common/wire/websocket/frame.js';
import { chunkings } from '../../../support/devices/chunkings.js';
import { type Frame, maskedFrame } from '../../../support/devices/masked-frame.js';

const MESSAGE_BYTES_MAX = 70_000;
const FRAGMENTS_MAX = 64;
const LIMITS = { messageBytesMax: MESSAGE_BYTES_MAX, fragmentsMax: FRAGMENTS_MAX };

/** Feeds pieces to a reader and records its callbacks as text. */
function readPieces(pieces: Iterable<Buffer>, limits = LIMITS) {
  const seen: string[] = [];
  const sink: FrameSink = {
    onMessage: (payload, isText) =>
      seen.push(isText ? `text ${payload}` : `binary ${payload.toString('hex')}`),
    onPing: (payload) => seen.push(`ping ${payload}`),
    onPong: (payload) => seen.push(`pong ${payload}`),
    onClose: (code, reason) => seen.push(`close ${code} ${reason}`),
  };
  const reader = new FrameReader(limits, sink);
  for (const piece of pieces) {
    const violation = reader.read(piece);
    // The transport reuses its buffer.
    piece.fill(0xaa);
    if (violation !== undefined) seen.push(`violation ${violation.closeCode}`);
  }
  return { seen, reader };
}

/** The same however the bytes are cut. */
function read(bytes: Buffer, limits = LIMITS): string[] {
  const all = [...chunkings(bytes)].map(
    (pieces) =>
      readPieces(
        pieces.map((piece) => Buffer.from(piece)),
        limits,
      ).seen,
  );
  for (const seen of all) expect(seen).toEqual(all[0]);
  return all[0]!;
}

const NAMES: Record<number, string> = { 1: 'text', 2: 'binary', 9: 'ping', 10: 'pong' };
const hex = (text: string) => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const frames = (...all: Frame[]) => Buffer.concat(all.map(maskedFrame));

describe('messages', () => {
  test.each([
    ['§5.7 a masked text message', '81 85 37fa213d 7f9f4d5158', ['text Hello']],
    ['§5.2 no payload', '81 80 00000000', ['text ']],
    ['§5.3 a mask of zeros', '82 83 00000000 00ff7f', ['binary 00ff7f']],
    ['§5.4 two fragments', '01 83 00000000 48656c 80 82 00000000 6c6f', ['text Hello']],
    ['§5.4 an empty fragment', '01 80 00000000 80 85 37fa213d 7f9f4d5158', ['text Hello']],
    [
      '§5.4 a ping between fragments',
      '01 83 00000000 48656c 89 82 00000000 6869 80 82 00000000 6c6f',
      ['ping hi', 'text Hello'],
    ],
    [
      '§8.1 a UTF-8 character split over fragments',
      '01 81 00000000 c3 80 81 00000000 a9',
      ['text é'],
    ],
    ['two messages', '81 81 00000000 61 82 81 00000000 62', ['text a', 'binary 62']],
  ])('%s', (_clause, bytes, expected) => {
    expect(read(hex(bytes))).toEqual(expected);
  });

  test.each([
    ['125 bytes in a 7 bit length', 125, 2 + 4],
    ['126 bytes in a 16 bit length', 126, 4 + 4],
    ['65,535 bytes in a 16 bit length', 65_535, 4 + 4],
    ['65,536 bytes in a 64 bit length', 65_536, 10 + 4],
  ])('§5.2 %s', (_what, length, headerLength) => {
    const bytes = maskedFrame({ opcode: 2, payload: Buffer.alloc(length, 'x') });
    expect(bytes.length).toBe(headerLength + length);
    expect(read(bytes)).toEqual([`binary ${'78'.repeat(length)}`]);
  });

  test('parses any frames of the sender of ws', () => {
    const message = fc.record({
      opcode: fc.constantFrom(1, 2, 9, 10),
      text: fc.string({ unit: 'grapheme', maxLength: 20 }),
      cuts: fc.array(fc.nat(60), { maxLength: 3 }),
    });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 6 }), fc.nat(), (messages, seed) => {
        const expected: string[] = [];
        const bytes: Buffer[] = [];
        for (const { opcode, text, cuts } of messages) {
          const isControl = opcode > 8;
          const payload = Buffer.from(text).subarray(0, isControl ? 125 : undefined);
          expected.push(`${NAMES[opcode]} ${opcode === 2 ? payload.toString('hex') : payload}`);
          const within = isControl ? [] : cuts.filter((cut) => cut < payload.length);
          const ends = [...within.sort((a, b) => a - b), payload.length];
          for (const [i, end] of ends.entries()) {
            const part = payload.subarray(ends[i - 1] ?? 0, end);
            bytes.push(...senderFrame(part, i === 0 ? opcode : 0, end === payload.length));
          }
        }
        for (const pieces of chunkings(Buffer.concat(bytes), seed)) {
          const { seen, reader } = readPieces(pieces.map((piece) => Buffer.from(piece)));
          expect(seen).toEqual(expected);
          expect(reader.isIdle).toBe(true);
        }
      }),
      { numRuns: 50 },
    );
  });
});

describe('violations', () => {
  test.each([
    ['§5.1 a frame without mask', '81 05 48656c6c6f', 1002],
    ['§5.2 RSV1', 'c1 80 00000000', 1002],
    ['§5.2 RSV2', 'a1 80 00000000', 1002],
    ['§5.2 RSV3', '91 80 00000000', 1002],
    ['§5.2 RSV1 of a control frame', 'c9 80 00000000', 1002],
    ['§5.2 opcode 3', '83 80 00000000', 1002],
    ['§5.2 opcode 7', '87 80 00000000', 1002],
    ['§5.2 opcode 11', '8b 80 00000000', 1002],
    ['§5.2 opcode 15', '8f 80 00000000', 1002],
    ['§5.2 125 bytes in a 16 bit length', '82 fe 007d', 1002],
    ['§5.2 65,535 bytes in a 64 bit length', '82 ff 000000000000ffff', 1002],
    ['§5.2 a 64 bit length with its first bit set', '82 ff 8000000000000000', 1009],
    ['§5.2 a length over 2^53', '82 ff 0020000000000001', 1009],
    ['§5.4 a continuation of nothing', '80 80 00000000', 1002],
    ['§5.4 a continuation after the end', '81 80 00000000 80 80 00000000', 1002],
    ['§5.4 a message within a message', '01 80 00000000 81 80 00000000', 1002],
    ['§5.5 a ping in fragments', '09 80 00000000', 1002],
    ['§5.5 a close frame in fragments', '08 80 00000000', 1002],
    ['§5.5 a ping of 126 bytes', '89 fe 007e', 1002],
    ['§5.5 a ping with a 64 bit length', '89 ff', 1002],
    ['§5.5.1 a close frame of one byte', '88 81 00000000 03', 1002],
    ['§8.1 text that is not UTF-8', '81 82 00000000 c328', 1007],
    ['§8.1 text with a surrogate', '81 83 00000000 eda080', 1007],
    ['§8.1 text that ends within a character', '81 81 00000000 c3', 1007],
    ['§8.1 an overlong form', '81 82 00000000 c0af', 1007],
    ['§8.1 fragments that are not UTF-8 together', '01 81 00000000 c3 80 81 00000000 c3', 1007],
    ['§5.5.1 a close reason that is not UTF-8', '88 84 00000000 03e8c328', 1007],
  ])('%s', (_clause, bytes, closeCode) => {
    const all = read(hex(bytes));
    expect(all.at(-1)).toBe(`violation ${closeCode}`);
    expect(all.filter((seen) => seen.startsWith('violation'))).toHaveLength(1);
  });

  test.each([0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])(
    '§7.4 a close frame with code %i',
    (code) => {
      const payload = Buffer.alloc(2);
      payload.writeUInt16BE(code);
      expect(read(maskedFrame({ opcode: 8, payload }))).toEqual(['violation 1002']);
    },
  );

  test('nothing is read after a violation', () => {
    expect(read(hex('80 80 00000000 81 81 00000000 61'))).toEqual(['violation 1002']);
  });
});

describe('close frames', () => {
  test.each([
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
  ])('§7.4 accepts the code %i', (code) => {
    const payload = Buffer.from('..bye');
    payload.writeUInt16BE(code);
    expect(read(maskedFrame({ opcode: 8, payload }))).toEqual([`close ${code} bye`]);
  });

  test('§7.1.5 without a code count as 1005', () => {
    expect(read(hex('88 80 00000000'))).toEqual(['close 1005 ']);
  });

  test('§5.5.1 are the last frame that is read', () => {
    const { seen, reader } = readPieces([hex('88 80 00000000 89 80 00000000')]);
    expect(seen).toEqual(['close 1005 ']);
    expect(reader.isClosed).toBe(true);
  });

  test('§5.5 may be within a message', () => {
    expect(read(hex('01 81 00000000 61 88 80 00000000'))).toEqual(['close 1005 ']);
  });
});

describe('limits', () => {
  const limits = { messageBytesMax: 10, fragmentsMax: 4 };
  const part = (bytes: number, isFinal = false): Frame => ({
    opcode: 0,
    payload: Buffer.alloc(bytes, 'x'),
    isFinal,
  });

  test('accept a message of exactly the maximum size', () => {
    const message = (bytes: number): Frame => ({ opcode: 1, payload: Buffer.alloc(bytes, 'x') });
    expect(read(frames(message(9)), limits)).toEqual([`text ${'x'.repeat(9)}`]);
    expect(read(frames(message(10)), limits)).toEqual([`text ${'x'.repeat(10)}`]);
    expect(read(frames(message(11)), limits)).toEqual(['violation 1009']);
  });

  test('apply to all fragments together, as soon as the header is read', () => {
    const first: Frame = { opcode: 1, payload: Buffer.alloc(6, 'x'), isFinal: false };
    expect(read(frames(first, part(4, true)), limits)).toEqual([`text ${'x'.repeat(10)}`]);
    const header = maskedFrame(part(5, true)).subarray(0, 2);
    expect(read(Buffer.concat([frames(first), header]), limits)).toEqual(['violation 1009']);
  });

  test('reject a huge length before buffering any of it', () => {
    const { seen, reader } = readPieces([hex('82 ff 000000000fffffff')]);
    expect(seen).toEqual(['violation 1009']);
    expect(reader.isClosed).toBe(true);
  });

  test('CVE-2026-48779: count fragments of one byte and of none', () => {
    const first: Frame = { opcode: 1, payload: Buffer.from('x'), isFinal: false };
    expect(read(frames(first, part(1), part(0), part(1, true)), limits)).toEqual(['text xxx']);
    expect(read(frames(first, part(1), part(0), part(1), part(0)), limits)).toEqual([
      'violation 1008',
    ]);
    const empty = Array.from({ length: FRAGMENTS_MAX }, () => part(0));
    expect(read(frames({ ...first, payload: Buffer.alloc(0) }, ...empty))).toEqual([
      'violation 1008',
    ]);
  });

  test('do not count control frames between fragments', () => {
    const first: Frame = { opcode: 1, payload: Buffer.from('x'), isFinal: false };
    const pings = Array.from({ length: 9 }, (): Frame => ({ opcode: 9, payload: Buffer.alloc(0) }));
    expect(read(frames(first, ...pings, part(1, true)), limits)).toEqual([
      ...pings.map(() => 'ping '),
      'text xx',
    ]);
  });
});

test('is idle exactly between messages', () => {
  const bytes = frames(
    { opcode: 1, payload: Buffer.from('a'), isFinal: false },
    { opcode: 9, payload: Buffer.from('b') },
    { opcode: 0, payload: Buffer.from('c') },
  );
  const { reader } = readPieces([]);
  expect(reader.isIdle).toBe(true);
  for (const [i, byte] of bytes.entries()) {
    reader.read(Buffer.of(byte));
    expect([i, reader.isIdle]).toEqual([i, i === bytes.length - 1]);
  }
});

test('never throws, and reports at most one violation', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 }), (pieces) => {
      const { seen } = readPieces(pieces.map((piece) => Buffer.from(piece)));
      expect(seen.filter((what) => what.startsWith('violation')).length).toBeLessThanOrEqual(1);
    }),
  );
});

/** Encodes a frame with the sender of `ws`. */
function senderFrame(payload: Buffer, opcode: number, isFinal: boolean): Buffer[] {
  // The cast is needed: @types/ws lacks it.
  const { Sender } = ws as unknown as { Sender: WsSender };
  return Sender.frame(payload, {
    fin: isFinal,
    rsv1: false,
    opcode,
    mask: true,
    readOnly: true,
  });
}

/** Exported by `ws`, but not by its types. */
interface WsSender {
  frame(
    payload: Buffer,
    options: { fin: boolean; rsv1: boolean; opcode: number; mask: boolean; readOnly: boolean },
  ): Buffer[];
}
