/** The scripts that write, read and acknowledge events, against a real Redis. */
import { describe, expect, test } from '@jest/globals';
import {
  announceWithEvents,
  endOfDeadEdges,
  endWithEvents,
  writeBlocked,
} from '../../../../common/cluster/events/client-events.js';
import { readClientTrail } from '../../../../common/cluster/events/client-trail.js';
import { findDue, writeDue } from '../../../../common/cluster/events/due-events.js';
import {
  leaveGroup,
  type Membership,
  renewMembership,
} from '../../../../common/cluster/events/event-groups.js';
import {
  ackEvents,
  type EventPosition,
  readEvents,
} from '../../../../common/cluster/events/event-reads.js';
import { writeDropped } from '../../../../common/cluster/events/push-events.js';
import {
  joinGroup,
  leaveGroup as leaveMembers,
} from '../../../../common/cluster/groups/members.js';
import { type StorePush, storePush, storePushes } from '../../../../common/cluster/inbox/push.js';
import { storeTogether } from '../../../../common/cluster/inbox/push-together.js';
import { confirmInbox, confirmInboxes, resumeInbox } from '../../../../common/cluster/inbox.js';
import { skipPush } from '../../../../common/cluster/undelivered.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { replyOf, useRedis } from '../../../support/cluster/redis-link.js';
import { CHANNEL, pushOf } from '../../../support/cluster/stored-push.js';
import { eventually } from '../../../support/eventually.js';

const BOUNDS = { countMax: 100, keepMs: 60_000 };
const INBOX = { countMax: 1_000, bytesMax: 1_000_000, events: BOUNDS };
const EDGE = { edgeId: 'edge-1', incarnation: 'life-1' };
const READ = { group: 'g', start: '0-0', countMax: 50, keepMs: BOUNDS.keepMs };

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

async function storeId(changes: Partial<StorePush> = {}): Promise<string> {
  const stored = replyOf(await storePush(link, pushOf(changes), INBOX));
  if (stored.type !== 'stored') throw new Error('it is a duplicate');
  return stored.id;
}

/** All events of the shard, without their ids: type, clientId and the rest. */
async function events(): Promise<Record<string, string>[]> {
  const entries = await link.commands.xrange(`${CHANNEL}:ev`, '-', '+');
  return entries.map(([, texts]) => {
    const pairs = texts.flatMap((text, i) => (i % 2 === 0 ? [[text, texts[i + 1]!]] : []));
    return Object.fromEntries(pairs);
  });
}

const notedUnread = async () =>
  (await link.commands.zrange(`${CHANNEL}:due`, '0', '-1')).filter((text) => /^\d/.test(text));

const typesAndIds = async () => (await events()).map(({ t, m }) => `${t} ${m}`);

const announce = (
  clientId: string,
  connection: number,
  { renewed = false, edge = EDGE, devices = [] as { user: string; device: string }[] } = {},
) =>
  announceWithEvents(
    link,
    CHANNEL,
    edge,
    [{ clientId, connection, renewed, protocol: 'sse', labels: 'app=ios' }],
    { devices, keepS: 60 },
    Buffer.from('envelope'),
    BOUNDS,
  );

const end = (clientId: string, connection: number, reason: string) =>
  endWithEvents(link, CHANNEL, 'life-1', [{ clientId, connection, reason }], BOUNDS);

describe('connections', () => {
  const reasons = async () => (await events()).map(({ t, r = '' }) => `${t} ${r}`.trim());

  test('each has one event of its beginning and one of its end', async () => {
    const devices = [{ user: 'alice', device: 'phone' }];
    for (let i = 0; i < 2; i++) await announce('alice/phone', 1, { devices });
    for (let i = 0; i < 2; i++) await end('alice/phone', 1, 'peer');
    const common = { c: 'alice/phone', e: 'edge-1', p: 'sse', l: 'app=ios' };
    expect(await events()).toEqual([
      { t: 'client.connected', ...common },
      { t: 'client.disconnected', ...common, r: 'peer', d: expect.stringMatching(/^\d+$/) },
    ]);
    expect(await link.commands.zrange(`${CHANNEL}:dev:alice`, '0', '-1')).toEqual(['phone']);
  });

  test('a newer connection ends the one before, whose own end is then no event', async () => {
    await announce('alice', 1);
    await announce('alice', 2, { edge: { edgeId: 'edge-2', incarnation: 'life-2' } });
    await end('alice', 1, 'session_replaced');
    expect(await reasons()).toEqual([
      'client.connected',
      'client.disconnected session_replaced',
      'client.connected',
    ]);
    expect((await events()).map(({ e }) => e)).toEqual(['edge-1', 'edge-1', 'edge-2']);
  });

  test('one that is announced again is entered when there is no other', async () => {
    const disputed = async (connection: number) =>
      replyOf(await announce('alice', connection, { renewed: true })).map(
        (each) => each.connection,
      );
    expect(await disputed(1)).toEqual([]);
    expect(await disputed(2)).toEqual([2]);
    expect(await reasons()).toEqual(['client.connected']);
    await end('alice', 1, 'peer');
    for (let i = 0; i < 2; i++) expect(await disputed(2)).toEqual([]);
    const began = 'client.connected';
    expect(await reasons()).toEqual([began, 'client.disconnected peer', began]);
  });

  test('one that was never entered has no end', async () => {
    await end('alice', 1, 'not_ready');
    expect(await events()).toEqual([]);
  });

  test('those of dead edges end, after a time, and those of living edges stay', async () => {
    await announce('alice', 1);
    await announce('bob', 2, { edge: { edgeId: 'edge-2', incarnation: 'life-2' } });
    const dead = { living: ['life-2', 'life-3'], notice: Buffer.alloc(0) };
    const search = (ageMsMin: number) =>
      endOfDeadEdges(link, CHANNEL, '0', { ...dead, ageMsMin }, BOUNDS);
    expect(replyOf(await search(60_000))).toEqual({ cursor: '0', young: 1 });
    for (let i = 0; i < 2; i++) {
      expect(replyOf(await search(0))).toEqual({ cursor: '0', young: 0 });
    }
    expect(await reasons()).toEqual([
      'client.connected',
      'client.connected',
      'client.disconnected edge_lost',
    ]);
  });
});

describe('connections that receive a goaway', () => {
  const told = async () => (await events()).map(({ t, e, f = '', r = '' }) => `${t} ${e} ${f}${r}`);
  const entered = () => link.commands.hlen(`${CHANNEL}:on`);
  const passTime = async () => {
    const members = await link.commands.zrange(`${CHANNEL}:due`, '0', '-1');
    for (const member of members) await link.commands.zadd(`${CHANNEL}:due`, 1, member);
    await writeDue(link, CHANNEL, BOUNDS);
  };

  test('have no end if their client connects again: it has moved', async () => {
    await announce('al ice', 1);
    for (let i = 0; i < 2; i++) await end('al ice', 1, 'goaway');
    // A repeated command of the connection that has ended.
    await announce('al ice', 1);
    await announce('al ice', 2, { edge: { edgeId: 'edge-2', incarnation: 'life-2' } });
    await passTime();
    await endWithEvents(
      link,
      CHANNEL,
      'life-2',
      [{ clientId: 'al ice', connection: 2, reason: 'peer' }],
      BOUNDS,
    );
    expect(await told()).toEqual([
      'client.connected edge-1 ',
      'client.moved edge-2 edge-1',
      'client.disconnected edge-2 peer',
    ]);
    expect(await entered()).toBe(0);
  });

  test('end after a time if it does not, also if their edge has died', async () => {
    await announce('alice', 1);
    await end('alice', 1, 'goaway');
    const dead = { living: ['life-2'], ageMsMin: 0, notice: Buffer.alloc(0) };
    await endOfDeadEdges(link, CHANNEL, '0', dead, BOUNDS);
    for (let i = 0; i < 2; i++) await passTime();
    expect(await told()).toEqual(['client.connected edge-1 ', 'client.disconnected edge-1 goaway']);
    expect(await entered()).toBe(0);
  });
});

test('a block by an operator has an event', async () => {
  await writeBlocked(link, CHANNEL, 'mallory', 60_000, BOUNDS);
  expect(await events()).toEqual([{ t: 'client.blocked', c: 'mallory', d: '60000' }]);
});

test('members that join or leave a group have an event, once', async () => {
  const parts = [{ channel: CHANNEL, members: ['alice', 'bob/1'] }];
  for (let i = 0; i < 2; i++) await joinGroup(link, 'a{1}', parts, BOUNDS);
  for (let i = 0; i < 2; i++) await leaveMembers(link, 'a{1}', parts, BOUNDS);
  const of = (t: string) => [
    { t, c: 'alice', g: 'a{1}' },
    { t, c: 'bob/1', g: 'a{1}' },
  ];
  expect(await events()).toEqual([...of('group.joined'), ...of('group.left')]);
});

describe('pushes', () => {
  test('each that is confirmed has an event, in order, however it is confirmed', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push(await storeId());
    const confirmation = { channel: CHANNEL, clientId: 'alice', id: ids[1]!, singles: [ids[3]!] };
    for (let i = 0; i < 2; i++) await confirmInboxes(link, [confirmation], BOUNDS);
    expect(replyOf(await resumeInbox(link, CHANNEL, 'alice', ids[4]!, BOUNDS))).toEqual({
      isComplete: true,
      confirmed: 2,
    });
    const order = [ids[0], ids[1], ids[3], ids[2], ids[4]];
    expect(await typesAndIds()).toEqual(order.map((id) => `push.confirmed ${id}`));
  });

  test('a backlog that is larger than one read has an event of each', async () => {
    const pushes = Array.from({ length: 600 }, () => pushOf());
    await storePushes(link, pushes, INBOX);
    const last = await storeId();
    const bounds = { ...BOUNDS, countMax: 1_000 };
    const all = [{ channel: CHANNEL, clientId: 'alice', id: last, singles: [] }];
    await confirmInboxes(link, all, bounds);
    const written = await events();
    expect(written).toHaveLength(601);
    expect(new Set(written.map(({ m }) => m)).size).toBe(601);
  });

  test('without bounds, nothing is written', async () => {
    const stored = await storePush(link, pushOf(), { ...INBOX, events: undefined });
    await confirmInbox(link, CHANNEL, 'alice', (replyOf(stored) as { id: string }).id);
    const keys = await link.commands.keys('*');
    expect(keys.filter((key) => /:(ev|due|on)$/.test(key))).toEqual([]);
  });

  test('one that is still unread when it is due has one event; one that is confirmed has none', async () => {
    const unread = await storeId({ clientId: 'bob', notifyUnreadAfterMs: 1 });
    const confirmed = await storeId({ notifyUnreadAfterMs: 1 });
    const single = await storeId({ clientId: 'carol', notifyUnreadAfterMs: 1 });
    const later = await storeId({ clientId: 'dave', notifyUnreadAfterMs: 60_000 });
    await confirmInbox(link, CHANNEL, 'alice', confirmed);
    await confirmInboxes(
      link,
      [{ channel: CHANNEL, clientId: 'carol', id: '', singles: [single] }],
      BOUNDS,
    );
    await eventually(async () => {
      expect(await findDue(link, ['ll:{1}', CHANNEL])).toEqual([1]);
    });
    for (let i = 0; i < 2; i++) await writeDue(link, CHANNEL, BOUNDS);
    expect(await typesAndIds()).toEqual([`push.confirmed ${single}`, `push.unread ${unread}`]);
    expect(await findDue(link, [CHANNEL])).toEqual([]);
    expect(await notedUnread()).toEqual([`${later} dave`]);
  });

  test('several stored with one script are noted each; a duplicate is not noted again', async () => {
    const pushes = [
      pushOf({ notifyUnreadAfterMs: 1_000, idempotencyKey: 'k' }),
      pushOf(),
      pushOf({ notifyUnreadAfterMs: 2_000, clientId: 'bob' }),
      pushOf({ notifyUnreadAfterMs: 3_000, idempotencyKey: 'k' }),
    ];
    const outcomes = (await storePushes(link, pushes, INBOX)).map(replyOf);
    expect(outcomes.map(({ type }) => type)).toEqual(['stored', 'stored', 'stored', 'duplicate']);
    expect((await notedUnread()).map((text) => text.split(' ')[1])).toEqual(['alice', 'bob']);
  });

  const writeDueNow = async () => {
    await eventually(async () => {
      expect(await findDue(link, [CHANNEL])).toEqual([0]);
    });
    await writeDue(link, CHANNEL, BOUNDS);
  };

  test('one that has expired has one event, also if another script notices it', async () => {
    const noticed = await storeId({ ttlMs: 1 });
    await writeDueNow();
    expect(await typesAndIds()).toEqual([`push.expired ${noticed}`]);
    // It has left the inbox meanwhile, or leaves it now.
    await storeId();
    const first = await storeId({ clientId: 'bob', ttlMs: 60_000 });
    const passed = await storeId({ clientId: 'bob', ttlMs: 1 });
    const last = await storeId({ clientId: 'bob', ttlMs: 60_000 });
    await eventually(async () => {
      expect(await findDue(link, [CHANNEL])).toEqual([0]);
    });
    const all = { channel: CHANNEL, clientId: 'bob', id: last, singles: [] };
    await confirmInboxes(link, [all], BOUNDS);
    await writeDue(link, CHANNEL, BOUNDS);
    expect((await typesAndIds()).slice(1)).toEqual([
      `push.confirmed ${first}`,
      `push.expired ${passed}`,
      `push.confirmed ${last}`,
    ]);
  });

  test('one that is dropped by a bound, replaced or skipped says why, and does not expire', async () => {
    const small = { ...INBOX, countMax: 1 };
    const stored = async (changes: Partial<StorePush> = {}) =>
      (replyOf(await storePush(link, pushOf(changes), small)) as { id: string }).id;
    const collapse = { combination: { type: 'collapse', key: 'k' } as const };
    const [full, replaced] = [await stored(), await stored(collapse)];
    const skipped = await stored(collapse);
    for (let i = 0; i < 2; i++) await skipPush(link, CHANNEL, 'alice', skipped, BOUNDS);
    expect((await events()).map(({ t, m, r }) => `${t} ${m} ${r}`)).toEqual([
      `push.dropped ${full} inbox_full`,
      `push.dropped ${replaced} replaced`,
      `push.dropped ${skipped} skipped`,
    ]);
    expect(await link.commands.exists(`${CHANNEL}:due`)).toBe(0);
  });

  test('live-only pushes that were dropped have one event with their number', async () => {
    await writeDropped(link, CHANNEL, new Map([['alice', 17]]), BOUNDS);
    expect(await events()).toEqual([{ t: 'push.dropped', c: 'alice', r: 'slow', n: '17' }]);
  });

  test('those of a small group are noted, too', async () => {
    const { payload, contentType, envelope } = pushOf();
    const shards = [{ channel: CHANNEL, clientIds: ['alice', 'bob'] }];
    const messages = [{ envelope, shards }];
    const push = { payload, contentType, ttlMs: 1, idempotencyKey: '', messages };
    await storeTogether(link, push, INBOX);
    await writeDueNow();
    expect((await events()).map(({ t, c }) => `${t} ${c}`)).toEqual([
      'push.expired alice',
      'push.expired bob',
    ]);
  });
});

describe('combined pushes', () => {
  const collapse = { combination: { type: 'collapse', key: 'k' } as const };

  test('one that was replaced is not unread, the one that replaced it is', async () => {
    await storeId({ ...collapse, notifyUnreadAfterMs: 1 });
    const [replacing, other] = (
      await storePushes(
        link,
        [
          pushOf({ ...collapse, notifyUnreadAfterMs: 1 }),
          pushOf({ clientId: 'bob', notifyUnreadAfterMs: 2 }),
        ],
        INBOX,
      )
    ).map((outcome) => replyOf(outcome) as { id: string });
    await eventually(async () => {
      await writeDue(link, CHANNEL, BOUNDS);
      const unread = (await typesAndIds()).filter((text) => text.startsWith('push.unread'));
      expect(unread.sort()).toEqual(
        [`push.unread ${replacing!.id}`, `push.unread ${other!.id}`].sort(),
      );
    });
  });
});

describe('reading', () => {
  const read = async (after?: EventPosition, changes = {}) =>
    (await readEvents(link, { ...READ, ...changes }, [{ channel: CHANNEL, after }]))[0];

  async function write(count: number, bounds = BOUNDS): Promise<void> {
    for (let i = 0; i < count; i++) {
      const id = await storeId();
      await confirmInboxes(
        link,
        [{ channel: CHANNEL, clientId: 'alice', id, singles: [] }],
        bounds,
      );
    }
  }

  test('a group goes on after what it has acknowledged, and never back', async () => {
    await write(3);
    const first = (await read())!;
    expect([first.before.number, first.number, first.events.length]).toEqual([0, 1, 3]);
    const [a, b] = first.events.map(({ id }, i) => ({ id, number: i + 1 }));
    await ackEvents(link, CHANNEL, 'g', b!, 1_000);
    await ackEvents(link, CHANNEL, 'g', a!, 1_000);
    const next = (await read())!;
    expect([next.before, next.number, next.events]).toEqual([b, 3, [first.events[2]]]);
    const other = (await read(undefined, { group: 'other' }))!;
    expect(other.events).toHaveLength(3);
  });

  test('a shard without new events costs no answer, except for the first time', async () => {
    expect(await read()).toMatchObject({ before: { id: '0-0', number: 0 }, number: 1, events: [] });
    expect(await read({ id: '0-0', number: 0 })).toBeUndefined();
    await write(1);
    expect((await read({ id: '0-0', number: 0 }))!.events).toHaveLength(1);
  });

  test('what the bound has removed unread shows as a gap of the numbers', async () => {
    await write(2);
    const { events: two } = (await read())!;
    await ackEvents(link, CHANNEL, 'g', { id: two[1]!.id, number: 2 }, 1_000);
    await write(7, { ...BOUNDS, countMax: 3 });
    const later = (await read())!;
    expect([later.before.number, later.number, later.events.length]).toEqual([2, 7, 3]);
    // The same for a reader that was running, and in pages.
    const page = (await read({ id: two[1]!.id, number: 2 }, { countMax: 2 }))!;
    expect([page.number, page.events.length]).toEqual([7, 2]);
    const last = page.events[1]!;
    const rest = (await read({ id: last.id, number: 8 }, { countMax: 1 }))!;
    expect([rest.number, rest.events.length]).toEqual([9, 1]);
  });

  test('events that are too old are lost, also if nothing has removed them yet', async () => {
    await write(3);
    await eventually(async () => {
      expect((await read(undefined, { keepMs: 1 }))!.events).toEqual([]);
    });
    const found = (await read(undefined, { keepMs: 1 }))!;
    expect(found.number - 1).toBe(3);
    await ackEvents(link, CHANNEL, 'g', { id: '1-1', number: 1 }, 1_000);
    const known = (await read(undefined, { keepMs: 1 }))!;
    expect([known.before.number, known.number]).toEqual([1, 4]);
  });

  test('a group that begins in the middle has lost nothing', async () => {
    await write(5);
    const all = (await read())!.events;
    const found = (await read(undefined, { group: 'new', start: all[2]!.id }))!;
    expect([found.before.number, found.number, found.events.length]).toEqual([3, 4, 2]);
  });
});

describe('groups', () => {
  const renew = async (
    consumer: string,
    { instance = consumer, isJoin = true, releasable = [] as number[], group = 'g' } = {},
  ) => {
    const options = { leaseMs: 60_000, partitions: 8, releasable, start: 'now', isJoin };
    return replyOf(await renewMembership(link, { group, consumer, instance }, options));
  };
  const partitionsOf = (membership: Membership) =>
    membership.type === 'member' ? membership.partitions : [];

  test('consumers share the partitions, and give back what is over their share', async () => {
    expect(partitionsOf(await renew('a'))).toHaveLength(8);
    expect(partitionsOf(await renew('b'))).toEqual([]);
    const over = await renew('a', { isJoin: false });
    expect(over).toMatchObject({ over: 4 });
    const kept = await renew('a', { isJoin: false, releasable: [1, 3, 5, 7] });
    expect(kept).toMatchObject({ over: 0, partitions: [0, 2, 4, 6] });
    expect(partitionsOf(await renew('b', { isJoin: false }))).toEqual([1, 3, 5, 7]);
    await leaveGroup(link, { group: 'g', consumer: 'b', instance: 'b' });
    expect(partitionsOf(await renew('a', { isJoin: false }))).toHaveLength(8);
  });

  test('a consumer gives back no more than it has over, and the newest of a name counts', async () => {
    await renew('a');
    await renew('b');
    const kept = await renew('a', { isJoin: false, releasable: [0, 1, 2, 3, 4, 5] });
    expect(partitionsOf(kept)).toEqual([4, 5, 6, 7]);
    expect(partitionsOf(await renew('a', { instance: 'newer' }))).toEqual([4, 5, 6, 7]);
    expect(await renew('a', { isJoin: false })).toEqual({ type: 'replaced' });
    await leaveGroup(link, { group: 'g', consumer: 'a', instance: 'a' });
    expect((await renew('a', { isJoin: false, instance: 'newer' })).type).toBe('member');
  });

  test.each([
    ['the hash is evicted', () => link.commands.del(link.names.eventGroup('g'))],
    ['the start is damaged', () => link.commands.hset(link.names.eventGroup('g'), 'start', '1o-0')],
  ])('a group goes on from its first event when %s', async (_, damage) => {
    expect(await renew('a')).toMatchObject({ start: expect.stringMatching(/^\d+-0$/) });
    await damage();
    expect(await renew('a', { isJoin: false })).toMatchObject({ type: 'member', start: '0-0' });
    expect(partitionsOf(await renew('a', { isJoin: false }))).toHaveLength(8);
  });

  test('there is a maximum of groups', async () => {
    for (let i = 0; i < 32; i++) await renew('a', { group: `g${i}` });
    expect(await renew('a', { group: 'one-more' })).toEqual({ type: 'full' });
    expect((await renew('a', { group: 'g31' })).type).toBe('member');
  });
});

test('the trail of a client has its newest events, and says whether the shard has any', async () => {
  const trail = async (clientId: string, after = '') =>
    replyOf(await readClientTrail(link, CHANNEL, clientId, after));
  expect(await trail('alice')).toEqual({ areKept: false, newestId: '', events: [] });
  for (let i = 0; i < 60; i++) {
    await link.commands.xadd(`${CHANNEL}:ev`, '*', 't', 'push.confirmed', 'c', 'alice', 'm', i);
    await link.commands.xadd(`${CHANNEL}:ev`, '*', 't', 'client.connected', 'c', 'bob', 'e', 'e1');
  }
  const { areKept, newestId, events: found } = await trail('alice');
  expect(areKept).toBe(true);
  const numbers = found.map(({ fields }) => Number(fields.get('m')));
  expect(numbers).toEqual(Array.from({ length: 50 }, (_, i) => i + 10));
  expect(await trail('carol')).toEqual({ areKept: true, newestId, events: [] });
  // A later read has only what is new.
  expect(await trail('alice', newestId)).toEqual({ areKept: true, newestId, events: [] });
  const entry = ['t', 'push.confirmed', 'c', 'alice', 'm', '60'] as const;
  const id = await link.commands.xadd(`${CHANNEL}:ev`, '*', ...entry);
  const later = await trail('alice', newestId);
  expect(later.newestId).toBe(id);
  expect(later.events.map(({ fields }) => fields.get('m'))).toEqual(['60']);
});
