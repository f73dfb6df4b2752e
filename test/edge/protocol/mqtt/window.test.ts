import { beforeEach, describe, expect, test } from '@jest/globals';
import { MqttWindow } from '../../../../edge/protocol/mqtt/window.js';

test('confirms a push once everything before it is confirmed [MQTT-4.6.0-2]', () => {
  const window = new MqttWindow({ packetId: 1, ids: [] });
  expect([window.add('1-0'), window.add('2-0'), window.add('3-0')]).toEqual([1, 2, 3]);
  expect(window.ack(2)).toBe(true);
  expect(window.takeConfirmed()).toBe('');
  expect(window.ack(1)).toBe(true);
  expect(window.takeConfirmed()).toBe('2-0');
  expect(window.size).toBe(1);
});

test('a push without PUBACK is confirmed with those before it', () => {
  const window = new MqttWindow({ packetId: 1, ids: [] });
  window.add('1-0');
  window.addConfirmed('2-0');
  expect(window.takeConfirmed()).toBe('');
  window.ack(1);
  expect(window.takeConfirmed()).toBe('2-0');
});

test('ignores a packet identifier that is not in flight', () => {
  const window = new MqttWindow({ packetId: 5, ids: [] });
  window.add('1-0');
  for (const packetId of [4, 6, 1, 65_535]) expect(window.ack(packetId)).toBe(false);
  window.ack(5);
  window.takeConfirmed();
  expect(window.ack(5)).toBe(false);
});

test('counts packet identifiers up and wraps from 65,535 to 1 [MQTT-2.2.1-3]', () => {
  const window = new MqttWindow({ packetId: 65_534, ids: [] });
  expect(['1-0', '2-0', '3-0'].map((id) => window.add(id))).toEqual([65_534, 65_535, 1]);
  for (const packetId of [65_534, 65_535, 1]) expect(window.ack(packetId)).toBe(true);
  expect(window.takeConfirmed()).toBe('3-0');
  expect(window.packetId).toBe(2);
});

test('drops the newest pushes that were not written', () => {
  const window = new MqttWindow({ packetId: 1, ids: [] });
  for (const id of ['1-0', '2-0', '3-0']) window.add(id);
  window.dropUnwritten((id) => id !== '1-0');
  expect(window.size).toBe(1);
  expect(window.packetId).toBe(2);
});

describe('pushes in flight of an earlier connection', () => {
  let window: MqttWindow;
  beforeEach(() => {
    window = new MqttWindow({ packetId: 7, ids: ['1-0', '2-0', '3-0'] });
  });

  test('are resent with their packet identifiers, new pushes follow [MQTT-4.4.0-1]', () => {
    const sent = ['1-0', '2-0', '3-0', '4-0'].map((id) => [window.advanceTo(id), window.add(id)]);
    expect(sent).toEqual([
      [true, 7],
      [true, 8],
      [true, 9],
      [false, 10],
    ]);
    for (const packetId of [7, 8, 9, 10]) window.ack(packetId);
    expect(window.takeConfirmed()).toBe('4-0');
    expect(window.isEmpty).toBe(true);
  });

  test('keep their packet identifiers when they have expired', () => {
    expect([window.advanceTo('2-0'), window.add('2-0')]).toEqual([true, 8]);
    expect([window.advanceTo('4-0'), window.add('4-0')]).toEqual([false, 10]);
    window.ack(8);
    expect(window.takeConfirmed()).toBe('3-0');
    window.ack(10);
    expect(window.takeConfirmed()).toBe('4-0');
    expect(window.isEmpty).toBe(true);
  });

  test('are in flight again for the next connection, with the pushes since', () => {
    expect(window.isEmpty).toBe(false);
    expect(window.inFlight).toEqual({ packetId: 7, ids: ['1-0', '2-0', '3-0'] });
    window.advanceTo('1-0');
    window.add('1-0');
    expect(window.inFlight).toEqual({ packetId: 7, ids: ['1-0', '2-0', '3-0'] });
    window.ack(7);
    window.takeConfirmed();
    expect(window.inFlight).toEqual({ packetId: 8, ids: ['2-0', '3-0'] });
  });
});
