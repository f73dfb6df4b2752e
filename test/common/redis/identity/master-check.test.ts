import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { pino } from 'pino';
import { Metrics } from '../../../../common/process/metrics.js';
import { MasterCheck } from '../../../../common/redis/identity/master-check.js';
import {
  parseIdentity,
  type ServerIdentity,
} from '../../../../common/redis/identity/server-identity.js';
import { eventually } from '../../../support/eventually.js';

const ADDRESS = 'redis:6379';

class FakeConnection {
  redials = 0;
  isLeaving = false;
  readonly address = ADDRESS;
  constructor(readonly runId: string) {}
  redial(): void {
    this.redials++;
    this.isLeaving = true;
  }
}

let connections: FakeConnection[];
/** Results of the next dials; the last one is repeated. */
let found: (ServerIdentity | undefined)[];
let dials: number;
let masters: string[];
let check: MasterCheck;

function start(requiresMaster = true): void {
  dials = 0;
  masters = [ADDRESS];
  check = new MasterCheck({
    masters: () => masters,
    connections: () => connections,
    dial: async () => found[Math.min(dials++, found.length - 1)],
    requiresMaster,
    log: pino({ level: 'silent' }),
    metrics: new Metrics(),
  });
}

beforeEach(() => {
  connections = ['a', 'b', ''].map((runId) => new FakeConnection(runId));
  start();
});

afterEach(() => {
  check.close();
});

const redials = () => connections.map((connection) => connection.redials);
const master = (runId: string): ServerIdentity => ({ runId, isMaster: true, timeMs: 0 });
const replica = (runId: string): ServerIdentity => ({ runId, isMaster: false, timeMs: 0 });

test('reads the identity from INFO', () => {
  const info =
    '# Server\r\nrun_id:abc\r\nserver_time_usec:1800000000123456\r\n# Replication\r\nrole:slave\r\n';
  const timeMs = 1_800_000_000_123;
  expect(parseIdentity(info)).toEqual({ runId: 'abc', isMaster: false, timeMs });
  const master = info.replace('slave', 'master');
  expect(parseIdentity(master)).toEqual({ runId: 'abc', isMaster: true, timeMs });
  expect(parseIdentity('')).toEqual({ runId: '', isMaster: true, timeMs: Number.NaN });
});

test('closes the connections to another server when three dials lead to one', async () => {
  found = [master('b')];
  await check.check(ADDRESS);
  expect(dials).toBe(3);
  expect(redials()).toEqual([1, 0, 0]);
  expect(check.reasons()).toEqual([]);
});

test('dials once while all connections lead to the server', async () => {
  connections = [new FakeConnection('b')];
  found = [master('b')];
  await check.check(ADDRESS);
  expect(dials).toBe(1);
  expect(redials()).toEqual([0]);
});

test('closes nothing and says so when the dials lead to several masters', async () => {
  found = [master('b'), master('a')];
  await check.check(ADDRESS);
  expect(redials()).toEqual([0, 0, 0]);
  expect(check.reasons()).toEqual([expect.stringContaining('leads to several servers')]);
  // The same servers in another order are the same reason.
  const [reason] = check.reasons();
  connections = [new FakeConnection('b')];
  found = [master('a'), master('b')];
  dials = 0;
  await check.check(ADDRESS);
  expect(check.reasons()).toEqual([reason]);
  // One dial that finds nothing wrong does not make it unambiguous.
  connections = [new FakeConnection('b')];
  found = [master('b')];
  dials = 0;
  await check.check(ADDRESS);
  expect(check.reasons()).toHaveLength(1);
});

test('closes the connections to a server that is a replica, until the address leads to a master', async () => {
  found = [replica('a')];
  await check.check(ADDRESS);
  expect(redials()).toEqual([1, 0, 0]);
  expect(check.reasons()).toEqual([`Redis ${ADDRESS} is a replica, which cannot store anything`]);
  connections = [new FakeConnection('b')];
  found = [master('b')];
  await check.check(ADDRESS);
  expect(check.reasons()).toEqual([]);
});

test('leaves the role to the slot map in a Redis Cluster', async () => {
  check.close();
  start(false);
  found = [replica('b')];
  await check.check(ADDRESS);
  expect(redials()).toEqual([1, 0, 0]);
  expect(check.reasons()).toEqual([]);
});

test.each([[undefined], [master('')]])('changes nothing if a dial finds %j', async (identity) => {
  found = [identity];
  await check.check(ADDRESS);
  expect(redials()).toEqual([0, 0, 0]);
  expect(check.reasons()).toEqual([]);
});

test('closes all connections to a server that has replied READONLY', () => {
  connections.push(new FakeConnection('a'));
  check.onReadOnly(ADDRESS, 'a');
  expect(redials()).toEqual([1, 0, 0, 1]);
  // Other commands were on their way.
  check.onReadOnly(ADDRESS, 'a');
  expect(redials()).toEqual([1, 0, 0, 1]);
});

test('forgets what was wrong with an address that is no master any more', async () => {
  check.close();
  jest.useFakeTimers();
  try {
    start();
    found = [replica('a')];
    await check.check(ADDRESS);
    expect(check.reasons()).toHaveLength(1);
    masters = ['promoted:6379'];
    found = [master('c')];
    await jest.advanceTimersByTimeAsync(5_000);
    expect(check.reasons()).toEqual([]);
    masters = [ADDRESS];
    expect(check.reasons()).toEqual([]);
  } finally {
    jest.useRealTimers();
  }
});

test('checks one master after the other, without a second check at the same time', async () => {
  check.close();
  jest.useFakeTimers();
  try {
    start();
    found = [master('b')];
    await jest.advanceTimersByTimeAsync(4_900);
    expect(dials).toBe(0);
    await jest.advanceTimersByTimeAsync(200);
    expect(dials).toBe(3);
  } finally {
    jest.useRealTimers();
  }
});

test('tells at once which connections to close when they lead to several servers', async () => {
  found = [master('b')];
  expect(check.isOneServer(ADDRESS)).toBe(false);
  expect(check.isOneServer('other:6379')).toBe(true);
  await eventually(() => expect(redials()).toEqual([1, 0, 0]));
  connections = ['b', 'b', ''].map((runId) => new FakeConnection(runId));
  expect(check.isOneServer(ADDRESS)).toBe(true);
  // At most one check per second.
  connections = ['b', 'c'].map((runId) => new FakeConnection(runId));
  dials = 0;
  for (let i = 0; i < 3; i++) expect(check.isOneServer(ADDRESS)).toBe(false);
  expect(dials).toBe(0);
});
