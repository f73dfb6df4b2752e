import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { MqttVersion } from '../../../../common/wire/mqtt/rejection.js';
import { field, hex, packet } from '../../../support/devices/mqtt-bytes.js';
import {
  ALICE,
  filter,
  MqttHarness,
  PERSISTENT,
  SUBSCRIBED,
  subscribe,
  unsubscribe,
} from './mqtt-harness.js';

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

  test.each([
    [4, '01018080', 'b0020008'],
    [5, '0101878f', 'b0060008 00 008700'],
  ] as const)('MQTT %i joins and leaves groups by their filters', async (...expected) => {
    const [version, granted, left] = expected;
    const harness = new MqttHarness(version, PERSISTENT);
    const properties = version === 5 ? hex('00') : hex('');
    const filters = ['group/room/7', 'push/+', 'group/not', 'push/bob'];
    const requested = filters.flatMap((each) => [field(each), hex('01')]);
    const subscribed = packet(0x82, hex('0007'), properties, ...requested);
    expect(harness.receive(subscribed).slice(-2)).toEqual(['join room/7', 'join not']);
    await sleep(0);
    expect(harness.takeCalls()).toEqual([expect.stringMatching(`^reply 90.*${granted}$`)]);
    const filtersLeft = ['group/room/7', 'group/not', 'push/+'].map((each) => field(each));
    harness.receive(packet(0xa2, hex('0008'), properties, ...filtersLeft));
    await sleep(0);
    expect(harness.takeCalls()).toEqual([`reply ${left.replaceAll(' ', '')}`]);
  });

  test('MQTT 3.1.1 has one code for all rejected filters', () => {
    const harness = new MqttHarness(4);
    const requested = [field('push/bob'), hex('00'), field('$share/g/#'), hex('00')];
    expect(harness.receive(packet(0x82, hex('0007'), ...requested))).toEqual([
      'reply 900400078080',
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
