import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { MqttVersion } from '../../../../common/wire/mqtt/rejection.js';
import { hex } from '../../../support/devices/mqtt-bytes.js';
import {
  ALICE,
  MqttHarness,
  PERSISTENT,
  SUBSCRIBED,
  subscribe,
  unsubscribe,
} from './mqtt-harness.js';

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
      jest.advanceTimersByTime(10_001);
      harness.mqtt.sweep();
      expect(harness.takeCalls()).toEqual(['resumePushes']);
      fill(harness, 33, 64);
      // A late acknowledgement.
      expect(harness.receive(hex('4002 0003'))).toEqual(['confirmSingle 3-0']);
      harness.end(ALICE, 'peer');
      expect(harness.takeCalls()[1]).toMatch(/^expire \d+ 1:1-0 2:2-0 4:4-0 /);
    });

    test.each([3_600_000, -3_600_000])('keep their time when the clock is set by %d ms', (ms) => {
      jest.useFakeTimers({ now: 7_200_000 });
      const harness = new MqttHarness(4, PERSISTENT, SUBSCRIBED);
      fill(harness, 1, 32);
      jest.setSystemTime(7_200_000 + ms);
      harness.mqtt.sweep();
      expect(harness.takeCalls()).toEqual([]);
      jest.advanceTimersByTime(10_001);
      harness.mqtt.sweep();
      expect(harness.takeCalls()).toEqual(['resumePushes']);
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
      jest.advanceTimersByTime(60_000);
      harness.mqtt.sweep();
      expect(harness.takeCalls()).toEqual(['resumePushes']);
      harness.end(ALICE, 'peer');
      expect(harness.takeCalls()[1]).toMatch(/^expire \d+$/);
    });

    test('count for Receive Maximum, so that no more are sent than it allows (§4.9)', () => {
      jest.useFakeTimers({ now: 1_000 });
      const harness = new MqttHarness(5, { properties: '210021' }, SUBSCRIBED);
      fill(harness, 1, 32);
      jest.advanceTimersByTime(10_001);
      harness.mqtt.sweep();
      fill(harness, 33, 33);
      jest.advanceTimersByTime(80_000);
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
