import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import * as ws from 'ws';
import {
  binaryFrame,
  CLOSE_REASON_BYTES_MAX,
  closeFrame,
  EMPTY_PING,
  pingFrame,
  pongFrame,
  textFrame,
} from '../../../../common/wire/websocket/writer.js';

/** Parses frames with the receiver of `ws`. */
async function received(bytes: Buffer): Promise<string[]> {
  // The cast is needed: @types/ws lacks it.
  const { Receiver } = ws as unknown as { Receiver: new () => NodeJS.WritableStream };
  const receiver = new Receiver();
  const seen: string[] = [];
  receiver.on('message', (data: Buffer, isBinary: boolean) =>
    seen.push(isBinary ? `binary ${data.toString('hex')}` : `text ${data}`),
  );
  receiver.on('ping', (data: Buffer) => seen.push(`ping ${data}`));
  receiver.on('pong', (data: Buffer) => seen.push(`pong ${data}`));
  receiver.on('conclude', (code: number, reason: Buffer) => seen.push(`close ${code} ${reason}`));
  await new Promise<void>((resolve, reject) => {
    receiver.on('error', reject);
    receiver.write(bytes, () => resolve());
  });
  return seen;
}

test.each([
  ['§5.7 an unmasked text message', textFrame('Hello'), '810548656c6c6f'],
  ['§5.7 a ping', pingFrame('Hello'), '890548656c6c6f'],
  ['§5.7 a pong', pongFrame(Buffer.from('Hello')), '8a0548656c6c6f'],
  ['§5.5.2 an empty ping', EMPTY_PING, '8900'],
  ['§5.5.1 a close frame', closeFrame(1001), '880203e9'],
  ['§5.5.1 a close frame with a reason', closeFrame(4001, 'é'), '88040fa1c3a9'],
])('%s', (_clause, frame, hex) => {
  expect(frame.toString('hex')).toBe(hex);
});

test.each([
  [125, '827d'],
  [126, '827e007e'],
  [256, '827e0100'],
  [65_535, '827effff'],
  [65_536, '827f0000000000010000'],
])('§5.2, §5.7 the header of %i bytes has the shortest form', (length, header) => {
  const frame = binaryFrame(Buffer.alloc(length));
  expect(frame.toString('hex', 0, header.length / 2)).toBe(header);
  expect(frame.length).toBe(header.length / 2 + length);
});

test('encodes frames that the receiver of ws parses', async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: 'grapheme' }), fc.uint8Array(), async (text, bytes) => {
      const payload = Buffer.from(bytes);
      const sent = [
        textFrame(text),
        EMPTY_PING,
        binaryFrame(payload),
        textFrame(Buffer.from(text)),
      ];
      expect(await received(Buffer.concat(sent))).toEqual([
        `text ${text}`,
        'ping ',
        `binary ${payload.toString('hex')}`,
        `text ${text}`,
      ]);
    }),
  );
});

test('encodes the longest close reason within the limit of a control frame', async () => {
  const reason = 'r'.repeat(CLOSE_REASON_BYTES_MAX);
  expect(await received(closeFrame(4002, reason))).toEqual([`close 4002 ${reason}`]);
});
