import { describe, expect, test } from '@jest/globals';
import { Metrics } from '../../../../common/process/metrics.js';
import {
  closeFrame,
  EMPTY_PING,
  pongFrame,
  textFrame,
} from '../../../../common/wire/websocket/writer.js';
import { webSocketFailures } from '../../../../edge/protocol/websocket/inbound.js';
import { JsonWebSocketProtocol } from '../../../../edge/protocol/websocket/json.js';
import { RawWebSocketProtocol } from '../../../../edge/protocol/websocket/raw.js';
import { chunkings } from '../../../support/devices/chunkings.js';
import { type Frame, maskedFrame } from '../../../support/devices/masked-frame.js';
import { FakeHost } from '../../../support/fake-host.js';

const CONFIG = {
  heartbeatMs: 15_000,
  inboundFramesPerSecondMax: 30,
};
const PING: Frame = { opcode: 9, payload: Buffer.alloc(0) };

function raw() {
  const metrics = new Metrics();
  const failures = webSocketFailures(metrics);
  const host = new FakeHost((self) => new RawWebSocketProtocol(self, CONFIG, failures, metrics));
  return { protocol: host.protocol, failures, host };
}

function json() {
  const failures = webSocketFailures(new Metrics());
  const host = new FakeHost((self) => new JsonWebSocketProtocol(self, CONFIG, failures, self));
  return { protocol: host.protocol, failures, host };
}

const frames = (...all: Frame[]) => Buffer.concat(all.map(maskedFrame));
const text = (payload: string): Frame => ({ opcode: 1, payload: Buffer.from(payload) });
const message = (id: string, payload: string | Buffer, contentType = '') => ({
  id,
  payload: Buffer.from(payload),
  contentType,
  ttlMs: 0,
});
/** The call that `FakeHost` records. */
const ended = (endReason: string, code: number, closeReason = '') =>
  `1 end ${endReason} ${closeFrame(code, closeReason).toString('hex')}`;

describe('inbound frames', () => {
  test('§5.5.2, §5.5.3 answers a ping with its payload', () => {
    const bytes = frames({ opcode: 9, payload: Buffer.from('abc') });
    for (const pieces of chunkings(bytes)) {
      const { protocol, host } = raw();
      for (const piece of pieces) protocol.onBytes(1, piece);
      expect(host.take()).toEqual(['1 reply 8a03616263']);
    }
  });

  test('§5.5.3 answers many pings in one write, with the newest one last', () => {
    const { protocol, host } = raw();
    const pings = Array.from(
      { length: 20 },
      (_, i): Frame => ({ opcode: 9, payload: Buffer.of(i) }),
    );
    protocol.onBytes(1, frames(...pings));
    const answered = [...Array(15).keys(), 19].map((i) => pongFrame(Buffer.of(i)));
    expect(host.take()).toEqual([`1 reply ${Buffer.concat(answered).toString('hex')}`]);
  });

  test('§5.5.3 writes a pong before the response to a later message', () => {
    const { protocol, host } = json();
    protocol.onBytes(1, frames(PING, text('{"type":"ping"}')));
    const answer = textFrame('{"type":"pong"}').toString('hex');
    expect(host.take()).toEqual(['1 reply 8a00', `1 reply ${answer}`]);
  });

  test('answers a join and a leave when they are done, or with the reason', async () => {
    const { protocol, host } = json();
    const changes = ['{"type":"join","group":"room"}', '{"type":"leave","group":"room"}'];
    for (const each of [...changes, '{"type":"join","group":"not"}']) {
      protocol.onBytes(1, frames(text(each)));
    }
    await new Promise(setImmediate);
    const answers = host.take().flatMap((call) => {
      const [, hex] = /^1 reply (.*)/.exec(call) ?? [];
      return hex === undefined ? [] : [JSON.parse(Buffer.from(hex, 'hex').toString().slice(2))];
    });
    expect(answers).toEqual([
      { type: 'joined', group: 'room' },
      { type: 'left', group: 'room' },
      {
        type: 'group-error',
        group: 'not',
        code: 'PERMISSION_DENIED',
        message: 'not permitted',
      },
    ]);
  });

  test('§5.5.3 ignores an unsolicited pong', () => {
    const { protocol, host } = json();
    protocol.onBytes(1, frames({ opcode: 10, payload: Buffer.from('1-0') }));
    expect(host.take()).toEqual([]);
  });

  test('§5.5.1 echoes a close frame and ignores what follows', async () => {
    const { protocol, host, failures } = raw();
    const close: Frame = { opcode: 8, payload: Buffer.from('0bb8627965', 'hex') };
    protocol.onBytes(1, frames(close, PING, { opcode: 3, payload: Buffer.alloc(0) }));
    expect(host.take()).toEqual([ended('peer', 3000)]);
    expect((await failures.get()).values).toEqual([]);
  });

  test('a close with 1009 says that a push was too large', () => {
    const { protocol, host } = raw();
    protocol.onBytes(1, frames({ opcode: 8, payload: Buffer.from('03f1', 'hex') }));
    expect(host.take()).toEqual([ended('push_too_large', 1009)]);
  });

  test('§5.5.1 answers a ping before the close frame', () => {
    const { protocol, host } = raw();
    protocol.onBytes(1, frames(PING, { opcode: 8, payload: Buffer.alloc(0) }));
    expect(host.take()).toEqual(['1 reply 8a00', ended('peer', 1000)]);
  });

  test('§7.1.7 closes with the code of a violation and counts it', async () => {
    const { protocol, host, failures } = raw();
    protocol.onBytes(1, Buffer.from('810161', 'hex'));
    expect(host.take()).toEqual([
      ended('unexpected_bytes', 1002, 'unmasked frame (RFC 6455 §5.1)'),
    ]);
    const { values } = await failures.get();
    expect(values).toEqual([{ labels: { code: 1002 }, value: 1 }]);
  });

  test('validates and discards messages on longline.raw', () => {
    const { protocol, host } = raw();
    protocol.onBytes(1, frames(text('keep me alive'), { opcode: 2, payload: Buffer.of(255) }));
    expect(host.take()).toEqual([]);
    protocol.onBytes(1, frames({ opcode: 1, payload: Buffer.of(255) }));
    expect(host.take()).toEqual([ended('unexpected_bytes', 1007, 'text is not UTF-8')]);
  });

  test('keeps connections apart when their frames interleave', () => {
    const { protocol, host } = json();
    const acks = [1, 2, 3].map((n) => frames(text(`{"type":"ack","id":"${n}-0"}`)));
    for (let at = 0; at < acks[0]!.length; at++) {
      for (const [i, ack] of acks.entries()) protocol.onBytes(i + 1, ack.subarray(at, at + 1));
    }
    expect(host.take()).toEqual(['1 confirm 1-0', '2 confirm 2-0', '3 confirm 3-0']);
  });

  test('releases the state of a connection that ended within a message', () => {
    const { protocol, host } = raw();
    host.full.add(1);
    // A ping whose pong does not fit the send buffer, and an incomplete message.
    protocol.onBytes(1, Buffer.concat([frames(PING), frames(text('abc')).subarray(0, 5)]));
    expect(host.take()).toEqual(['1 end slow']);
    for (let second = 0; second < 20; second++) protocol.sweep();
    expect(host.take()).toEqual([]);
  });
});

describe('limits', () => {
  test('closes with 1008 above the frame rate', () => {
    const { protocol, host } = raw();
    const pong: Frame = { opcode: 10, payload: Buffer.alloc(0) };
    const second = Array.from({ length: 30 }, () => pong);
    protocol.onBytes(1, frames(...second));
    protocol.sweep();
    protocol.onBytes(1, frames(...second));
    expect(host.take()).toEqual([]);
    protocol.onBytes(1, frames(pong));
    expect(host.take()).toEqual([ended('flooding', 1008, 'inbound rate limit exceeded')]);
  });

  test('closes with 1008 when a message is incomplete after ten seconds', () => {
    const { protocol, host } = raw();
    const bytes = frames(text('0123456789'));
    for (const [i, byte] of bytes.entries()) {
      if (i > 10) break;
      protocol.onBytes(1, Buffer.of(byte));
      protocol.sweep();
    }
    expect(host.take()).toEqual([ended('unexpected_bytes', 1008, 'message incomplete after 10 s')]);
  });

  test('keeps a device whose every read ends within a message', () => {
    const { protocol, host } = raw();
    const bytes = frames(text('a'), text('b'));
    protocol.onBytes(1, bytes.subarray(0, 9));
    for (let second = 0; second < 30; second++) {
      protocol.onBytes(1, Buffer.concat([bytes.subarray(9), bytes.subarray(0, 9)]));
      protocol.sweep();
    }
    expect(host.take()).toEqual([]);
  });

  test('closes with 1013 above 4,096 incomplete messages', () => {
    const { protocol, host } = raw();
    for (let connection = 10; connection < 10 + 4_096; connection++) {
      protocol.onBytes(connection, Buffer.of(0x81));
    }
    expect(host.take()).toEqual([]);
    protocol.onBytes(1, Buffer.of(0x81));
    expect(host.take()).toEqual([ended('unexpected_bytes', 1013, 'too many incomplete messages')]);
    protocol.onBytes(10, Buffer.from('8000000000', 'hex'));
    protocol.onBytes(2, Buffer.of(0x81));
    expect(host.take()).toEqual([]);
  });
});

describe('liveness', () => {
  test('closes with 1008 after three heartbeats of silence', () => {
    const { protocol, host } = raw();
    protocol.restartTimer(1);
    expect(host.timersMs.get(1)).toBe(45_000);
    host.timersMs.clear();
    protocol.onBytes(1, frames({ opcode: 10, payload: Buffer.alloc(0) }));
    expect(host.timersMs.get(1)).toBe(45_000);
    protocol.onTimer(1);
    expect(host.take()).toEqual([ended('silent', 1008, 'no pong for three heartbeats')]);
  });

  test('shares one buffer for all heartbeats', () => {
    expect(raw().protocol.heartbeat).toBe(EMPTY_PING);
    expect(json().protocol.heartbeat).toBe(EMPTY_PING);
  });
});

describe('pushes over longline.raw', () => {
  test.each([
    ['text/plain', '81'],
    ['text/html; charset=utf-8', '81'],
    ['application/json', '81'],
    ['APPLICATION/JSON ; charset="x"', '81'],
    ['application/ld+json', '81'],
    ['application/xml', '81'],
    ['image/svg+xml', '81'],
    ['', '82'],
    ['text/', '82'],
    ['application/octet-stream', '82'],
    ['application/jsonp', '82'],
    ['image/png', '82'],
  ])('of content type %j start with %s', (contentType, first) => {
    const frame = raw().protocol.encodePush(1, message('', '{}', contentType));
    expect(frame.toString('hex')).toBe(`${first}027b7d`);
  });

  test('§8.1 are binary if they are not UTF-8, for any content type', () => {
    const frame = raw().protocol.encodePush(1, message('', Buffer.of(0xc3, 0x28), 'text/plain'));
    expect(frame.toString('hex')).toBe('8202c328');
  });

  test('are confirmed by the pong to a ping with the newest id, sent once a second', () => {
    const { protocol, host } = raw();
    for (const id of ['5-0', '5-1']) {
      protocol.encodePush(1, message(id, 'x'));
      host.sent.set(1, id);
    }
    protocol.encodePush(2, message('', 'live only'));
    expect(host.take()).toEqual([]);
    protocol.sweep();
    expect(host.take()).toEqual([`1 reply 8903${Buffer.from('5-1').toString('hex')}`]);
    protocol.sweep();
    expect(host.take()).toEqual([]);
    for (const payload of ['', 'x', '5-1']) {
      protocol.onBytes(1, frames({ opcode: 10, payload: Buffer.from(payload) }));
    }
    expect(host.take()).toEqual(['1 confirm 5-1']);
  });

  test('cause no ping after the connection has ended', () => {
    const { protocol, host } = raw();
    protocol.encodePush(1, message('5-0', 'x'));
    host.sent.set(1, '5-0');
    host.end(1, 'peer');
    host.take();
    protocol.sweep();
    expect(host.take()).toEqual([]);
  });
});

describe('longline.json', () => {
  test('encodes a push as one text frame', () => {
    const { protocol } = json();
    expect(protocol.encodePush(1, message('5-0', 'a\n\r\0"', 'text/plain'))).toEqual(
      textFrame('{"type":"push","id":"5-0","contentType":"text/plain","data":"a\\n\\r\\u0000\\""}'),
    );
    expect(protocol.encodePush(1, message('', Buffer.of(0xff)))).toEqual(
      textFrame('{"type":"push","base64":"/w=="}'),
    );
  });

  test('confirms acks and answers pings', () => {
    const { protocol, host } = json();
    protocol.onBytes(1, frames(text('{"type":"ack","id":"5-0"}'), text('{"type":"ping"}')));
    const pong = textFrame('{"type":"pong"}').toString('hex');
    expect(host.take()).toEqual(['1 confirm 5-0', `1 reply ${pong}`]);
  });

  test.each([
    ['binary', { opcode: 2, payload: Buffer.from('{"type":"ping"}') }, 1003],
    ['text that is not JSON', text('ping'), 1008],
    ['an unknown type', text('{"type":"push","data":"x"}'), 1008],
    ['an ack with an invalid id', text('{"type":"ack","id":"x"}'), 1008],
    ['an ack over 4 KiB', text(`{"type":"ack","id":"${'1'.repeat(4_200)}"}`), 1009],
    ['a token over 12 KiB', text(`{"type":"token","token":"${'x'.repeat(12_288)}"}`), 1009],
  ])('%s fails the connection; later messages are ignored', (_what, frame, code) => {
    const { protocol, host } = json();
    protocol.onBytes(1, frames(frame, text('{"type":"ack","id":"5-0"}')));
    const [end, ...rest] = host.take();
    expect(rest).toEqual([]);
    const [, , reason, hex] = end!.split(' ');
    const last = Buffer.from(hex!, 'hex');
    expect([reason, last[0], last.readUInt16BE(2)]).toEqual(['unexpected_bytes', 0x88, code]);
    // The reason fits a control frame (RFC 6455 §5.5).
    expect(last.length).toBe(2 + last[1]!);
    expect(last[1]).toBeLessThanOrEqual(125);
  });
});

describe('§7.4 closing', () => {
  test.each([raw, json])('uses the same codes in %p', (make) => {
    const { protocol } = make();
    expect(protocol.encodeClose(1, 'disconnected')).toEqual(closeFrame(1000));
    expect(protocol.encodeClose(1, 'peer')).toBeUndefined();
    expect(protocol.encodeClose(1, 'error')).toBeUndefined();
    const url = 'http://e:1/connect?clientId=a&epoch=0-2';
    const moved = protocol.encodeGoaway(1, 420, url);
    expect(moved.subarray(-closeFrame(4002, url).length)).toEqual(closeFrame(4002, url));
    expect(protocol.encodeGoaway(1, 420, undefined).subarray(-4)).toEqual(closeFrame(1001));
    const tooLong = `http://e:1/connect?clientId=${'a'.repeat(100)}`;
    expect(protocol.encodeGoaway(1, 420, tooLong).subarray(-4)).toEqual(closeFrame(4002));
  });

  test('sends an envelope before the close frame in longline.json', () => {
    const { protocol } = json();
    expect(protocol.encodeGoaway(1, 420, undefined)).toEqual(
      Buffer.concat([textFrame('{"type":"goaway","retryMs":420}'), closeFrame(1001)]),
    );
    expect(protocol.encodeClose(1, 'session_replaced')).toEqual(
      Buffer.concat([textFrame('{"type":"session-replaced"}'), closeFrame(4001)]),
    );
    expect(raw().protocol.encodeClose(1, 'session_replaced')).toEqual(closeFrame(4001));
  });
});
