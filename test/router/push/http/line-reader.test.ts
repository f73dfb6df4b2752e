import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { LineReader } from '../../../../router/push/http/line-reader.js';

const BYTES_MAX = 10;

function read(parts: readonly Buffer[]): (string | undefined)[] {
  const lines: (string | undefined)[] = [];
  const reader = new LineReader(BYTES_MAX, (line) => lines.push(line?.toString('latin1')));
  for (const part of parts) reader.read(part);
  reader.end();
  return lines;
}

test('lines are the same however the body is cut, and one that is too long is told once', () => {
  const line = fc.stringMatching(/^[ \ta-c]{0,14}$/);
  fc.assert(
    fc.property(fc.array(line), fc.boolean(), fc.array(fc.nat()), (lines, hasEnd, at) => {
      const bytes = Buffer.from(`${lines.join('\n')}${hasEnd ? '\n' : ''}`);
      const ends = [...at.map((each) => each % (bytes.length + 1)), bytes.length].sort(
        (a, b) => a - b,
      );
      const parts = ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
      const expected = lines
        .map((each) => (each.length > BYTES_MAX ? undefined : each))
        .filter((each) => each === undefined || each.trim() !== '');
      expect(read(parts)).toEqual(expected);
    }),
  );
});
