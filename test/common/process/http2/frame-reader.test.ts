import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { FrameReader } from '../../../../common/process/http2/frame-reader.js';
import { FRAME_BYTES_MAX, frameOf, Http2Error } from '../../../../common/process/http2/protocol.js';
import { chunkings } from '../../../support/devices/chunkings.js';

interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Uint8Array;
}

function read(pieces: Iterable<Buffer>): Frame[] {
  const frames: Frame[] = [];
  const reader = new FrameReader((type, flags, streamId, bytes, start, end) =>
    frames.push({ type, flags, streamId, payload: Uint8Array.from(bytes.subarray(start, end)) }),
  );
  for (const piece of pieces) reader.read(piece);
  return frames;
}

const frame: fc.Arbitrary<Frame> = fc.record({
  type: fc.nat(255),
  flags: fc.nat(255),
  streamId: fc.nat(0x7fff_ffff),
  payload: fc.uint8Array({ maxLength: 50 }),
});

test('reads frames however their bytes are cut', () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 5 }), fc.nat(), (frames, seed) => {
      const bytes = frames.map(({ type, flags, streamId, payload }) =>
        frameOf(type, flags, streamId, payload),
      );
      for (const pieces of chunkings(Buffer.concat(bytes), seed)) {
        expect(read(pieces)).toEqual(frames);
      }
    }),
  );
});

test('a frame of the maximum size is read, one above is an error', () => {
  const largest = frameOf(0, 0, 1, Buffer.alloc(FRAME_BYTES_MAX));
  expect(read([largest])[0]!.payload).toHaveLength(FRAME_BYTES_MAX);
  const larger = frameOf(0, 0, 1, Buffer.alloc(FRAME_BYTES_MAX + 1));
  expect(() => read([larger])).toThrow(Http2Error);
  expect(() => read([larger.subarray(0, 9)])).toThrow(Http2Error);
  expect(() => read([larger.subarray(0, 8), larger.subarray(8, 9)])).toThrow(Http2Error);
});

test('the highest bit of the stream is ignored', () => {
  const bytes = frameOf(0, 0, 5);
  bytes[5]! |= 0x80;
  expect(read([bytes])[0]!.streamId).toBe(5);
});
