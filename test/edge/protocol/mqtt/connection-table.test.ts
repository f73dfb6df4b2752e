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

const NEW = { isPresent: false, subscriptions: [], inFlight: [] };
const NONE_IN_USE = () => false;
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
  connections.takePacketId(ALICE, NONE_IN_USE);
  connections.forget(ALICE);
  const bob = connectionOf(3, 2);
  connections.add(bob, CONNECT, 60, NEW);
  expect(connections.subscriptionsOf(bob)).toEqual([]);
  expect(connections.takePacketId(bob, NONE_IN_USE)).toBe(1);
});

test('counts packet identifiers up, leaves out those in use, and wraps to 1 [MQTT-2.2.1-3]', () => {
  const inFlight = [{ packetId: 65_533, id: '1-0' }];
  connections.add(ALICE, CONNECT, 60, { isPresent: true, subscriptions: [], inFlight });
  const taken = [1, 2, 3].map(() => connections.takePacketId(ALICE, (id) => id === 65_535));
  expect(taken).toEqual([65_534, 1, 2]);
});

test('keeps Clean Start beside the subscriptions', () => {
  expect(connections.isClean(ALICE)).toBe(true);
  connections.subscribe(ALICE, '#', 1);
  expect(connections.isClean(ALICE)).toBe(true);
  connections.add(ALICE, { ...CONNECT, isClean: false }, 60, NEW);
  expect(connections.isClean(ALICE)).toBe(false);
  expect(connections.qosOf(ALICE)).toBeUndefined();
});

test('hands pushes in flight over only to the connection that replaces this one', () => {
  const bob = connectionOf(4, 1);
  const present = { isPresent: true, subscriptions: [], inFlight: [] };
  const left = [{ packetId: 1, id: '1-0' }];
  const replace = (clientId: string, session: MqttSession) => {
    connections.handOver(CONNECT.clientId, left);
    return connections.add(bob, { ...CONNECT, clientId }, 60, session);
  };
  expect(replace(CONNECT.clientId, present)).toEqual(left);
  expect(replace('bob', present)).toEqual([]);
  expect(replace(CONNECT.clientId, NEW)).toEqual([]);
  // Newer than the pushes that an earlier connection stored in Redis.
  const stored = { ...present, inFlight: [{ packetId: 9, id: '0-1' }] };
  expect(replace(CONNECT.clientId, stored)).toEqual(left);
  expect(connections.add(bob, CONNECT, 60, present)).toEqual([]);
});

test('grows with the highest slot', () => {
  const far = connectionOf(5_000, 1);
  connections.subscribe(ALICE, '#', 1);
  connections.add(far, { ...CONNECT, receiveMax: 7, packetBytesMax: 100 }, 30, NEW);
  expect(connections.qosOf(ALICE)).toBe(1);
  expect(connections.receiveMax(far)).toBe(7);
  expect(connections.acceptsPacketSize(far, 100)).toBe(true);
  expect(connections.acceptsPacketSize(far, 101)).toBe(false);
  expect(connections.acceptsPacketSize(ALICE, 10_000_000)).toBe(true);
});
