import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { BodyBuffer } from '../../../../common/http/http1/body-buffer.js';
import { BodyDecoder } from '../../../../common/http/http1/body-decoder.js';
import type { Rejection } from '../../../../common/process/errors.js';

/** Reads the parts; returns the body and the rest, or why it cannot be read. */
function decode(length: number | undefined, parts: readonly Buffer[]): string[] | Rejection {
  const body = new BodyBuffer();
  const decoder = new BodyDecoder(length, {
    onData: (bytes) => body.append(bytes),
    onEnd: () => {},
    onMalformed: () => {},
  });
  const rest: Buffer[] = [];
  for (const part of parts) {
    const read = decoder.isComplete ? 0 : decoder.read(part);
    if (typeof read !== 'number') return read;
    rest.push(part.subarray(read));
  }
  expect(decoder.isComplete).toBe(true);
  return [body.take().toString('latin1'), Buffer.concat(rest).toString('latin1')];
}

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const ends = [...at.map((each) => each % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  return ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
}

const chunked = (chunks: readonly string[]) =>
  `${chunks.map((chunk) => `${chunk.length.toString(16)};x="y"\r\n${chunk}\r\n`).join('')}0\r\n`;

test('a body is the same however it is cut, and what follows is left', () => {
  const chunks = fc.array(fc.stringMatching(/^[\n\r0-9a-z]+$/), { minLength: 1 });
  fc.assert(
    fc.property(chunks, fc.boolean(), fc.array(fc.nat()), (texts, hasTrailers, at) => {
      const body = texts.join('');
      const trailers = hasTrailers ? 'a: b\r\n\r\n' : '\r\n';
      const wire = Buffer.from(`${chunked(texts)}${trailers}NEXT`);
      expect(decode(undefined, cut(wire, at))).toEqual([body, 'NEXT']);
      expect(decode(body.length, cut(Buffer.from(`${body}NEXT`), at))).toEqual([body, 'NEXT']);
    }),
  );
});

test.each([
  ['no size', '\r\n'],
  ['a size that is no number', 'x\r\n'],
  ['a negative size', '-1\r\n'],
  ['a size over 32 bits', '100000000\r\n'],
  ['a line without CR', '1\na\r\n'],
  ['a CR within a line', '1;\ra\r\n'],
  ['a chunk that is longer than its size', '1\r\nab\r\n'],
  ['an extension without an end', `1;${'a'.repeat(300)}`],
  ['trailers without an end', `0\r\n${'a: b\r\n'.repeat(2_000)}`],
])('%s is malformed', (_, wire) => {
  for (const parts of [
    [Buffer.from(wire)],
    Array.from(Buffer.from(wire), (byte) => Buffer.of(byte)),
  ]) {
    expect(decode(undefined, parts)).toMatchObject({ code: 'REQUEST_MALFORMED' });
  }
});
