import { afterEach, describe, expect, jest, test } from '@jest/globals';
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
import type { PushInFlight } from '../../../../edge/protocol/mqtt/window.js';
import type { EndReason, Host } from '../../../../edge/protocol/protocol.js';
import { connect, field, hex, packet } from '../../../support/devices/mqtt-bytes.js';

const ALICE = connectionOf(1, 1);
/** Filter `push/alice` with this QoS, after empty properties in MQTT 5. */
const filter = (version: MqttVersion, qos: number) =>
  Buffer.concat([version === 5 ? hex('00') : hex(''), field('push/alice'), Buffer.from([qos])]);
const subscribe = (version: MqttVersion, qos: number) =>
  packet(0x82, hex('0001'), filter(version, qos));
const unsubscribe = (version: MqttVersion) =>
  packet(0xa2, hex('0002'), version === 5 ? hex('00') : hex(''), field('push/alice'));

/** One connection with a fake host and session store that record calls as text. */
class MqttHarness implements Host, MqttSessionStore {
  readonly calls: string[] = [];
  readonly mqtt: MqttProtocol;
  sent = '';
  hasEnded = false;

  constructor(
    readonly version: MqttVersion,
    parts: Parameters<typeof connect>[0] = {},
    subscriptions: readonly MqttSubscription[] = [],
    inFlight: readonly PushInFlight[] = [],
    publishes: 'reject' | 'ignore' = 'reject',
  ) {
    const connections = new MqttConnectionTable();
    const config = {
      headBytesMax: 1_024,
      headTimeoutMs: 2_000,
      mqttAckTimeoutMs: 10_000,
      mqttPublishes: publishes,
    };
    this.mqtt = new MqttProtocol({
      version,
      host: this,
      config,
      connections,
      sessions: this,
      counters: new MqttCounters(new Metrics()),
    });
    const bytes = connect({ version, ...parts });
    this.mqtt.register(ALICE, parseMqttConnect(bytes, 1_024) as MqttConnect, 60, {
      isPresent: inFlight.length > 0,
      subscriptions,
      inFlight,
    });
  }

  receive(...parts: Buffer[]): string[] {
    this.mqtt.onBytes(ALICE, Buffer.concat(parts));
    return this.calls.splice(0);
  }

  /** Encodes a push and marks it as written. */
  push(id: string, payload = 'x'): string | undefined {
    const ttlMs = id === '' ? 0 : 60_000;
    const message = { id, payload: Buffer.from(payload), contentType: '', ttlMs };
    const bytes = this.mqtt.encodePush(ALICE, message);
    if (bytes !== undefined && id !== '') this.sent = id;
    return bytes?.toString('hex');
  }

  takeCalls(): string[] {
    return this.calls.splice(0);
  }

  reply(_: number, bytes: Uint8Array): void {
    this.calls.push(`reply ${Buffer.from(bytes).toString('hex')}`);
  }
  confirm(_: number, id: string): void {
    this.calls.push(`confirm ${id}`);
  }
  confirmSingle(_: number, id: string): void {
    this.calls.push(`confirmSingle ${id}`);
  }
  subscribe(_: number, startFrom: string): void {
    this.calls.push(`subscribe ${startFrom}`);
  }
  unsubscribe(): void {
    this.calls.push('unsubscribe');
  }
  resumePushes(): void {
    this.calls.push('resumePushes');
  }
  renewToken(): void {
    this.calls.push('renewToken');
  }
  end(connection: number, reason: EndReason, last?: Buffer): void {
    const bytes = last ?? this.mqtt.encodeClose(connection, reason);
    this.calls.push(`end ${reason} ${bytes?.toString('hex') ?? ''}`.trim());
    this.hasEnded = true;
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
    return { isPresent: false, subscriptions: [], inFlight: [] };
  }
  store(_: string, subscriptions: readonly MqttSubscription[]): void {
    this.calls.push(`store ${subscriptions.map(({ qos }) => qos)}`);
  }
  expire(_: string, afterSeconds: number, inFlight: readonly PushInFlight[]): void {
    const left = inFlight.map(({ packetId, id }) => ` ${packetId}:${id}`);
    this.calls.push(`expire ${afterSeconds}${left.join('')}`);
  }
}

const PERSISTENT = { flags: 0x00 };
const SUBSCRIBED: readonly MqttSubscription[] = [{ filterHash: 1, qos: 1 }];

describe('SUBSCRIBE and UNSUBSCRIBE', () => {
  test('a clean session starts with the next push and is not stored', () => {
    const harness = new MqttHarness(4);
    // No SUBACK before delivery has started: every later push must arrive.
    expect(harness.receive(subscribe(4, 1), subscribe(4, 0), hex('c000'))).toEqual([
      'subscribe now',
      'reply d000',
    ]);
    harness.mqtt.onSubscribed(ALICE);
    expect(harness.takeCalls()).toEqual(['reply 90030001019003000100']);
    expect(harness.receive(subscribe(4, 1))).toEqual(['reply 9003000101']);
    expect(harness.receive(unsubscribe(4))).toEqual(['unsubscribe', 'reply b0020002']);
  });

  test('sends UNSUBACK after a SUBACK that was held back', () => {
    const harness = new MqttHarness(4);
    expect(harness.receive(subscribe(4, 1), unsubscribe(4))).toEqual([
      'subscribe now',
      'unsubscribe',
      'reply 9003000101b0020002',
    ]);
    harness.mqtt.onSubscribed(ALICE);
    expect(harness.takeCalls()).toEqual([]);
  });

  test('a persistent session starts with unconfirmed pushes and is stored', () => {
    const harness = new MqttHarness(4, PERSISTENT);
    expect(harness.receive(subscribe(4, 0))).toEqual([
      'store 0',
      'subscribe unconfirmed',
      'reply 9003000100',
    ]);
    expect(harness.receive(subscribe(4, 1))).toEqual(['store 1', 'reply 9003000101']);
    expect(harness.receive(unsubscribe(4))).toEqual(['store ', 'unsubscribe', 'reply b0020002']);
  });

  test('MQTT 5 has a reason code per filter [MQTT-3.8.4-6], [MQTT-3.11.3-1]', () => {
    const harness = new MqttHarness(5, PERSISTENT);
    const requested = [
      hex('00'),
      ...[field('push/bob'), field('$share/g/push/alice'), field('push/+')].flatMap((each) => [
        each,
        hex('02'),
      ]),
    ];
    expect(harness.receive(packet(0x82, hex('0007'), ...requested))).toEqual([
      'subscribe unconfirmed',
      'reply 90060007008f9e01',
    ]);
    const unsubscribed = packet(0xa2, hex('0008'), hex('00'), field('push/+'), field('#'));
    expect(harness.receive(unsubscribed)).toEqual(['unsubscribe', 'reply b0050008000011']);
  });

  test('MQTT 3.1.1 has one code for all rejected filters', () => {
    const harness = new MqttHarness(4);
    const requested = [field('push/bob'), hex('00'), field('$share/g/#'), hex('00')];
    expect(harness.receive(packet(0x82, hex('0007'), ...requested))).toEqual([
      'reply 900400078080',
    ]);
  });
});

describe('pushes', () => {
  test('of QoS 1 are confirmed by PUBACK, alone if an earlier one is not acknowledged', () => {
    const harness = new MqttHarness(4, PERSISTENT, SUBSCRIBED);
    expect(harness.push('1-0')).toBe('320f000a707573682f616c696365000178');
    harness.push('2-0');
    expect(harness.receive(hex('4002 0002'))).toEqual(['confirmSingle 2-0']);
    expect(harness.receive(hex('4002 0001'))).toEqual(['confirm 1-0']);
    // Duplicate PUBACKs, and one that was never sent.
    expect(harness.receive(hex('4002 0001'), hex('4002 0002'), hex('4002 7777'))).toEqual([]);
    // A new packet identifier.
    expect(harness.push('3-0')).toContain('0003');
  });

  test('that are live-only have QoS 0 and are not in the window', () => {
    const harness = new MqttHarness(4, PERSISTENT, SUBSCRIBED);
    expect(harness.push('')).toBe('300d000a707573682f616c69636578');
  });

  test('in flight are limited by Receive Maximum [MQTT-3.3.4-9] and to 32', () => {
    const two = new MqttHarness(5, { properties: '210002' }, SUBSCRIBED);
    two.push('1-0');
    two.push('2-0');
    expect(two.push('3-0')).toBeUndefined();
    expect(two.push('')).toBeDefined();
    expect(two.receive(hex('4002 0001'))).toEqual(['confirm 1-0', 'resumePushes']);
    expect(two.push('3-0')).toBeDefined();
    const many = new MqttHarness(4, PERSISTENT, SUBSCRIBED);
    for (let i = 1; i <= 32; i++) expect(many.push(`${i}-0`)).toBeDefined();
    expect(many.push('33-0')).toBeUndefined();
  });

  describe('that stay unacknowledged', () => {
    afterEach(() => {
      jest.useRealTimers();
    });
    const fill = (harness: MqttHarness, first: number, last: number) => {
      for (let i = first; i <= last; i++) expect(harness.push(`${i}-0`)).toBeDefined();
      expect(harness.push(`${last + 1}-0`)).toBeUndefined();
    };

    test('stop the others only for a while, and are in flight for the next connection', () => {
      jest.useFakeTimers({ now: 1_000 });
      const harness = new MqttHarness(4, PERSISTENT, SUBSCRIBED);
      fill(harness, 1, 32);
      jest.setSystemTime(11_001);
      harness.mqtt.sweep();
      expect(harness.takeCalls()).toEqual(['resumePushes']);
      fill(harness, 33, 64);
      // A late acknowledgement.
      expect(harness.receive(hex('4002 0003'))).toEqual(['confirmSingle 3-0']);
      harness.end(ALICE, 'peer');
      expect(harness.takeCalls()[1]).toMatch(/^expire \d+ 1:1-0 2:2-0 4:4-0 /);
    });

    test('are bounded in number', () => {
      jest.useFakeTimers({ now: 1_000 });
      const harness = new MqttHarness(4, PERSISTENT, SUBSCRIBED);
      for (let first = 1; first <= 97; first += 32) {
        fill(harness, first, first + 31);
        jest.advanceTimersByTime(10_001);
        harness.mqtt.sweep();
      }
      expect(harness.takeCalls()).toEqual(['resumePushes', 'resumePushes', 'resumePushes']);
      expect(harness.push('129-0')).toBeUndefined();
    });

    test('leave the window when they expire', () => {
      jest.useFakeTimers({ now: 1_000 });
      const harness = new MqttHarness(4, PERSISTENT, SUBSCRIBED);
      fill(harness, 1, 32);
      jest.setSystemTime(61_000);
      harness.mqtt.sweep();
      expect(harness.takeCalls()).toEqual(['resumePushes']);
      harness.end(ALICE, 'peer');
      expect(harness.takeCalls()[1]).toMatch(/^expire \d+$/);
    });

    test('count for Receive Maximum, so that no more are sent than it allows (§4.9)', () => {
      jest.useFakeTimers({ now: 1_000 });
      const harness = new MqttHarness(5, { properties: '210021' }, SUBSCRIBED);
      fill(harness, 1, 32);
      jest.setSystemTime(11_001);
      harness.mqtt.sweep();
      fill(harness, 33, 33);
      jest.setSystemTime(90_000);
      harness.mqtt.sweep();
      expect(harness.push('34-0')).toBeUndefined();
      harness.receive(hex('4002 0001'));
      fill(harness, 34, 34);
    });
  });

  test('are confirmed by a PUBACK with an error, too [MQTT-4.4.0-2]', () => {
    const harness = new MqttHarness(5, {}, SUBSCRIBED);
    harness.push('1-0');
    expect(harness.receive(hex('4003 0001 99'))).toEqual(['confirm 1-0']);
  });

  test.each<[MqttVersion, string, string]>([
    [4, '5002 0007', '62020007'],
    [5, '5002 0007', '6203000792'],
    [4, '6202 0007', '70020007'],
    [5, '6203 0007 00', '7003000792'],
  ])('level %i: the QoS 2 packet %s gets its response', (version, received, response) => {
    const harness = new MqttHarness(version, {}, SUBSCRIBED);
    harness.push('1-0');
    expect(harness.receive(hex(received))).toEqual([`reply ${response}`]);
  });

  test('the end of a QoS 2 exchange gets no response', () => {
    const harness = new MqttHarness(5, {}, SUBSCRIBED);
    expect(harness.receive(hex('5003 0007 97'), hex('7002 0007'))).toEqual([]);
  });

  test.each(['5002 0001', '7002 0001'])(
    '%s for a QoS 1 push fails the connection [MQTT-4.3.2-4]',
    (wrong) => {
      const harness = new MqttHarness(5, {}, SUBSCRIBED);
      harness.push('1-0');
      expect(harness.receive(hex(wrong))).toEqual(['end unexpected_bytes e00182']);
    },
  );

  test('of QoS 0 are confirmed when they are written', () => {
    const harness = new MqttHarness(4, PERSISTENT, [{ filterHash: 1, qos: 0 }]);
    const message = { id: '1-0', payload: Buffer.from('x'), contentType: '', ttlMs: 0 };
    expect(harness.mqtt.encodePush(ALICE, message)).toBeDefined();
    harness.mqtt.sweep();
    expect(harness.takeCalls()).toEqual([]);
    harness.sent = '1-0';
    harness.mqtt.sweep();
    expect(harness.takeCalls()).toEqual(['confirm 1-0']);
  });

  describe('in flight from an earlier connection', () => {
    const IN_FLIGHT = [
      { packetId: 7, id: '1-0' },
      { packetId: 8, id: '2-0' },
    ];

    test('are stored when the connection ends', () => {
      const harness = new MqttHarness(5, { flags: 0, properties: '1100000100' }, SUBSCRIBED);
      for (const id of ['1-0', '2-0', '3-0']) harness.push(id);
      expect(harness.receive(hex('4002 0001'), hex('e000'))).toEqual([
        'confirm 1-0',
        'end peer',
        'expire 256 2:2-0 3:3-0',
      ]);
    });

    test('are resent with DUP and their packet identifiers [MQTT-4.4.0-1] [MQTT-3.3.1-1]', () => {
      const harness = new MqttHarness(4, PERSISTENT, SUBSCRIBED, IN_FLIGHT);
      const topic = '000a707573682f616c696365';
      expect(harness.push('1-0')).toBe(`3a0f${topic}000778`);
      expect(harness.push('2-0')).toBe(`3a0f${topic}000878`);
      expect(harness.push('3-0')).toBe(`320f${topic}000978`);
      const acks = ['4002 0007', '4002 0008', '4002 0009'].map((text) => hex(text));
      expect(harness.receive(...acks)).toEqual(['confirm 1-0', 'confirm 2-0', 'confirm 3-0']);
    });

    test('are resent without DUP if the QoS is now 0 [MQTT-3.3.1-2]', () => {
      const harness = new MqttHarness(4, PERSISTENT, [{ filterHash: 1, qos: 0 }], IN_FLIGHT);
      expect(harness.push('1-0')).toBe('300d000a707573682f616c69636578');
      harness.mqtt.sweep();
      expect(harness.takeCalls()).toEqual(['confirm 1-0']);
    });
  });

  test('of QoS 0 do not confirm QoS 1 pushes before them', () => {
    const harness = new MqttHarness(4, PERSISTENT, []);
    harness.receive(subscribe(4, 1));
    harness.push('1-0');
    harness.receive(subscribe(4, 0));
    harness.push('2-0');
    harness.mqtt.sweep();
    expect(harness.takeCalls()).toEqual(['confirmSingle 2-0']);
    expect(harness.receive(hex('4002 0001'))).toEqual(['confirm 1-0']);
  });

  test('above Maximum Packet Size count as delivered [MQTT-3.1.2-25]', () => {
    const harness = new MqttHarness(5, { properties: '27 0000001e' }, SUBSCRIBED);
    expect(harness.push('1-0', 'x'.repeat(30))).toBe('');
    harness.mqtt.sweep();
    expect(harness.takeCalls()).toEqual(['confirm 1-0']);
    expect(harness.push('2-0')).toContain('707573682f616c696365');
    expect(harness.push('3-0', 'x'.repeat(30))).toBe('');
    harness.mqtt.sweep();
    expect(harness.takeCalls()).toEqual(['confirmSingle 3-0']);
    expect(harness.receive(hex('4002 0002'))).toEqual(['confirm 2-0']);
  });

  test('unwritten at UNSUBSCRIBE do not block later ones', () => {
    const harness = new MqttHarness(4, PERSISTENT);
    harness.receive(subscribe(4, 1));
    harness.push('1-0');
    const message = { id: '2-0', payload: Buffer.from('x'), contentType: '', ttlMs: 0 };
    harness.mqtt.encodePush(ALICE, message);
    harness.receive(unsubscribe(4), subscribe(4, 1));
    expect(harness.push('2-0')).toContain('0003');
    expect(harness.receive(hex('4002 0001'), hex('4002 0003'))).toEqual([
      'confirm 1-0',
      'confirm 2-0',
    ]);
  });
});

describe('the end of a connection', () => {
  test('follows a fault, with its reason code in MQTT 5 only (§4.13)', () => {
    expect(new MqttHarness(5).receive(hex('c000'), hex('1000'))).toEqual([
      'end unexpected_bytes d000e00182',
    ]);
    expect(new MqttHarness(4).receive(hex('1000'))).toEqual(['end unexpected_bytes']);
  });

  test('ignores bytes after a fault or a DISCONNECT', () => {
    expect(new MqttHarness(5).receive(hex('e000'), hex('c000'))).toEqual(['end peer']);
    expect(new MqttHarness(5).receive(hex('f100'), hex('c000'))).toEqual([
      'end unexpected_bytes e00181',
    ]);
  });

  test('follows the header of a packet that is too large', () => {
    expect(new MqttHarness(5).receive(hex('82 ffffff7f'))).toEqual(['end unexpected_bytes e00195']);
  });

  test('follows a PUBLISH, except of QoS 1 in MQTT 5 ([MQTT-3.3.5-2] of 3.1.1)', () => {
    expect(new MqttHarness(5).receive(hex('30 04 0001 74 00'))).toEqual([
      'end unexpected_bytes e00187',
    ]);
    expect(new MqttHarness(5).receive(hex('32 06 0001 74 0005 00'))).toEqual(['reply 4003000587']);
    expect(new MqttHarness(4).receive(hex('32 05 0001 74 0005'))).toEqual(['end unexpected_bytes']);
  });

  test.each<[MqttVersion, string, string]>([
    [4, '30 03 0001 74', ''],
    [4, '32 05 0001 74 0005', '40020005'],
    [4, '33 05 0001 74 0005', '40020005'],
    [4, '34 05 0001 74 0005', '50020005'],
    [5, '30 04 0001 74 00', ''],
    [5, '31 04 0001 74 00', ''],
    [5, '32 06 0001 74 0005 00', '4003000587'],
    [5, '33 06 0001 74 0005 00', '4003000587'],
    [5, '34 06 0001 74 0005 00', '5003000587'],
  ])('does not follow a PUBLISH that is ignored: level %i, %s', (version, publish, reply) => {
    const harness = new MqttHarness(version, {}, [], [], 'ignore');
    expect(harness.receive(hex(publish))).toEqual(reply === '' ? [] : [`reply ${reply}`]);
    // The rest of an exchange of QoS 2 [MQTT-4.3.3-11].
    if (version === 4) expect(harness.receive(hex('6202 0005'))).toEqual(['reply 70020005']);
  });

  test('follows an invalid PUBLISH, also if they are ignored', () => {
    for (const publish of ['36 06 0001 74 0005 00', '30 04 0001 23 00', '30 03 0000 00']) {
      const [first] = new MqttHarness(5, {}, [], [], 'ignore').receive(hex(publish));
      expect(first).toMatch(/^end unexpected_bytes/);
    }
  });

  test('follows the timeout of an incomplete packet', () => {
    const harness = new MqttHarness(5);
    harness.receive(hex('82'));
    for (let sweeps = 0; sweeps < 2; sweeps++) harness.mqtt.sweep();
    harness.receive(hex('05'));
    expect(harness.takeCalls()).toEqual([]);
    harness.mqtt.sweep();
    expect(harness.takeCalls()).toEqual(['end silent e0018d']);
  });

  test('starts the session expiry [MQTT-3.1.2-23], except for a clean session', () => {
    const harness = new MqttHarness(5, { properties: '11 00000e10' });
    expect(harness.receive(hex('e000'))).toEqual(['end peer', 'expire 3600']);
    const resumed = new MqttHarness(5, { flags: 0 });
    expect(resumed.receive(hex('e000'))).toEqual(['end peer', 'expire 0']);
    expect(new MqttHarness(5).receive(hex('e000'))).toEqual(['end peer']);
  });

  test('follows a SUBSCRIBE whose SUBACK exceeds Maximum Packet Size [MQTT-3.1.2-24]', () => {
    const many = (count: number) => {
      const filters = Array.from({ length: count }, () => hex('0001 23 01'));
      return packet(0x82, hex('0001'), hex('00'), ...filters);
    };
    const limitedTo20 = () => new MqttHarness(5, { flags: 0, properties: '27 00000014' });
    expect(limitedTo20().receive(many(12)).at(-1)).toMatch(/^reply 90/);
    expect(limitedTo20().receive(many(13))[0]).toBe('end unexpected_bytes e00195');
  });

  test('DISCONNECT can set the session expiry, except from zero (§3.14.2.2.2)', () => {
    const persistent = new MqttHarness(5, { flags: 0, properties: '11 00000e10' }, SUBSCRIBED);
    expect(persistent.receive(hex('e0 07 00 05 11 00000000'))).toEqual(['end peer', 'expire 0']);
    const clean = new MqttHarness(5);
    expect(clean.receive(hex('e0 07 00 05 11 00000001'))).toEqual(['end unexpected_bytes e00182']);
  });

  test('does not expire a session that a newer connection has', () => {
    const harness = new MqttHarness(4, PERSISTENT, SUBSCRIBED);
    harness.end(ALICE, 'session_replaced');
    expect(harness.takeCalls()).toEqual(['end session_replaced']);
  });

  test.each([
    ['session_replaced', 'e0018e'],
    ['disconnected', 'e00198'],
    ['silent', 'e0018d'],
    ['flooding', 'e00196'],
    ['peer', undefined],
    ['error', undefined],
  ] as const)('%s has its reason code in MQTT 5', (reason, expected) => {
    expect(new MqttHarness(5).mqtt.encodeClose(ALICE, reason)?.toString('hex')).toBe(expected);
    expect(new MqttHarness(4).mqtt.encodeClose(ALICE, reason)).toBeUndefined();
  });

  test('a goaway has a Server Reference (§4.11) if it fits [MQTT-3.1.2-24]', () => {
    const url = 'http://edge-2.example:7000/connect?clientId=alice&epoch=1-2';
    const goaway = (harness: MqttHarness, to: string | undefined) =>
      harness.mqtt.encodeGoaway(ALICE, 100, to);
    expect(goaway(new MqttHarness(5), url)?.toString('latin1')).toContain(
      '\0\x13edge-2.example:7000',
    );
    expect(goaway(new MqttHarness(5), 'http://[::1]/connect')?.toString('latin1')).toContain(
      '[::1]:80',
    );
    expect(goaway(new MqttHarness(5), undefined)?.toString('hex')).toBe('e0019c');
    expect(goaway(new MqttHarness(5, { properties: '27 00000014' }), url)?.toString('hex')).toBe(
      'e0019c',
    );
    expect(goaway(new MqttHarness(4), url)).toBeUndefined();
  });
});

/** The result does not depend on how the bytes are split into reads. */
describe.each([4, 5] as const)('split reads at level %i', (version) => {
  const session = Buffer.concat([
    subscribe(version, 1),
    hex('c000'),
    hex('4002 0001'),
    packet(0x82, hex('0009'), filter(version, 0)),
    unsubscribe(version),
    hex('c000'),
    hex('e000'),
  ]);
  /** Joins all replies: how they are grouped into writes depends on the split. */
  const run = (chunks: readonly Buffer[]) => {
    const harness = new MqttHarness(version, PERSISTENT);
    harness.push('1-0');
    for (const chunk of chunks) {
      // The transport reuses its buffer.
      const bytes = Buffer.from(chunk);
      if (!harness.hasEnded) harness.mqtt.onBytes(ALICE, bytes);
      bytes.fill(0xff);
    }
    const calls = harness.takeCalls();
    const replies = calls.filter((each) => each.startsWith('reply')).map((each) => each.slice(6));
    return { others: calls.filter((each) => !each.startsWith('reply')), replies: replies.join('') };
  };

  test('byte by byte', () => {
    const bytes = [...session].map((byte) => Buffer.from([byte]));
    const { others, replies } = run(bytes);
    expect(others).toContain('end peer');
    expect(replies).toMatch(/^90.*d000.*90.*b0.*d000$/);
  });

  test('at random positions', () => {
    const expected = run([...session].map((byte) => Buffer.from([byte])));
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(session.length), { maxLength: 8 }), (cuts) => {
        const ends = [...cuts.sort((a, b) => a - b), session.length];
        const chunks = ends.map((end, i) => session.subarray(i === 0 ? 0 : ends[i - 1], end));
        const { others, replies } = run(chunks);
        expect(others).toEqual(expected.others);
        // Replies to packets in the same read as DISCONNECT are not written.
        expect(expected.replies.startsWith(replies)).toBe(true);
      }),
    );
  });
});
