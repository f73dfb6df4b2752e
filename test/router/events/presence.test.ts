/** Presence watches against a real Redis. */
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { announceWithEvents, endWithEvents } from '../../../common/cluster/events/client-events.js';
import { joinGroup, leaveGroup } from '../../../common/cluster/groups/members.js';
import { shardOf } from '../../../common/cluster/shard.js';
import { ShardNames } from '../../../common/cluster/shard-names.js';
import { deviceOf, userOf } from '../../../common/wire/client-id.js';
import { PresenceFeed } from '../../../router/events/presence/presence-feed.js';
import { PresenceWatch } from '../../../router/events/presence/presence-watch.js';
import { type LinkedRedis, startLinkedRedis } from '../../support/cluster/redis-link.js';
import { eventually } from '../../support/eventually.js';

const BOUNDS = { countMax: 50, keepMs: 60_000 };
const SHARDS = 8;
const MS_MAX = 20_000;

let linked: LinkedRedis;
let names: ShardNames;
let feed: PresenceFeed;

beforeAll(async () => {
  linked = await startLinkedRedis();
  names = new ShardNames(linked.link.names, SHARDS);
  feed = new PresenceFeed({ link: linked.link, names, keepMs: BOUNDS.keepMs });
});

afterAll(async () => {
  feed?.close();
  await linked?.stop();
});

afterEach(async () => {
  await linked.link.commands.flushall();
});

const channelOf = (clientId: string) => names.channelOf(shardOf(clientId, SHARDS));

async function connect(clientId: string, connection: number): Promise<void> {
  const device = deviceOf(clientId);
  await announceWithEvents(
    linked.link,
    channelOf(clientId),
    { edgeId: `edge-${connection}`, incarnation: 'life' },
    [{ clientId, connection, renewed: false, protocol: 'sse', labels: 'a=b' }],
    { devices: device === undefined ? [] : [{ user: userOf(clientId), device }], keepS: 60 },
    Buffer.from('envelope'),
    BOUNDS,
  );
}

const disconnect = (clientId: string, connection: number, reason = 'peer') =>
  endWithEvents(
    linked.link,
    channelOf(clientId),
    'life',
    [{ clientId, connection, reason }],
    BOUNDS,
  );

const partOf = (member: string) => [{ channel: channelOf(member), members: [member] }];

/** Applies what a watch is told, as a caller should. */
class Presence {
  readonly watch: PresenceWatch;
  /** By clientId: its edge. */
  readonly connected = new Map<string, string>();
  readonly members = new Set<string>();
  states = 0;
  isComplete = false;

  constructor(group: string, watched: readonly string[]) {
    this.watch = new PresenceWatch(group);
    feed.add(this, watched);
  }

  onStates(states: Parameters<Parameters<PresenceFeed['add']>[0]['onStates']>[0]): void {
    for (const { name, clients } of states) {
      this.states++;
      this.members.add(name);
      this.#forget(name);
      for (const { clientId, edgeId } of clients) this.connected.set(clientId, edgeId);
    }
  }

  onChanges(events: Parameters<Parameters<PresenceFeed['add']>[0]['onChanges']>[0]): void {
    for (const { type, clientId, fields } of events) {
      if (type === 'group.joined') this.members.add(clientId);
      else if (type === 'group.left') {
        this.members.delete(clientId);
        this.#forget(clientId);
      } else if (type === 'client.disconnected') this.connected.delete(clientId);
      else this.connected.set(clientId, fields.get('e')!);
    }
  }

  onComplete(): void {
    this.isComplete = true;
  }

  #forget(name: string): void {
    for (const clientId of this.connected.keys()) {
      if (clientId === name || userOf(clientId) === name) this.connected.delete(clientId);
    }
  }
}

const watching = async (group: string, watched: readonly string[] = []) => {
  const presence = new Presence(group, watched);
  await eventually(() => expect(presence.isComplete).toBe(true), MS_MAX);
  return presence;
};

test('gives the state, and then its changes', async () => {
  await connect('alice/phone', 1);
  await connect('bob', 2);
  await disconnect('bob', 2, 'goaway');
  const presence = await watching('', ['alice', 'bob', 'carol']);
  expect([...presence.connected]).toEqual([
    ['alice/phone', 'edge-1'],
    // It is moving.
    ['bob', 'edge-2'],
  ]);
  await connect('bob', 3);
  await connect('carol', 4);
  await connect('alice/laptop', 5);
  await disconnect('alice/phone', 1);
  await eventually(() => {
    expect([...presence.connected].sort()).toEqual([
      ['alice/laptop', 'edge-5'],
      ['bob', 'edge-3'],
      ['carol', 'edge-4'],
    ]);
  }, MS_MAX);
  feed.remove(presence);
  expect(feed.watchCount).toBe(0);
});

test('misses no change between the state and the changes, whenever a watch begins', async () => {
  const clientIds = Array.from({ length: 6 }, (_, i) => `client-${i}`);
  const watches: Presence[] = [];
  let connection = 0;
  for (let round = 0; round < 30; round++) {
    if (round % 6 === 3) watches.push(new Presence('', clientIds));
    await Promise.all(
      clientIds.map(async (clientId, i) => {
        connection++;
        const mine = connection;
        await connect(clientId, mine);
        if ((round + i) % 3 === 0) await disconnect(clientId, mine);
      }),
    );
  }
  const expected = new Map<string, string>();
  for (const clientId of clientIds) {
    const known = await linked.link.commands.hget(`${channelOf(clientId)}:on`, clientId);
    if (known !== null) expected.set(clientId, known.split(' ')[1]!);
  }
  await eventually(() => {
    for (const { connected } of watches) {
      expect([...connected].sort()).toEqual([...expected].sort());
    }
  }, MS_MAX);
  for (const watch of watches) feed.remove(watch);
});

test('follows the members of a group', async () => {
  for (const member of ['alice', 'bob']) {
    await joinGroup(linked.link, 'room', partOf(member), BOUNDS);
    await connect(member, 1);
  }
  await connect('carol/phone', 2);
  const presence = await watching('room');
  expect([...presence.connected.keys()].sort()).toEqual(['alice', 'bob']);
  await joinGroup(linked.link, 'room', partOf('carol'), BOUNDS);
  await leaveGroup(linked.link, 'room', partOf('bob'), BOUNDS);
  await disconnect('alice', 1);
  await eventually(() => {
    expect([...presence.connected]).toEqual([['carol/phone', 'edge-2']]);
    expect([...presence.members].sort()).toEqual(['alice', 'carol']);
  }, MS_MAX);
  await disconnect('carol/phone', 2);
  await eventually(() => expect([...presence.connected]).toEqual([]), MS_MAX);
  feed.remove(presence);
});

test('gives the state again when events were lost: removed by the bound, or by Redis', async () => {
  const presence = await watching('', ['alice']);
  const before = presence.states;
  // More than are kept, in one go: the poll cannot keep up.
  const script = `for i = 1, 200 do redis.call('XADD', KEYS[1], 'MAXLEN', 10, '*', 't', 'push.confirmed', 'c', 'x') end`;
  await linked.link.commands.eval(script, 1, `${channelOf('alice')}:ev`);
  await connect('alice', 1);
  await eventually(() => {
    expect(presence.states).toBeGreaterThan(before);
    expect([...presence.connected]).toEqual([['alice', 'edge-1']]);
  }, MS_MAX);
  await linked.link.commands.flushall();
  await connect('alice', 2);
  await disconnect('alice', 2);
  await eventually(() => expect([...presence.connected]).toEqual([]), MS_MAX);
  feed.remove(presence);
});
