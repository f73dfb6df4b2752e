/** Members of groups and the index of their shards, on a real Redis. */
import { describe, expect, test } from '@jest/globals';
import {
  clearShards,
  markShards,
  readGroupNames,
  readIndex,
} from '../../../../common/cluster/groups/group-index.js';
import {
  GROUPS_PER_MEMBER_MAX,
  joinGroup,
  leaveGroup,
  NO_VERSION,
  readGroupsOf,
  readMemberDevices,
  readMembers,
  versionKey,
} from '../../../../common/cluster/groups/members.js';
import { readShardValues } from '../../../../common/cluster/history/shard-counters.js';
import { noteDevices } from '../../../../common/cluster/presence/user-devices.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { replyOf, useRedis } from '../../../support/cluster/redis-link.js';

const [FIRST, SECOND, HOME] = ['ll:{7}', 'll:{11}', 'll:{13}'] as const;
// Characters that a pattern or a Redis Cluster might take for others.
const GROUP = 'room {7}:grp:%s';

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

const partsOf = (parts: Readonly<Record<string, readonly string[]>>) =>
  Object.entries(parts).map(([channel, members]) => ({ channel, members }));
const join = async (parts: Readonly<Record<string, readonly string[]>>, group = GROUP) =>
  replyOf(await joinGroup(link, group, partsOf(parts)));
const leave = async (parts: Readonly<Record<string, readonly string[]>>) =>
  replyOf(await leaveGroup(link, GROUP, partsOf(parts)));
const read = async (channels: readonly string[], after: string, countMax: number) => {
  const read = replyOf(await readMembers(link, GROUP, channels, after, countMax));
  return { lists: read.shards.map(({ members }) => members), after: read.after };
};
const versionOf = async (channel: string) => {
  const [value] = await readShardValues(link, [channel], versionKey);
  const { shards } = replyOf(await readMembers(link, GROUP, [channel], '', 10));
  expect(shards[0]!.version).toBe(value);
  return value;
};

describe('members', () => {
  test('join and leave once, and both keys follow', async () => {
    expect(await join({ [FIRST]: ['alice', 'bob/1'], [SECOND]: ['carol'] })).toEqual([
      ['1', '1'],
      ['1'],
    ]);
    expect(await join({ [FIRST]: ['alice', 'ben'] })).toEqual([['0', '1']]);
    expect(replyOf(await readGroupsOf(link, FIRST, 'bob/1'))).toEqual([GROUP]);
    expect(await leave({ [FIRST]: ['alice', 'stranger'], [SECOND]: ['carol'] })).toEqual([
      { count: 1, isEmpty: false },
      { count: 1, isEmpty: true },
    ]);
    expect(replyOf(await readGroupsOf(link, SECOND, 'carol'))).toEqual([]);
    expect((await link.commands.keys('*')).sort()).toEqual(
      [
        ...[`${FIRST}:grp:${GROUP}`, `${FIRST}:of:ben`, `${FIRST}:of:bob/1`],
        ...[`${FIRST}:members`, `${SECOND}:members`],
      ].sort(),
    );
  });

  test('are read in the order of their names, page by page over shards', async () => {
    await join({ [FIRST]: ['c', 'a', 'b/2', 'b/1'], [SECOND]: ['d'] });
    expect(await read([FIRST, SECOND], '', 10)).toEqual({
      lists: [['a', 'b/1', 'b/2', 'c'], ['d']],
      after: '',
    });
    expect(await read([FIRST, SECOND], '', 3)).toEqual({
      lists: [['a', 'b/1', 'b/2']],
      after: 'b/2',
    });
    // Also when the member after which it continues has left.
    await leave({ [FIRST]: ['b/2'] });
    expect(await read([FIRST, SECOND], 'b/2', 2)).toEqual({ lists: [['c'], ['d']], after: 'd' });
    expect(await read([SECOND], 'd', 2)).toEqual({ lists: [[]], after: '' });
  });

  test('have a maximum of groups, and join another one after leaving some', async () => {
    const all = Array.from({ length: GROUPS_PER_MEMBER_MAX - 1 }, (_, i) => `group-${i}`);
    await link.commands.sadd(`${FIRST}:of:alice`, ...all);
    expect(await join({ [FIRST]: ['alice'] }, 'last')).toEqual([['1']]);
    expect(await join({ [FIRST]: ['alice', 'bob'] })).toEqual([['f', '1']]);
    expect(await join({ [FIRST]: ['alice'] }, 'last')).toEqual([['0']]);
    expect((await read([FIRST], '', 10)).lists).toEqual([['bob']]);
  });

  test('that are users have their devices, others none', async () => {
    const devices = ['phone', 'tab/1'].map((device) => ({ user: 'alice', device }));
    await noteDevices(link, FIRST, devices, 3_600, Buffer.alloc(0));
    await join({ [FIRST]: ['alice', 'bob'], [SECOND]: ['carol/1'] });
    const parts = [
      { channel: FIRST, members: ['alice'], others: ['bob', 'stranger'] },
      { channel: SECOND, members: [], others: ['carol'] },
    ];
    const found = replyOf(await readMemberDevices(link, GROUP, parts, 5));
    expect(found.validForMs).toBeGreaterThan(3_500_000);
    expect(found.validForMs).toBeLessThanOrEqual(3_600_000);
    expect(found.lists.map((list) => list && [...list].sort())).toEqual([
      ['phone', 'tab/1'],
      [],
      undefined,
      undefined,
    ]);
    const one = replyOf(await readMemberDevices(link, GROUP, parts, 1));
    expect(one.lists[0]).toHaveLength(1);
    const none = replyOf(await readMemberDevices(link, GROUP, parts.slice(1), 5));
    expect(none.validForMs).toBe(Number.POSITIVE_INFINITY);
  });

  test('have a version that changes with each of them, and with each new device', async () => {
    const note = (user: string, device: string, keepS = 60) =>
      noteDevices(link, FIRST, [{ user, device }], keepS, Buffer.alloc(0));
    await note('alice', 'before');
    expect(await versionOf(FIRST)).toBe(NO_VERSION);
    const seen = [NO_VERSION];
    const changes = async (expected: boolean) => {
      const version = (await versionOf(FIRST))!;
      expect(!seen.includes(version)).toBe(expected);
      seen.push(version);
    };
    await join({ [FIRST]: ['alice'] });
    await changes(true);
    await join({ [FIRST]: ['alice'] });
    await leave({ [FIRST]: ['stranger'] });
    await note('alice', 'before');
    await changes(false);
    await note('alice', 'phone');
    await changes(true);
    await join({ [FIRST]: ['alice', 'bob'] }, 'another');
    await changes(true);
    await leave({ [FIRST]: ['alice'] });
    await changes(true);
    // A device that does not count any more is new when it comes back.
    await link.commands.zadd(`${FIRST}:dev:alice`, 1, 'phone');
    await note('alice', 'phone');
    await changes(true);
    expect(await versionOf(SECOND)).toBe(NO_VERSION);
  });
});

describe('the index of a group', () => {
  const mark = async (...shards: number[]) => replyOf(await markShards(link, HOME, GROUP, shards));
  const index = async () => replyOf(await readIndex(link, HOME, GROUP));
  const clear = async (version: number, ...shards: number[]) =>
    replyOf(await clearShards(link, HOME, GROUP, version, shards));
  const names = async (after = '') => replyOf(await readGroupNames(link, HOME, after, 10));

  test('has the shards that were marked, and the name while it has some', async () => {
    expect(await index()).toEqual({ version: 0, shards: [] });
    await mark(0, 7, 4_095);
    await mark(8);
    const { shards, version } = await index();
    expect(shards).toEqual([0, 7, 8, 4_095]);
    expect(await names()).toEqual([GROUP]);
    expect(await clear(version, 0, 7, 8)).toBe(1);
    expect((await index()).shards).toEqual([4_095]);
    expect(await clear(version, 4_095)).toBe(1);
    expect(await names()).toEqual([]);
    expect(await link.commands.dbsize()).toBe(0);
  });

  test('keeps a shard that was marked after its version was read', async () => {
    await mark(3);
    const { version } = await index();
    await mark(3);
    expect(await clear(version, 3)).toBe(0);
    expect((await index()).shards).toEqual([3]);
  });

  test('that was removed and made again has another version', async () => {
    await mark(3);
    const { version } = await index();
    await clear(version, 3);
    await mark(3);
    expect(await clear(version, 3)).toBe(0);
  });

  test('lists the names after one of them', async () => {
    for (const group of ['b', 'a', 'c']) await markShards(link, HOME, group, [1]);
    expect(await names()).toEqual(['a', 'b', 'c']);
    expect(await names('a')).toEqual(['b', 'c']);
  });
});
