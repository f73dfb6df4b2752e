import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Metrics } from '../../../../common/process/metrics.js';
import { connectionOf } from '../../../../common/transport/transport.js';
import { type MqttConnect, parseMqttConnect } from '../../../../common/wire/mqtt/connect.js';
import type { MqttVersion } from '../../../../common/wire/mqtt/rejection.js';
import { MqttConnectionTable } from '../../../../edge/protocol/mqtt/connection-table.js';
import { MqttCounters } from '../../../../edge/protocol/mqtt/counters.js';
import { MqttProtocol } from '../../../../edge/protocol/mqtt/mqtt.js';
import type {
  MqttSessionStore,
  MqttSubscription,
} from '../../../../edge/protocol/mqtt/session-store.js';
import type { InFlight } from '../../../../edge/protocol/mqtt/window.js';
import type { EndReason, Host } from '../../../../edge/protocol/protocol.js';
import { connect, field, hex, packet } from '../../../support/devices/mqtt-bytes.js';

const ALICE = connectionOf(1, 1);
/** `push/alice`, asked for with QoS 0 and 1; in MQTT 5 there are no properties before. */
const filter = (version: MqttVersion, qos: number) =>
  Buffer.concat([version === 5 ? hex('00') : hex(''), field('push/alice'), Buffer.from([qos])]);
const subscribe = (version: MqttVersion, qos: number) =>
  packet(0x82, hex('0001'), filter(version, qos));
const unsubscribe = (version: MqttVersion) =>
  packet(0xa2, hex('0002'), version === 5 ? hex('00') : hex(''), field('push/alice'));

/** A connection of alice, and all that is done about it, in words. */
class Bench implements Host, MqttSessionStore {
  readonly done: string[] = [];
  readonly mqtt: MqttProtocol;
  sent = '';
  isOver = false;

  constructor(
    readonly version: MqttVersion,
    parts: Parameters<typeof connect>[0] = {},
    subscriptions: readonly MqttSubscription[] = [],
    inFlight?: InFlight,
  ) {
    const connections = new MqttConnectionTable();
    const config = { headBytesMax: 1_024, headTimeoutMs: 2_000 };
    this.mqtt = new MqttProtocol(
      version,
      config,
      connections,
      this,
      new MqttCounters(new Metrics()),
    );
    this.mqtt.host = this;
    const bytes = connect({ version, ...parts });
    connections.add(ALICE, parseMqttConnect(bytes, 1_024) as MqttConnect, 60, {
      isPresent: inFlight !== undefined,
      subscriptions,
      inFlight,
    });
  }

  bytes(...parts: Buffer[]): string[] {
    this.mqtt.onBytes(ALICE, Buffer.concat(parts));
    return this.done.splice(0);
  }

  /** Encodes a push and lets it be written. */
  push(id: string, payload = 'x'): string | undefined {
    const message = { id, payload: Buffer.from(payload), contentType: '', ttlMs: 0 };
    const bytes = this.mqtt.encodePush(ALICE, message);
    if (bytes !== undefined && id !== '') this.sent = id;
    return bytes?.toString('hex');
  }

  takeDone(): string[] {
    return this.done.splice(0);
  }

  reply(_: number, bytes: Uint8Array): void {
    this.done.push(`reply ${Buffer.from(bytes).toString('hex')}`);
  }
  confirm(_: number, id: string): void {
    this.done.push(`confirm ${id}`);
  }
  subscribe(_: number, startFrom: string): void {
    this.done.push(`subscribe ${startFrom}`);
  }
  unsubscribe(): void {
    this.done.push('unsubscribe');
  }
  resumePushes(): void {
    this.done.push('resumePushes');
  }
  renewToken(): void {
    this.done.push('renewToken');
  }
  end(connection: number, reason: EndReason, last?: Buffer): void {
    const bytes = last ?? this.mqtt.encodeClose(connection, reason);
    this.done.push(`end ${reason} ${bytes?.toString('hex') ?? ''}`.trim());
    this.isOver = true;
    this.mqtt.onClosed(connection, 'alice', reason);
  }
  setTimer(): void {}
  clientIdOf(): string {
    return 'alice';
  }
  lastSentId(): string {
    return this.sent;
  }
  async open() {
    return { isPresent: false, subscriptions: [] };
  }
  store(_: string, subscriptions: readonly MqttSubscription[]): void {
    this.done.push(`store ${subscriptions.map(({ qos }) => qos)}`);
  }
  expire(_: string, afterSeconds: number, inFlight: InFlight | undefined): void {
    const left = inFlight === undefined ? '' : ` ${inFlight.packetId}:${inFlight.ids}`;
    this.done.push(`expire ${afterSeconds}${left}`);
  }
}

const KEPT = { flags: 0x00 };
const SUBSCRIBED: readonly MqttSubscription[] = [{ filterHash: 1, qos: 1 }];

describe('SUBSCRIBE and UNSUBSCRIBE', () => {
  test('a clean session begins with what comes now, and is not stored', () => {
    const bench = new Bench(4);
    // Until it is known what was before, there is no SUBACK: what follows one must arrive.
    expect(bench.bytes(subscribe(4, 1), subscribe(4, 0), hex('c000'))).toEqual([
      'subscribe now',
      'reply d000',
    ]);
    bench.mqtt.onSubscribed(ALICE);
    expect(bench.takeDone()).toEqual(['reply 90030001019003000100']);
    expect(bench.bytes(subscribe(4, 1))).toEqual(['reply 9003000101']);
    expect(bench.bytes(unsubscribe(4))).toEqual(['unsubscribe', 'reply b0020002']);
  });

  test('UNSUBSCRIBE is answered after the SUBSCRIBE before it, however early it comes', () => {
    const bench = new Bench(4);
    expect(bench.bytes(subscribe(4, 1), unsubscribe(4))).toEqual([
      'subscribe now',
      'unsubscribe',
      'reply 9003000101b0020002',
    ]);
    bench.mqtt.onSubscribed(ALICE);
    expect(bench.takeDone()).toEqual([]);
  });

  test('a persistent one begins with what is not confirmed, and is stored', () => {
    const bench = new Bench(4, KEPT);
    expect(bench.bytes(subscribe(4, 0))).toEqual([
      'store 0',
      'subscribe unconfirmed',
      'reply 9003000100',
    ]);
    expect(bench.bytes(subscribe(4, 1))).toEqual(['store 1', 'reply 9003000101']);
    expect(bench.bytes(unsubscribe(4))).toEqual(['store ', 'unsubscribe', 'reply b0020002']);
  });

  test('MQTT 5 is told each reason [MQTT-3.8.4-6], [MQTT-3.11.3-1]', () => {
    const bench = new Bench(5, KEPT);
    const asked = [
      hex('00'),
      ...[field('push/bob'), field('$share/g/push/alice'), field('push/+')].flatMap((each) => [
        each,
        hex('02'),
      ]),
    ];
    expect(bench.bytes(packet(0x82, hex('0007'), ...asked))).toEqual([
      'subscribe unconfirmed',
      'reply 90060007008f9e01',
    ]);
    const given = packet(0xa2, hex('0008'), hex('00'), field('push/+'), field('#'));
    expect(bench.bytes(given)).toEqual(['unsubscribe', 'reply b0050008000011']);
  });

  test('3.1.1 has one code for all that is rejected', () => {
    const bench = new Bench(4);
    const asked = [field('push/bob'), hex('00'), field('$share/g/#'), hex('00')];
    expect(bench.bytes(packet(0x82, hex('0007'), ...asked))).toEqual(['reply 900400078080']);
  });
});

describe('pushes', () => {
  test('of QoS 1 are confirmed by PUBACK, with everything before them', () => {
    const bench = new Bench(4, KEPT, SUBSCRIBED);
    expect(bench.push('1-0')).toBe('320f000a707573682f616c696365000178');
    bench.push('2-0');
    expect(bench.bytes(hex('4002 0002'))).toEqual([]);
    expect(bench.bytes(hex('4002 0001'))).toEqual(['confirm 2-0']);
    // Twice, and of nothing that was ever sent.
    expect(bench.bytes(hex('4002 0001'), hex('4002 0002'), hex('4002 7777'))).toEqual([]);
    // The identifier is another one.
    expect(bench.push('3-0')).toContain('0003');
  });

  test('live-only ones are of QoS 0 and take no place in the window', () => {
    const bench = new Bench(4, KEPT, SUBSCRIBED);
    expect(bench.push('')).toBe('300d000a707573682f616c69636578');
  });

  test('no more are in flight than the client takes [MQTT-3.3.4-9], at most 32', () => {
    const two = new Bench(5, { properties: '210002' }, SUBSCRIBED);
    two.push('1-0');
    two.push('2-0');
    expect(two.push('3-0')).toBeUndefined();
    expect(two.push('')).toBeDefined();
    expect(two.bytes(hex('4002 0001'))).toEqual(['confirm 1-0', 'resumePushes']);
    expect(two.push('3-0')).toBeDefined();
    const many = new Bench(4, KEPT, SUBSCRIBED);
    for (let i = 1; i <= 32; i++) expect(many.push(`${i}-0`)).toBeDefined();
    expect(many.push('33-0')).toBeUndefined();
  });

  test('a PUBACK that says it failed confirms, too [MQTT-4.4.0-2]', () => {
    const bench = new Bench(5, {}, SUBSCRIBED);
    bench.push('1-0');
    expect(bench.bytes(hex('4003 0001 99'))).toEqual(['confirm 1-0']);
  });

  test.each<[MqttVersion, string, string]>([
    [4, '5002 0007', '62020007'],
    [5, '5002 0007', '6203000792'],
    [4, '6202 0007', '70020007'],
    [5, '6203 0007 00', '7003000792'],
  ])('level %i: half an exchange of QoS 2, %s, gets its other half', (version, half, other) => {
    const bench = new Bench(version, {}, SUBSCRIBED);
    bench.push('1-0');
    expect(bench.bytes(hex(half))).toEqual([`reply ${other}`]);
  });

  test('an exchange of QoS 2 that is over gets no answer', () => {
    const bench = new Bench(5, {}, SUBSCRIBED);
    expect(bench.bytes(hex('5003 0007 97'), hex('7002 0007'))).toEqual([]);
  });

  test.each(['5002 0001', '7002 0001'])(
    '%s for a push of QoS 1 confirms nothing and ends the connection [MQTT-4.3.2-4]',
    (wrong) => {
      const bench = new Bench(5, {}, SUBSCRIBED);
      bench.push('1-0');
      expect(bench.bytes(hex(wrong))).toEqual(['end unexpected_bytes e00182']);
    },
  );

  test('of QoS 0 are confirmed when they are written', () => {
    const bench = new Bench(4, KEPT, [{ filterHash: 1, qos: 0 }]);
    const message = { id: '1-0', payload: Buffer.from('x'), contentType: '', ttlMs: 0 };
    expect(bench.mqtt.encodePush(ALICE, message)).toBeDefined();
    bench.mqtt.sweep();
    expect(bench.takeDone()).toEqual([]);
    bench.sent = '1-0';
    bench.mqtt.sweep();
    expect(bench.takeDone()).toEqual(['confirm 1-0']);
  });

  describe('that an earlier connection of the session left unconfirmed', () => {
    const LEFT: InFlight = { packetId: 7, ids: ['1-0', '2-0'] };

    test('are left behind by it', () => {
      const bench = new Bench(5, { flags: 0, properties: '1100000100' }, SUBSCRIBED);
      for (const id of ['1-0', '2-0', '3-0']) bench.push(id);
      expect(bench.bytes(hex('4002 0001'), hex('e000'))).toEqual([
        'confirm 1-0',
        'end peer',
        'expire 256 2:2-0,3-0',
      ]);
    });

    test('come again with DUP and their identifiers [MQTT-4.4.0-1] [MQTT-3.3.1-1]', () => {
      const bench = new Bench(4, KEPT, SUBSCRIBED, LEFT);
      const again = '000a707573682f616c696365';
      expect(bench.push('1-0')).toBe(`3a0f${again}000778`);
      expect(bench.push('2-0')).toBe(`3a0f${again}000878`);
      expect(bench.push('3-0')).toBe(`320f${again}000978`);
      const acks = ['4002 0007', '4002 0008', '4002 0009'].map((text) => hex(text));
      expect(bench.bytes(...acks)).toEqual(['confirm 1-0', 'confirm 2-0', 'confirm 3-0']);
    });

    test('come without DUP when they are now of QoS 0 [MQTT-3.3.1-2]', () => {
      const bench = new Bench(4, KEPT, [{ filterHash: 1, qos: 0 }], LEFT);
      expect(bench.push('1-0')).toBe('300d000a707573682f616c69636578');
      bench.mqtt.sweep();
      expect(bench.takeDone()).toEqual(['confirm 1-0']);
    });
  });

  test('of QoS 0 do not confirm those of QoS 1 before them', () => {
    const bench = new Bench(4, KEPT, []);
    bench.bytes(subscribe(4, 1));
    bench.push('1-0');
    bench.bytes(subscribe(4, 0));
    bench.push('2-0');
    bench.mqtt.sweep();
    expect(bench.takeDone()).toEqual([]);
    expect(bench.bytes(hex('4002 0001'))).toEqual(['confirm 2-0']);
  });

  test('that are larger than the client takes count as delivered [MQTT-3.1.2-25]', () => {
    const bench = new Bench(5, { properties: '27 00000014' }, SUBSCRIBED);
    expect(bench.push('1-0', 'x'.repeat(30))).toBe('');
    bench.mqtt.sweep();
    expect(bench.takeDone()).toEqual(['confirm 1-0']);
    expect(bench.push('2-0')).toContain('707573682f616c696365');
    expect(bench.push('3-0', 'x'.repeat(30))).toBe('');
    bench.mqtt.sweep();
    expect(bench.takeDone()).toEqual([]);
    expect(bench.bytes(hex('4002 0001'))).toEqual(['confirm 3-0']);
  });

  test('that were not written before UNSUBSCRIBE do not hold up later ones', () => {
    const bench = new Bench(4, KEPT);
    bench.bytes(subscribe(4, 1));
    bench.push('1-0');
    const message = { id: '2-0', payload: Buffer.from('x'), contentType: '', ttlMs: 0 };
    bench.mqtt.encodePush(ALICE, message);
    bench.bytes(unsubscribe(4), subscribe(4, 1));
    expect(bench.push('2-0')).toContain('0002');
    expect(bench.bytes(hex('4002 0001'), hex('4002 0002'))).toEqual(['confirm 1-0', 'confirm 2-0']);
  });
});

describe('what ends a connection', () => {
  test('a fault, with its reason in MQTT 5 and without a word in 3.1.1 (§4.13)', () => {
    expect(new Bench(5).bytes(hex('c000'), hex('1000'))).toEqual([
      'end unexpected_bytes d000e00182',
    ]);
    expect(new Bench(4).bytes(hex('1000'))).toEqual(['end unexpected_bytes']);
  });

  test('nothing behind a fault or a DISCONNECT is read', () => {
    expect(new Bench(5).bytes(hex('e000'), hex('c000'))).toEqual(['end peer']);
    expect(new Bench(5).bytes(hex('f100'), hex('c000'))).toEqual(['end unexpected_bytes e00181']);
  });

  test('a packet that is too large, from its header', () => {
    expect(new Bench(5).bytes(hex('82 ffffff7f'))).toEqual(['end unexpected_bytes e00195']);
  });

  test('a PUBLISH of QoS 0; one of QoS 1 is only rejected in MQTT 5 ([MQTT-3.3.5-2] of 3.1.1)', () => {
    expect(new Bench(5).bytes(hex('30 04 0001 74 00'))).toEqual(['end unexpected_bytes e00187']);
    expect(new Bench(5).bytes(hex('32 06 0001 74 0005 00'))).toEqual(['reply 4003000587']);
    expect(new Bench(4).bytes(hex('32 05 0001 74 0005'))).toEqual(['end unexpected_bytes']);
  });

  test('half a packet that stays half', () => {
    const bench = new Bench(5);
    bench.bytes(hex('82'));
    for (let sweeps = 0; sweeps < 2; sweeps++) bench.mqtt.sweep();
    bench.bytes(hex('05'));
    expect(bench.takeDone()).toEqual([]);
    bench.mqtt.sweep();
    expect(bench.takeDone()).toEqual(['end silent e0018d']);
  });

  test('a session stays for as long as it asked [MQTT-3.1.2-23], a clean one is never stored', () => {
    const bench = new Bench(5, { properties: '11 00000e10' });
    expect(bench.bytes(hex('e000'))).toEqual(['end peer', 'expire 3600']);
    const resumed = new Bench(5, { flags: 0 });
    expect(resumed.bytes(hex('e000'))).toEqual(['end peer', 'expire 0']);
    expect(new Bench(5).bytes(hex('e000'))).toEqual(['end peer']);
  });

  test('more filters than the client takes an answer to [MQTT-3.1.2-24]', () => {
    const many = (count: number) => {
      const filters = Array.from({ length: count }, () => hex('0001 23 01'));
      return packet(0x82, hex('0001'), hex('00'), ...filters);
    };
    const of20Bytes = () => new Bench(5, { flags: 0, properties: '27 00000014' });
    expect(of20Bytes().bytes(many(12)).at(-1)).toMatch(/^reply 90/);
    expect(of20Bytes().bytes(many(13))[0]).toBe('end unexpected_bytes e00195');
  });

  test('DISCONNECT may shorten a session, not revive one that was to end (§3.14.2.2.2)', () => {
    const kept = new Bench(5, { flags: 0, properties: '11 00000e10' }, SUBSCRIBED);
    expect(kept.bytes(hex('e0 07 00 05 11 00000000'))).toEqual(['end peer', 'expire 0']);
    const ended = new Bench(5);
    expect(ended.bytes(hex('e0 07 00 05 11 00000001'))).toEqual(['end unexpected_bytes e00182']);
  });

  test('who took a session over has it', () => {
    const bench = new Bench(4, KEPT, SUBSCRIBED);
    bench.end(ALICE, 'session_replaced');
    expect(bench.takeDone()).toEqual(['end session_replaced']);
  });

  test.each([
    ['session_replaced', 'e0018e'],
    ['disconnected', 'e00198'],
    ['silent', 'e0018d'],
    ['flooding', 'e00196'],
    ['peer', undefined],
    ['error', undefined],
  ] as const)('%s is told as it is', (reason, expected) => {
    expect(new Bench(5).mqtt.encodeClose(ALICE, reason)?.toString('hex')).toBe(expected);
    expect(new Bench(4).mqtt.encodeClose(ALICE, reason)).toBeUndefined();
  });

  test('a goaway names the server (§4.11), if that fits [MQTT-3.1.2-24]', () => {
    const url = 'http://edge-2.example:7000/connect?clientId=alice&epoch=1-2';
    const goaway = (bench: Bench, to: string | undefined) =>
      bench.mqtt.encodeGoaway(ALICE, 100, to);
    expect(goaway(new Bench(5), url)?.toString('latin1')).toContain('\0\x13edge-2.example:7000');
    expect(goaway(new Bench(5), 'http://[::1]/connect')?.toString('latin1')).toContain('[::1]:80');
    expect(goaway(new Bench(5), undefined)?.toString('hex')).toBe('e0019c');
    expect(goaway(new Bench(5, { properties: '27 00000014' }), url)?.toString('hex')).toBe(
      'e0019c',
    );
    expect(goaway(new Bench(4), url)).toBeUndefined();
  });
});

/** Whole, byte by byte and at random cuts, the same is done. */
describe.each([4, 5] as const)('cuts at level %i', (version) => {
  const session = Buffer.concat([
    subscribe(version, 1),
    hex('c000'),
    hex('4002 0001'),
    packet(0x82, hex('0009'), filter(version, 0)),
    unsubscribe(version),
    hex('c000'),
    hex('e000'),
  ]);
  /** Replies that were written together are one, whatever the cuts. */
  const run = (chunks: readonly Buffer[]) => {
    const bench = new Bench(version, KEPT);
    bench.push('1-0');
    for (const chunk of chunks) {
      // The transport uses its buffer again.
      const bytes = Buffer.from(chunk);
      if (!bench.isOver) bench.mqtt.onBytes(ALICE, bytes);
      bytes.fill(0xff);
    }
    const done = bench.takeDone();
    const replies = done.filter((each) => each.startsWith('reply')).map((each) => each.slice(6));
    return { others: done.filter((each) => !each.startsWith('reply')), replies: replies.join('') };
  };

  test('byte by byte', () => {
    const bytes = [...session].map((byte) => Buffer.from([byte]));
    const { others, replies } = run(bytes);
    expect(others).toContain('end peer');
    expect(replies).toMatch(/^90.*d000.*90.*b0.*d000$/);
  });

  test('at random', () => {
    const expected = run([...session].map((byte) => Buffer.from([byte])));
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(session.length), { maxLength: 8 }), (cuts) => {
        const ends = [...cuts.sort((a, b) => a - b), session.length];
        const chunks = ends.map((end, i) => session.subarray(i === 0 ? 0 : ends[i - 1], end));
        const { others, replies } = run(chunks);
        expect(others).toEqual(expected.others);
        // With DISCONNECT in the same bytes, what came before it need not be answered any more.
        expect(expected.replies.startsWith(replies)).toBe(true);
      }),
    );
  });
});
