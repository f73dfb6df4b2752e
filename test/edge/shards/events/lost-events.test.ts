/** Edges whose Redis has lost events, against a real Redis that is restarted empty. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import {
  announceWithEvents,
  type EndedClient,
  endWithEvents,
} from '../../../../common/cluster/events/client-events.js';
import { markLostEvents } from '../../../../common/cluster/events/lost-events.js';
import { ShardNames } from '../../../../common/cluster/shard-names.js';
import { Metrics } from '../../../../common/process/metrics.js';
import { LostEvents } from '../../../../edge/shards/events/lost-events.js';
import {
  type LinkedRedis,
  replyOf,
  startLinkedRedis,
} from '../../../support/cluster/redis-link.js';
import { eventually } from '../../../support/eventually.js';

const MS_MAX = 20_000;

let linked: LinkedRedis;
let names: ShardNames;
let channel: string;

beforeAll(async () => {
  linked = await startLinkedRedis();
  names = new ShardNames(linked.link.names, 8);
  channel = names.channelOf(3);
});

afterAll(() => linked?.stop());

const types = async () => {
  const entries = await linked.link.commands.xrange(`${channel}:ev`, '-', '+');
  return entries.map(([, fields]) => `${fields[1]} ${fields[3]}`.trim());
};

test('events that Redis has lost are told, once, and connections that have ended since end again', async () => {
  const connected = new Map([['alice', 1]]);
  const ended: [number, EndedClient][] = [];
  const bounds = {
    countMax: 100,
    keepMs: 60_000,
    onWritten: (channel: string, id: string) => lostEvents.onWritten(channel, id),
  };
  const lostEvents: LostEvents = new LostEvents({
    link: linked.link,
    names,
    edgeIncarnation: 'li-fe',
    bounds,
    isConnected: (clientId, connection) => connected.get(clientId) === connection,
    onEnded: (...args) => ended.push(args),
    metrics: new Metrics(),
  });
  const announce = (clientId: string, connection: number) =>
    announceWithEvents(
      linked.link,
      channel,
      { edgeId: 'edge-1', incarnation: 'li-fe' },
      [{ clientId, connection, renewed: false, protocol: 'sse', labels: '' }],
      { devices: [], keepS: 60 },
      Buffer.from('envelope'),
      bounds,
    );
  await lostEvents.step(0);
  await announce('alice', 1);
  await announce('bob', 2);
  // The master has the beginning of bob's connection, and not its end.
  const [key] = await linked.link.commands.hmget(`${channel}:on`, 'bob');
  const dump = await linked.link.commands.xrange(`${channel}:ev`, '-', '+');
  await endWithEvents(
    linked.link,
    channel,
    'li-fe',
    [{ clientId: 'bob', connection: 2, reason: 'peer' }],
    bounds,
  );
  await linked.redis.kill('SIGKILL');
  await linked.redis.restart();
  await eventually(async () => {
    await linked.link.commands.hset(`${channel}:on`, 'bob', key!);
  }, MS_MAX);
  for (const [id, fields] of dump) await linked.link.commands.xadd(`${channel}:ev`, id, ...fields);
  let nowMs = 0;
  await eventually(async () => {
    nowMs += 100;
    await lostEvents.step(nowMs);
    expect(await types()).toEqual([
      'client.connected alice',
      'client.connected bob',
      'events_lost',
    ]);
    expect(ended).toEqual([[3, { clientId: 'bob', connection: 2, reason: 'events_lost' }]]);
  }, MS_MAX);
});

test('an event that was removed by a bound is not lost, nor is one that is there', async () => {
  const bounds = { countMax: 3, keepMs: 60_000 };
  const stream = `${channel}:ev`;
  await linked.link.commands.del(stream);
  const ids: string[] = [];
  for (let i = 0; i < 6; i++) {
    const id = await linked.link.commands.xadd(stream, 'MAXLEN', 3, '*', 't', 'x', 'c', 'y');
    ids.push(id!);
  }
  const isLost = async (id: string) =>
    replyOf(await markLostEvents(linked.link, channel, id, 0, bounds));
  expect(await isLost(ids[0]!)).toBe(false);
  expect(await isLost(ids[5]!)).toBe(false);
  expect(await isLost('1-1')).toBe(false);
  const [ms] = ids[5]!.split('-');
  expect(await isLost(`${Number(ms) + 1}-7`)).toBe(true);
});
