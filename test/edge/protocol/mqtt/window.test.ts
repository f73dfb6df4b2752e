import { beforeEach, describe, expect, test } from '@jest/globals';
import { MqttWindow } from '../../../../edge/protocol/mqtt/window.js';

/**
 * Adds pushes `1-0`, `2-0`… with these packet identifiers, sent at their number, without expiry.
 */
function windowOf(...packetIds: number[]): MqttWindow {
  const window = new MqttWindow([]);
  for (const [i, packetId] of packetIds.entries()) {
    window.add(packetId, `${i + 1}-0`, i + 1, Number.POSITIVE_INFINITY);
  }
  return window;
}

const ids = (window: MqttWindow) => window.inFlight.map(({ id }) => id);

test('an acknowledged push leaves the window; it says whether an older one is in flight', () => {
  const window = windowOf(1, 2, 3);
  expect(window.ack(2)).toEqual({ id: '2-0', isOldest: false });
  expect(ids(window)).toEqual(['1-0', '3-0']);
  expect(window.ack(1)).toEqual({ id: '1-0', isOldest: true });
  expect(window.ack(3)).toEqual({ id: '3-0', isOldest: true });
  expect(window.isEmpty).toBe(true);
});

test('a packet identifier is known while its push is in flight', () => {
  const window = windowOf(5);
  for (const packetId of [4, 6, 1, 65_535]) expect(window.ack(packetId)).toBeUndefined();
  expect(window.has(5)).toBe(true);
  window.ack(5);
  expect(window.has(5)).toBe(false);
  expect(window.ack(5)).toBeUndefined();
});

test('a push without PUBACK is older than all others, or is not', () => {
  const window = windowOf(1, 2);
  expect(window.isOldest('0-9')).toBe(true);
  expect(window.isOldest('3-0')).toBe(false);
  window.ack(1);
  window.ack(2);
  expect(window.isOldest('3-0')).toBe(true);
});

test('drops the newest pushes that were not written', () => {
  const window = windowOf(1, 2, 3);
  window.dropUnwritten((id) => id !== '1-0');
  expect(ids(window)).toEqual(['1-0']);
});

describe('an unacknowledged push', () => {
  test('is set aside after a while, and can still be acknowledged', () => {
    const window = windowOf(1, 2, 3);
    expect(window.sweep(10, 1, 9)).toEqual({ setAside: 0, expired: 0 });
    expect(window.sweep(10, 3, 9)).toEqual({ setAside: 2, expired: 0 });
    expect([window.size, window.unackedCount]).toEqual([1, 3]);
    expect(ids(window)).toEqual(['1-0', '2-0', '3-0']);
    expect(window.ack(2)).toEqual({ id: '2-0', isOldest: false });
    expect([window.size, window.unackedCount]).toEqual([1, 2]);
    expect(window.ack(3)).toEqual({ id: '3-0', isOldest: false });
    expect(window.ack(1)).toEqual({ id: '1-0', isOldest: true });
  });

  test('is set aside only up to a bound', () => {
    const window = windowOf(1, 2, 3);
    expect(window.sweep(10, 9, 1).setAside).toBe(1);
    expect(window.sweep(10, 9, 2).setAside).toBe(1);
    expect(window.sweep(10, 9, 2).setAside).toBe(0);
    expect(window.size).toBe(1);
  });

  test('leaves the window when it expires, but counts for Receive Maximum (§4.9)', () => {
    const window = new MqttWindow([]);
    window.add(1, '1-0', 1, 100);
    window.add(2, '2-0', 1, 200);
    window.sweep(50, 40, 9);
    expect(window.sweep(100, 40, 9)).toEqual({ setAside: 0, expired: 1 });
    expect([window.size, window.unackedCount, window.isEmpty]).toEqual([0, 2, false]);
    expect(ids(window)).toEqual(['2-0']);
    // The expired push was not confirmed, so later ones are confirmed alone.
    expect(window.ack(2)).toEqual({ id: '2-0', isOldest: false });
    // Its late PUBACK gives back its place.
    expect(window.ack(1)).toBeUndefined();
    expect(window.isEmpty).toBe(true);
  });
});

describe('pushes in flight of an earlier connection', () => {
  const LEFT = [
    { packetId: 7, id: '1-0' },
    { packetId: 9, id: '2-0' },
    { packetId: 10, id: '3-0' },
  ];
  let window: MqttWindow;
  beforeEach(() => {
    window = new MqttWindow(LEFT);
  });

  test('are resent with their packet identifiers, new pushes follow [MQTT-4.4.0-1]', () => {
    const resent = ['1-0', '2-0', '3-0', '4-0'].map((id) => window.takeResend(id));
    expect(resent).toEqual([7, 9, 10, undefined]);
    expect(window.isEmpty).toBe(true);
  });

  test('are forgotten when they have left the inbox', () => {
    expect(window.takeResend('2-0')).toBe(9);
    expect(window.takeResend('4-0')).toBeUndefined();
    expect(window.isEmpty).toBe(true);
  });

  test('are in flight again for the next connection, with the pushes since', () => {
    expect(window.isEmpty).toBe(false);
    expect(window.inFlight).toEqual(LEFT);
    expect(window.has(10)).toBe(true);
    window.add(window.takeResend('1-0')!, '1-0', 1, 100);
    expect(window.inFlight).toEqual(LEFT);
    window.ack(7);
    expect(window.inFlight).toEqual(LEFT.slice(1));
  });
});
