import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';
import { expect, test } from '@jest/globals';
import { readLines } from '../../../cli/local/lines.js';

test('splits at line feeds only, however the bytes are split', async () => {
  const text = '{"clientId":"a\u2028b\u2029c 🦈"}\n\nlast';
  const stream = new PassThrough();
  const lines: string[] = [];
  readLines(stream, (line) => lines.push(line));
  for (const byte of Buffer.from(text)) stream.write(Buffer.of(byte));
  stream.end();
  await finished(stream);
  expect(lines).toEqual(text.split('\n'));
});
