import { beforeEach, expect, test } from '@jest/globals';
import { connectionOf } from '../../../../common/transport/transport.js';
import { type MqttConnect, parseMqttConnect } from '../../../../common/wire/mqtt/connect.js';
import {
  MqttConnectionTable,
  SUBSCRIPTIONS_MAX,
} from '../../../../edge/protocol/mqtt/connection-table.js';
import type { MqttSession } from '../../../../edge/protocol/mqtt/session-store.js';
import { connect } from '../../../support/devices/mqtt-bytes.js';

const ALICE = connectionOf(3, 1);
const CONNECT = parseMqttConnect(connect(), 100) as MqttConnect;

const NEW = { isPresent: false, subscriptions: [] };
let connections: MqttConnectionTable;

beforeEach(() => {
  connections = new MqttConnectionTable();
  connections.add(ALICE, CONNECT, 60, NEW);
});

test('uses the highest QoS of all subscriptions [MQTT-3.3.4-2]', () => {
  expect(connections.qosOf(ALICE)).toBeUndefined();
  connections.subscribe(ALICE, '#', 0);
  expect(connections.qosOf(ALICE)).toBe(0);
  connections.subscribe(ALICE, 'push/+', 1);
  expect(connections.qosOf(ALICE)).toBe(1);
  connections.unsubscribe(ALICE, 'push/+');
  expect(connections.qosOf(ALICE)).toBe(0);
});

test('replaces the subscription with the same filter [MQTT-3.8.4-3]', () => {
  connections.subscribe(ALICE, '#', 1);
  connections.subscribe(ALICE, '#', 0);
  expect(connections.qosOf(ALICE)).toBe(0);
  expect(connections.unsubscribe(ALICE, '#')).toBe(true);
  expect(connections.unsubscribe(ALICE, '#')).toBe(false);
  expect(connections.qosOf(ALICE)).toBeUndefined();
});

test('bounds the number of subscriptions; existing ones can still change', () => {
  for (let i = 0; i < SUBSCRIPTIONS_MAX; i++)
    expect(connections.subscribe(ALICE, `a/${i}`, 0)).toBe(true);
  expect(connections.subscribe(ALICE, 'one more', 1)).toBe(false);
  expect(connections.subscribe(ALICE, 'a/0', 1)).toBe(true);
  expect(connections.subscriptionsOf(ALICE)).toHaveLength(SUBSCRIPTIONS_MAX);
});

test('clears the state of a reused slot', () => {
  connections.subscribe(ALICE, '#', 1);
  connections.subscribe(ALICE, '+/+', 1);
  connections.openWindow(ALICE).add('1-0');
  connections.forget(ALICE);
  const bob = connectionOf(3, 2);
  connections.add(bob, CONNECT, 60, NEW);
  expect(connections.subscriptionsOf(bob)).toEqual([]);
  expect(connections.packetId(bob)).toBe(1);
});

test('continues packet identifiers from window to window', () => {
  const window = connections.openWindow(ALICE);
  expect(connections.openWindow(ALICE)).toBe(window);
  window.add('1-0');
  expect(connections.packetId(ALICE)).toBe(2);
  window.ack(1);
  window.takeConfirmed();
  connections.closeWindow(ALICE);
  expect(connections.window(ALICE)).toBeUndefined();
  expect(connections.packetId(ALICE)).toBe(2);
  expect(connections.openWindow(ALICE).add('2-0')).toBe(2);
});

test('hands pushes in flight over only to the connection that replaces this one', () => {
  const bob = connectionOf(4, 1);
  const present = { isPresent: true, subscriptions: [] };
  const left = { packetId: 1, ids: ['1-0'] };
  const replace = (clientId: string, session: MqttSession) => {
    connections.openWindow(ALICE).add('1-0');
    connections.handOver(ALICE, CONNECT.clientId);
    connections.forget(ALICE);
    connections.add(bob, { ...CONNECT, clientId }, 60, session);
    const inFlight = connections.inFlight(bob);
    connections.forget(bob);
    connections.add(ALICE, CONNECT, 60, NEW);
    return inFlight;
  };
  expect(replace(CONNECT.clientId, present)).toEqual(left);
  expect(replace('bob', present)).toBeUndefined();
  expect(replace(CONNECT.clientId, NEW)).toBeUndefined();
  // Newer than the pushes that an earlier connection stored in Redis.
  const stored = { ...present, inFlight: { packetId: 9, ids: ['0-1'] } };
  expect(replace(CONNECT.clientId, stored)).toEqual(left);
  connections.add(bob, CONNECT, 60, present);
  expect(connections.inFlight(bob)).toBeUndefined();
});

test('grows with the highest slot', () => {
  const far = connectionOf(5_000, 1);
  connections.subscribe(ALICE, '#', 1);
  connections.add(far, { ...CONNECT, receiveMax: 7, packetBytesMax: 100 }, 30, NEW);
  expect(connections.qosOf(ALICE)).toBe(1);
  expect(connections.inFlightMax(far)).toBe(7);
  expect(connections.acceptsPacketSize(far, 100)).toBe(true);
  expect(connections.acceptsPacketSize(far, 101)).toBe(false);
  expect(connections.acceptsPacketSize(ALICE, 10_000_000)).toBe(true);
});
