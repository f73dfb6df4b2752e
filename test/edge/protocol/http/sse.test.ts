import { describe, expect, test } from '@jest/globals';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import fc from 'fast-check';
import { CHUNKED, UNTIL_CLOSE } from '../../../../common/wire/body-framing.js';
import { SseProtocol, sseEvent } from '../../../../edge/protocol/http/sse.js';

const CONNECTION = 1;
const untilClose = new SseProtocol(UNTIL_CLOSE);
const chunked = new SseProtocol(CHUNKED);

/** Parses a stream with an independent client library. */
function parse(stream: string): { events: EventSourceMessage[]; retriesMs: number[] } {
  const events: EventSourceMessage[] = [];
  const retriesMs: number[] = [];
  const parser = createParser({
    onEvent: (event) => events.push(event),
    onRetry: (ms) => retriesMs.push(ms),
  });
  parser.feed(stream);
  return { events, retriesMs };
}

describe('sseEvent', () => {
  test('frames one line exactly', () => {
    expect(sseEvent(UNTIL_CLOSE, '1-0', Buffer.from('{"a":1}')).toString()).toBe(
      'id: 1-0\ndata: {"a":1}\n\n',
    );
    expect(sseEvent(UNTIL_CLOSE, '', Buffer.from('x')).toString()).toBe('data: x\n\n');
  });

  test('frames an empty payload as an event with empty data', () => {
    expect(parse(sseEvent(UNTIL_CLOSE, '', Buffer.alloc(0)).toString()).events).toMatchObject([
      { data: '' },
    ]);
  });

  test('keeps every line after any line break', () => {
    const stream = sseEvent(UNTIL_CLOSE, '', Buffer.from('a\nb\rc\r\nd\n')).toString();
    expect(stream).toBe('data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n');
  });

  test('does not let a payload forge fields or events', () => {
    const payload = 'x\r\rid: 9\revent: evil\n\ndata: y';
    const { events } = parse(sseEvent(UNTIL_CLOSE, '1-1', Buffer.from(payload)).toString());
    expect(events).toEqual([
      { id: '1-1', event: undefined, data: 'x\n\nid: 9\nevent: evil\n\ndata: y' },
    ]);
  });

  test('delivers any text unchanged except for line breaks', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { maxLength: 5 }), (payloads) => {
        const stream = payloads.map((text) =>
          sseEvent(UNTIL_CLOSE, '7-7', Buffer.from(text)).toString(),
        );
        const { events } = parse(stream.join(untilClose.heartbeat.toString()));
        const sent = payloads.map((text) =>
          Buffer.from(text)
            .toString()
            .replace(/\r\n|\r/g, '\n'),
        );
        expect(events.map((event) => event.data)).toEqual(sent);
        expect(events.every((event) => event.id === '7-7')).toBe(true);
      }),
    );
  });

  test('delivers payloads that are not UTF-8 in base64 events', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const payload = Buffer.concat([bytes, Buffer.of(0xff)]);
        const { events } = parse(sseEvent(UNTIL_CLOSE, '', payload).toString());
        expect(events).toEqual([
          { id: undefined, event: 'base64', data: payload.toString('base64') },
        ]);
      }),
    );
  });
});

test('opens with a complete response head and the retry time', () => {
  const cors = [['Access-Control-Allow-Origin', '*']] as const;
  const opening = untilClose.encodeOpening(cors, { ticket: undefined }).toString();
  const [head, body] = opening.split('\r\n\r\n');
  expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\nContent-Type: text\/event-stream\r\n/);
  expect(head).toContain('\r\nCache-Control: no-store, no-transform\r\n');
  expect(head).toContain('\r\nX-Accel-Buffering: no\r\n');
  expect(head).not.toContain('Transfer-Encoding');
  expect(head).toMatch(/\r\nAccess-Control-Allow-Origin: \*$/);
  expect(parse(body!).retriesMs).toEqual([1_000]);
});

test('shares one opening among connections with the same headers', () => {
  for (const protocol of [untilClose, chunked]) {
    const open = () => protocol.encodeOpening([], { ticket: undefined });
    expect(open()).toBe(open());
  }
  expect(chunked.encodeOpening([], { ticket: undefined })).not.toEqual(
    untilClose.encodeOpening([], { ticket: undefined }),
  );
});

test('delays the reconnect of a replaced client', () => {
  const { events, retriesMs } = parse(
    untilClose.encodeClose(CONNECTION, 'session_replaced')!.toString(),
  );
  expect(events).toMatchObject([{ event: 'session-replaced' }]);
  expect(retriesMs).toEqual([30_000]);
});

test('names the position of a reset, so that the next reconnect can', () => {
  const { events } = parse(untilClose.encodeReset(CONNECTION, '7-1').toString());
  expect(events).toEqual([{ event: 'reset', id: '7-1', data: '{}' }]);
});

test('encodes a goaway with its delay and optional url', () => {
  const url = 'http://e:1/connect?clientId=a%0A&epoch=1-2';
  const parsed = parse(untilClose.encodeGoaway(CONNECTION, 250, url)!.toString());
  expect(parsed.retriesMs).toEqual([250]);
  expect(parsed.events).toMatchObject([{ event: 'goaway', id: undefined }]);
  expect(JSON.parse(parsed.events[0]!.data)).toEqual({ url });
  const without = untilClose.encodeGoaway(CONNECTION, 250, undefined)!;
  expect(parse(without.toString()).events).toMatchObject([{ data: '{}' }]);
});

describe('no empty line follows a comment or a retry field alone', () => {
  test('at the start of a stream and in a heartbeat', () => {
    const body = (protocol: SseProtocol) =>
      protocol.encodeOpening([], { ticket: undefined }).toString().split('\r\n\r\n')[1];
    expect(body(untilClose)).toBe('retry: 1000\n');
    expect(untilClose.heartbeat.toString()).toBe(':\n');
  });

  test('so a parser that reports an event for each empty line reports only ours', () => {
    const message = { contentType: '', ttlMs: 1 };
    const stream = [
      Buffer.from('retry: 1000\n'),
      untilClose.heartbeat,
      untilClose.encodePush(CONNECTION, { ...message, id: '1-0', payload: Buffer.from('a') }),
      untilClose.heartbeat,
      untilClose.heartbeat,
      untilClose.encodePush(CONNECTION, { ...message, id: '1-1', payload: Buffer.alloc(0) }),
      untilClose.heartbeat,
      untilClose.encodeReset(CONNECTION, '1-2'),
      untilClose.heartbeat,
      untilClose.encodeTokenExpiring(CONNECTION, 9),
      untilClose.encodeClose(CONNECTION, 'expired')!,
    ].join('');
    const blocks = stream.split('\n\n').slice(0, -1);
    expect(blocks.map((block) => /^data: (.*)$/m.exec(block)?.[1])).toEqual([
      'a',
      '',
      '{}',
      '{"inMs":9}',
      '{}',
    ]);
  });
});

describe('in chunks', () => {
  /** Decodes one chunk, and the last chunk after it if there is one. */
  function decode(bytes: Buffer): { data: string; isLast: boolean } {
    const [, size, rest] = /^([0-9a-f]+)\r\n(.*)$/s.exec(bytes.toString('latin1'))!;
    const byteLength = Number.parseInt(size!, 16);
    const after = rest!.slice(byteLength);
    expect(['\r\n', '\r\n0\r\n\r\n']).toContain(after);
    const data = Buffer.from(rest!.slice(0, byteLength), 'latin1').toString();
    return { data, isLast: after.length > 2 };
  }

  test('every write is one chunk with the same bytes as without chunks', () => {
    const payloads = ['x', '', 'é𝄞', 'a\nb', 'y'.repeat(70_000)].map((text) => Buffer.from(text));
    for (const payload of [...payloads, Buffer.of(0xff, 0x00)]) {
      for (const id of ['', '1795386373482-0']) {
        const message = { id, payload, contentType: '', ttlMs: 1 };
        expect(decode(chunked.encodePush(CONNECTION, message))).toEqual({
          data: untilClose.encodePush(CONNECTION, message).toString(),
          isLast: false,
        });
      }
    }
    expect(decode(chunked.heartbeat)).toEqual({ data: ':\n', isLast: false });
  });

  test('the last chunk follows the last event of a stream that the edge ends', () => {
    for (const last of [
      chunked.encodeGoaway(CONNECTION, 5, undefined)!,
      chunked.encodeClose(CONNECTION, 'session_replaced')!,
      chunked.encodeClose(CONNECTION, 'expired')!,
    ]) {
      expect(decode(last).isLast).toBe(true);
    }
    expect(chunked.encodeClose(CONNECTION, 'disconnected')!.toString()).toBe('0\r\n\r\n');
    for (const reason of ['peer', 'error', 'slow'] as const) {
      expect(chunked.encodeClose(CONNECTION, reason)).toBeUndefined();
    }
    expect(untilClose.encodeClose(CONNECTION, 'disconnected')).toBeUndefined();
  });
});
