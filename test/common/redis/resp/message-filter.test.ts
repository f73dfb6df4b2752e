/** Messages among other frames, cut at any byte. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MessageFilter } from '../../../../common/redis/resp/message-filter.js';

interface Seen {
  /** Frames that were passed on. */
  readonly other: string;
  readonly messages: readonly (readonly [channel: string, payload: string])[];
}

function filtered(chunks: readonly Buffer[]): Seen {
  const messages: [string, string][] = [];
  const other: Buffer[] = [];
  const onMessage = (channel: string, payload: Buffer) => {
    messages.push([channel, payload.toString('latin1')]);
  };
  const filter = new MessageFilter(onMessage, (frame) => other.push(frame));
  for (const chunk of chunks) filter.write(chunk);
  return { other: Buffer.concat(other).toString('latin1'), messages };
}

const bulk = (text: string) => `$${Buffer.byteLength(text, 'latin1')}\r\n${text}\r\n`;
const message = (channel: string, payload: string, type = '>') =>
  `${type}3\r\n${bulk('smessage')}${bulk(channel)}${bulk(payload)}`;
const bytesOf = (text: string) => Buffer.from(text, 'latin1');

const OTHERS = [
  '+OK\r\n',
  '-MOVED 12 127.0.0.1:7000\r\n',
  ':-12\r\n',
  '_\r\n',
  ',1.5\r\n',
  '$-1\r\n',
  '*-1\r\n',
  '*0\r\n',
  bulk(''),
  bulk('smessage\r\n$3'),
  `>3\r\n${bulk('ssubscribe')}${bulk('ll:{7}')}:1\r\n`,
  `>3\r\n${bulk('sunsubscribe')}${bulk('ll:{7}')}:0\r\n`,
  `>3\r\n${bulk('message')}${bulk('smessage')}${bulk('x')}`,
  `*2\r\n${bulk('pong')}${bulk('')}`,
  `%2\r\n+server\r\n+redis\r\n+modules\r\n*1\r\n*2\r\n:1\r\n$-1\r\n`,
  `~1\r\n${bulk('a')}`,
];

describe('MessageFilter', () => {
  test('takes the messages and passes on all other frames, however they are cut', () => {
    const frame = fc.oneof(
      fc.record({ other: fc.constantFrom(...OTHERS) }),
      fc.record({
        channel: fc.constantFrom('ll:{7}', '', 'x\r\ny'),
        payload: fc.uint8Array({ maxLength: 40 }).map((raw) => Buffer.from(raw).toString('latin1')),
        type: fc.constantFrom('>', '*'),
      }),
    );
    const cut = fc.nat({ max: 60 });
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 12 }),
        fc.array(cut, { minLength: 1 }),
        (frames, cuts) => {
          const bytes = bytesOf(
            frames
              .map((each) =>
                'other' in each ? each.other : message(each.channel, each.payload, each.type),
              )
              .join(''),
          );
          const chunks: Buffer[] = [];
          for (let at = 0, i = 0; at < bytes.length; i++) {
            const end = at + 1 + cuts[i % cuts.length]!;
            chunks.push(bytes.subarray(at, end));
            at = end;
          }
          expect(filtered(chunks)).toEqual({
            other: frames.map((each) => ('other' in each ? each.other : '')).join(''),
            messages: frames.flatMap((each) =>
              'other' in each ? [] : [[each.channel, each.payload]],
            ),
          });
        },
      ),
    );
  });

  test('joins a payload of a megabyte once', () => {
    const payload = 'p'.repeat(1024 * 1024);
    const bytes = bytesOf(message('ll:{7}', payload));
    const chunks: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += 1_000) chunks.push(bytes.subarray(at, at + 1_000));
    expect(filtered(chunks)).toEqual({ other: '', messages: [['ll:{7}', payload]] });
  });

  test('ends on bytes that are no frames', () => {
    expect(filtered([bytesOf('$12\n*x\n\n>3\r\n$8\r\nsmessage\r\n$5')]).messages).toEqual([]);
  });
});
