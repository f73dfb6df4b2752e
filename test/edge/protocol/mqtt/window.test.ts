import { beforeEach, describe, expect, test } from '@jest/globals';
import { MqttWindow } from '../../../../edge/protocol/mqtt/window.js';

test('settles what is confirmed with everything before it [MQTT-4.6.0-2]', () => {
  const window = new MqttWindow({ packetId: 1, ids: [] });
  expect([window.add('1-0'), window.add('2-0'), window.add('3-0')]).toEqual([1, 2, 3]);
  expect(window.ack(2)).toBe(true);
  expect(window.settle()).toBe('');
  expect(window.ack(1)).toBe(true);
  expect(window.settle()).toBe('2-0');
  expect(window.size).toBe(1);
});

test('a push that nobody confirms is settled with those before it', () => {
  const window = new MqttWindow({ packetId: 1, ids: [] });
  window.add('1-0');
  window.pass('2-0');
  expect(window.settle()).toBe('');
  window.ack(1);
  expect(window.settle()).toBe('2-0');
});

test('an identifier that is not in flight confirms nothing', () => {
  const window = new MqttWindow({ packetId: 5, ids: [] });
  window.add('1-0');
  for (const packetId of [4, 6, 1, 65_535]) expect(window.ack(packetId)).toBe(false);
  window.ack(5);
  window.settle();
  expect(window.ack(5)).toBe(false);
});

test('identifiers go on where they were, and begin again with 1 after 65,535 [MQTT-2.2.1-3]', () => {
  const window = new MqttWindow({ packetId: 65_534, ids: [] });
  expect(['1-0', '2-0', '3-0'].map((id) => window.add(id))).toEqual([65_534, 65_535, 1]);
  for (const packetId of [65_534, 65_535, 1]) expect(window.ack(packetId)).toBe(true);
  expect(window.settle()).toBe('3-0');
  expect(window.packetId).toBe(2);
});

test('forgets the newest that were never written', () => {
  const window = new MqttWindow({ packetId: 1, ids: [] });
  for (const id of ['1-0', '2-0', '3-0']) window.add(id);
  window.forget((id) => id !== '1-0');
  expect(window.size).toBe(1);
  expect(window.packetId).toBe(2);
});

describe('what an earlier connection left behind', () => {
  let window: MqttWindow;
  beforeEach(() => {
    window = new MqttWindow({ packetId: 7, ids: ['1-0', '2-0', '3-0'] });
  });

  test('comes again with the identifiers it had, and what is new with those after [MQTT-4.4.0-1]', () => {
    const sent = ['1-0', '2-0', '3-0', '4-0'].map((id) => [window.goTo(id), window.add(id)]);
    expect(sent).toEqual([
      [true, 7],
      [true, 8],
      [true, 9],
      [false, 10],
    ]);
    for (const packetId of [7, 8, 9, 10]) window.ack(packetId);
    expect(window.settle()).toBe('4-0');
    expect(window.isEmpty).toBe(true);
  });

  test('keeps its identifier when it has expired, first or in between', () => {
    expect([window.goTo('2-0'), window.add('2-0')]).toEqual([true, 8]);
    expect([window.goTo('4-0'), window.add('4-0')]).toEqual([false, 10]);
    window.ack(8);
    expect(window.settle()).toBe('3-0');
    window.ack(10);
    expect(window.settle()).toBe('4-0');
    expect(window.isEmpty).toBe(true);
  });

  test('is left behind anew, together with what was sent since', () => {
    expect(window.isEmpty).toBe(false);
    expect(window.inFlight).toEqual({ packetId: 7, ids: ['1-0', '2-0', '3-0'] });
    window.goTo('1-0');
    window.add('1-0');
    expect(window.inFlight).toEqual({ packetId: 7, ids: ['1-0', '2-0', '3-0'] });
    window.ack(7);
    window.settle();
    expect(window.inFlight).toEqual({ packetId: 8, ids: ['2-0', '3-0'] });
  });
});
