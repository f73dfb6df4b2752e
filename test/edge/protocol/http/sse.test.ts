import { describe, expect, test } from '@jest/globals';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import fc from 'fast-check';
import {
  SSE_HEARTBEAT,
  SSE_SESSION_REPLACED,
  sseEvent,
  sseGoaway,
  sseOpening,
} from '../../../../edge/protocol/http/sse.js';

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
    expect(sseEvent('1-0', Buffer.from('{"a":1}')).toString()).toBe('id: 1-0\ndata: {"a":1}\n\n');
    expect(sseEvent('', Buffer.from('x')).toString()).toBe('data: x\n\n');
  });

  test('frames an empty payload as an event with empty data', () => {
    expect(parse(sseEvent('', Buffer.alloc(0)).toString()).events).toMatchObject([{ data: '' }]);
  });

  test('keeps every line after any line break', () => {
    const stream = sseEvent('', Buffer.from('a\nb\rc\r\nd\n')).toString();
    expect(stream).toBe('data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n');
  });

  test('does not let a payload forge fields or events', () => {
    const payload = 'x\r\rid: 9\revent: evil\n\ndata: y';
    const { events } = parse(sseEvent('1-1', Buffer.from(payload)).toString());
    expect(events).toEqual([
      { id: '1-1', event: undefined, data: 'x\n\nid: 9\nevent: evil\n\ndata: y' },
    ]);
  });

  test('delivers any text unchanged except for line breaks', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { maxLength: 5 }), (payloads) => {
        const stream = payloads.map((text) => sseEvent('7-7', Buffer.from(text)).toString());
        const { events } = parse(stream.join(SSE_HEARTBEAT.toString()));
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
        const { events } = parse(sseEvent('', payload).toString());
        expect(events).toEqual([
          { id: undefined, event: 'base64', data: payload.toString('base64') },
        ]);
      }),
    );
  });
});

test('opens with a complete response head and the retry time', () => {
  const opening = sseOpening([['Access-Control-Allow-Origin', '*']]).toString();
  const [head, body] = opening.split('\r\n\r\n');
  expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\nContent-Type: text\/event-stream\r\n/);
  expect(head).toMatch(/\r\nAccess-Control-Allow-Origin: \*$/);
  expect(parse(body!).retriesMs).toEqual([1_000]);
});

test('delays the reconnect of a replaced client', () => {
  const { events, retriesMs } = parse(SSE_SESSION_REPLACED.toString());
  expect(events).toMatchObject([{ event: 'session-replaced' }]);
  expect(retriesMs).toEqual([30_000]);
});

test('encodes a goaway with its delay and optional url', () => {
  const parsed = parse(sseGoaway(250, 'http://e:1/connect?clientId=a%0A&epoch=1-2').toString());
  expect(parsed.retriesMs).toEqual([250]);
  expect(parsed.events).toMatchObject([{ event: 'goaway', id: undefined }]);
  expect(JSON.parse(parsed.events[0]!.data)).toEqual({
    url: 'http://e:1/connect?clientId=a%0A&epoch=1-2',
  });
  expect(parse(sseGoaway(250, undefined).toString()).events).toMatchObject([{ data: '{}' }]);
});
