/**
 * Events of several shards on a Redis Cluster: each script has one slot, a read all of a master.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { announceWithEvents } from '../../../../common/cluster/events/client-events.js';
import { findDue, writeDue } from '../../../../common/cluster/events/due-events.js';
import { renewMembership } from '../../../../common/cluster/events/event-groups.js';
import { ackEvents, readEvents } from '../../../../common/cluster/events/event-reads.js';
import { storePush } from '../../../../common/cluster/inbox/push.js';
import { confirmInboxes } from '../../../../common/cluster/inbox.js';
import { Metrics } from '../../../../common/process/metrics.js';
import { openRedis, type RedisLink } from '../../../../common/redis/redis-link.js';
import { sealPush } from '../../../../common/wire/push-envelope.js';
import { startRedisCluster, type TestCluster } from '../../../support/cluster/redis-cluster.js';
import { replyOf } from '../../../support/cluster/redis-link.js';
import { eventually } from '../../../support/eventually.js';

const CHANNELS = Array.from({ length: 12 }, (_, i) => `ll:{${i}}`);
const BOUNDS = { countMax: 100, keepMs: 60_000 };
const INBOX = { countMax: 100, bytesMax: 1_000_000, events: BOUNDS };

let cluster: TestCluster;
let link: RedisLink;

beforeAll(async () => {
  cluster = await startRedisCluster({ replicas: 0 });
  const log = pino({ level: 'silent' });
  link = await openRedis({ urls: cluster.urls, name: 'test', log, metrics: new Metrics() });
});

afterAll(async () => {
  await link?.close();
  await cluster?.stop();
});

async function store(channel: string, clientId: string): Promise<string> {
  const payload = Buffer.from('p');
  const push = { channel, clientId, payload, contentType: '', ttlMs: 60_000, idempotencyKey: '' };
  const envelope = sealPush(1, `${channel}:p`, clientId, { ...push, whenSlow: 0 });
  const stored = await storePush(link, { ...push, envelope, notifyUnreadAfterMs: 1 }, INBOX);
  return (replyOf(stored) as { id: string }).id;
}

test('events of all shards are written, due, read and acknowledged', async () => {
  for (const channel of CHANNELS) {
    const client = { clientId: 'a', connection: 1, renewed: false, protocol: 'sse', labels: '' };
    const noted = { devices: [{ user: 'a', device: 'b' }], keepS: 60 };
    const edge = { edgeId: 'edge-1', incarnation: 'life-1' };
    const envelope = Buffer.from('e');
    replyOf(await announceWithEvents(link, channel, edge, [client], noted, envelope, BOUNDS));
    const id = await store(channel, 'confirmed');
    const confirmation = { channel, clientId: 'confirmed', id, singles: [] };
    await confirmInboxes(link, [confirmation], BOUNDS);
    await store(channel, 'unread');
  }
  await eventually(async () => {
    expect((await findDue(link, CHANNELS)).sort((a, b) => a - b)).toEqual([...CHANNELS.keys()]);
  });
  for (const channel of CHANNELS) await writeDue(link, channel, BOUNDS);
  const read = () =>
    readEvents(
      link,
      { group: 'g', start: '0-0', countMax: 10, keepMs: BOUNDS.keepMs },
      CHANNELS.map((channel) => ({ channel, after: undefined })),
    );
  const found = await read();
  expect(found.map(({ index }) => index).sort((a, b) => a - b)).toEqual([...CHANNELS.keys()]);
  for (const { index, events, number } of found) {
    const types = ['client.connected', 'push.confirmed', 'push.unread'];
    expect(events.map(({ fields }) => fields.get('t'))).toEqual(types);
    const position = { id: events[2]!.id, number: number + 2 };
    replyOf(await ackEvents(link, CHANNELS[index]!, 'g', position, BOUNDS.keepMs));
  }
  expect((await read()).every(({ events, number }) => events.length === 0 && number === 4)).toBe(
    true,
  );
  const member = { group: 'g', consumer: 'c', instance: 'i' };
  const options = { leaseMs: 1_000, partitions: 4, releasable: [], start: 'now', isJoin: true };
  expect(replyOf(await renewMembership(link, member, options))).toMatchObject({ type: 'member' });
});
