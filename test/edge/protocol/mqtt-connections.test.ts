import { beforeEach, expect, test } from '@jest/globals';
import { type MqttConnect, parseMqttConnect } from '../../../common/mqtt-connect.js';
import { connectionOf } from '../../../common/transport/transport.js';
import { GRANTS_MAX, MqttConnections } from '../../../edge/protocol/mqtt-connections.js';
import { connect } from '../../support/mqtt-bytes.js';

const ALICE = connectionOf(3, 1);
const CONNECT = parseMqttConnect(connect(), 100) as MqttConnect;

let connections: MqttConnections;

beforeEach(() => {
  connections = new MqttConnections();
  connections.add(ALICE, CONNECT, 60, { grants: [] });
});

test('the highest QoS that a filter was granted counts [MQTT-3.3.4-2]', () => {
  expect(connections.qosOf(ALICE)).toBeUndefined();
  connections.grant(ALICE, '#', 0);
  expect(connections.qosOf(ALICE)).toBe(0);
  connections.grant(ALICE, 'push/+', 1);
  expect(connections.qosOf(ALICE)).toBe(1);
  connections.revoke(ALICE, 'push/+');
  expect(connections.qosOf(ALICE)).toBe(0);
});

test('the same filter again replaces what it had [MQTT-3.8.4-3]', () => {
  connections.grant(ALICE, '#', 1);
  connections.grant(ALICE, '#', 0);
  expect(connections.qosOf(ALICE)).toBe(0);
  expect(connections.revoke(ALICE, '#')).toBe(true);
  expect(connections.revoke(ALICE, '#')).toBe(false);
  expect(connections.qosOf(ALICE)).toBeUndefined();
});

test('grants are bounded, and those that are there can still change', () => {
  for (let i = 0; i < GRANTS_MAX; i++) expect(connections.grant(ALICE, `a/${i}`, 0)).toBe(true);
  expect(connections.grant(ALICE, 'one more', 1)).toBe(false);
  expect(connections.grant(ALICE, 'a/0', 1)).toBe(true);
  expect(connections.grantsOf(ALICE)).toHaveLength(GRANTS_MAX);
});

test('a slot that is used again has nothing of who had it before', () => {
  connections.grant(ALICE, '#', 1);
  connections.grant(ALICE, '+/+', 1);
  connections.openWindow(ALICE).add('1-0');
  connections.forget(ALICE);
  const bob = connectionOf(3, 2);
  connections.add(bob, CONNECT, 60, { grants: [] });
  expect(connections.grantsOf(bob)).toEqual([]);
  expect(connections.packetId(bob)).toBe(1);
});

test('packet identifiers go on from window to window', () => {
  const window = connections.openWindow(ALICE);
  expect(connections.openWindow(ALICE)).toBe(window);
  window.add('1-0');
  expect(connections.packetId(ALICE)).toBe(2);
  window.ack(1);
  window.settle();
  connections.closeWindow(ALICE);
  expect(connections.window(ALICE)).toBeUndefined();
  expect(connections.packetId(ALICE)).toBe(2);
  expect(connections.openWindow(ALICE).add('2-0')).toBe(2);
});

test('what is kept grows with the slots', () => {
  const far = connectionOf(5_000, 1);
  connections.grant(ALICE, '#', 1);
  connections.add(far, { ...CONNECT, receiveMax: 7, packetBytesMax: 100 }, 30, { grants: [] });
  expect(connections.qosOf(ALICE)).toBe(1);
  expect(connections.inFlightMax(far)).toBe(7);
  expect(connections.takes(far, 100)).toBe(true);
  expect(connections.takes(far, 101)).toBe(false);
  expect(connections.takes(ALICE, 10_000_000)).toBe(true);
});
