import { expect, test } from '@jest/globals';
import { MqttWindow } from '../../../edge/protocol/mqtt-window.js';

test('settles what is confirmed with everything before it [MQTT-4.6.0-2]', () => {
  const window = new MqttWindow(1);
  expect([window.add('1-0', false), window.add('2-0', false), window.add('3-0', false)]).toEqual([
    1, 2, 3,
  ]);
  expect(window.ack(2)).toBe(true);
  expect(window.settle()).toBe('');
  expect(window.ack(1)).toBe(true);
  expect(window.settle()).toBe('2-0');
  expect(window.size).toBe(1);
});

test('a push that nobody confirms is settled with those before it', () => {
  const window = new MqttWindow(1);
  window.add('1-0', false);
  window.add('2-0', true);
  expect(window.settle()).toBe('');
  window.ack(1);
  expect(window.settle()).toBe('2-0');
});

test('an identifier that is not in flight confirms nothing', () => {
  const window = new MqttWindow(5);
  window.add('1-0', false);
  for (const packetId of [4, 6, 1, 65_535]) expect(window.ack(packetId)).toBe(false);
  window.ack(5);
  window.settle();
  expect(window.ack(5)).toBe(false);
});

test('identifiers go on where they were, and begin again with 1 after 65,535 [MQTT-2.2.1-3]', () => {
  const window = new MqttWindow(65_534);
  expect(['1-0', '2-0', '3-0'].map((id) => window.add(id, false))).toEqual([65_534, 65_535, 1]);
  for (const packetId of [65_534, 65_535, 1]) expect(window.ack(packetId)).toBe(true);
  expect(window.settle()).toBe('3-0');
  expect(window.packetId).toBe(2);
});

test('forgets the newest that were never written', () => {
  const window = new MqttWindow(1);
  for (const id of ['1-0', '2-0', '3-0']) window.add(id, false);
  window.forget((id) => id !== '1-0');
  expect(window.size).toBe(1);
  expect(window.packetId).toBe(2);
});
