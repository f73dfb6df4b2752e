/**
 * The members of a group, beside their inboxes, in the slot of their own shard:
 *
 *   ll:{tag}:grp:<group>    sorted set: the members of this shard, all with the score 0, so that
 *                           they are in the order of their names. A group of a million is 4,096 of
 *                           these
 *   ll:{tag}:of:<member>    set: the groups of the member
 *   ll:{tag}:members        string: a version of all groups of this shard
 *
 * A member is a clientId or a user. One script changes all of these. The version changes with every
 * member that joins or leaves, and with every new device of a user (user-devices.ts). So a process
 * that has read the members of a group with their devices has only to read the version to know that
 * they are the same. It does not change when a device does not count any more.
 */
import { rejection } from '../../process/errors.js';
import type { Outcome } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';
import { type EventBounds, luaEvents, withAndWithout } from '../events/event-stream.js';
import { devicesKey, LUA_NEW_VERSION } from '../presence/user-devices.js';

/** Maximum number of groups of one member; more are rejected. */
export const GROUPS_PER_MEMBER_MAX = 1_000;
export const TOO_MANY_GROUPS = rejection(
  'MEMBER_GROUPS_TOO_MANY',
  `the member is in ${GROUPS_PER_MEMBER_MAX} groups, the maximum; let it leave some`,
);

/** Members that one call of a script changes or reads, a few microseconds each. */
export const MEMBERS_PER_CALL = 256;

/**
 * The version of a shard that has none: nothing that was read with it can be known to be the same.
 */
export const NO_VERSION = '0';

/** Lua helpers of the events `group.joined` and `group.left`. */
const luaGroupEvents = (bounds: EventBounds) => `${luaEvents(bounds)}
-- Of the set of a group, whose prefix has no braces.
local function channelOf(set) return string.match(set, '^.-{%d+}') end
`;

/** Calls `change(set, of, member)` for each member of each set, which returns a mark. */
const luaChange = (events: EventBounds | undefined) => `${LUA_NEW_VERSION}
local call, group, key, at, lines = redis.call, ARGV[1], 1, 2, {}
while key <= #KEYS do
  local set, version, marks = KEYS[key], KEYS[key + 1], {}
  for i = 1, ARGV[at] do marks[i] = change(call, group, set, KEYS[key + 1 + i], ARGV[at + i]) end
${events === undefined ? '' : '  keepEvents(channelOf(set))'}
  key, at = key + 2 + ARGV[at], at + 1 + ARGV[at]
  local line = table.concat(marks)
  if string.find(line, '1', 1, true) then call('SET', version, newVersion()) end
  lines[#lines + 1] = line .. (call('EXISTS', set) == 0 and 'e' or '')
end
return lines`;

/**
 * Input:  for each set: KEYS set, version, groups of each member; ARGV group, and then for each
 *         set: number of members, members
 * Output: for each set, a character for each member: 1 joined, 0 was a member, f has too many
 *         groups; and e if it is empty
 */
const JOIN = withAndWithout(
  (events) => `${events === undefined ? '' : luaGroupEvents(events)}
local function change(call, group, set, of, member)
  if call('ZSCORE', set, member) then return '0' end
  if call('SCARD', of) >= ${GROUPS_PER_MEMBER_MAX} then return 'f' end
  call('ZADD', set, 0, member)
  call('SADD', of, group)
${events === undefined ? '' : "  event(channelOf(set), 'group.joined', member, 'g', group)"}
  return '1'
end
${luaChange(events)}`,
);

/**
 * Input:  as above
 * Output: for each set, a character for each member: 1 left, 0 was no member; and e if it is empty
 *         now
 */
const LEAVE = withAndWithout(
  (events) => `${events === undefined ? '' : luaGroupEvents(events)}
local function change(call, group, set, of, member)
  if call('ZREM', set, member) == 0 then return '0' end
  call('SREM', of, group)
${events === undefined ? '' : "  event(channelOf(set), 'group.left', member, 'g', group)"}
  return '1'
end
${luaChange(events)}`,
);

/**
 * Reads members of several sets in turn, up to a number of them.
 * Input:  for each set: KEYS set, version; ARGV name after which the first set is read or '',
 *         maximum number of members
 * Output: the name after which the last list continues, or '' if it is complete; then a list for
 *         each set that was read, with the version at its end
 */
const READ = new Script(`
local from, left, lists = ARGV[1] == '' and '-' or '(' .. ARGV[1], tonumber(ARGV[2]), { '' }
for k = 1, #KEYS, 2 do
  local members = redis.call('ZRANGE', KEYS[k], from, '+', 'BYLEX', 'LIMIT', 0, left)
  from, left = '-', left - #members
  if left <= 0 then lists[1] = members[#members] end
  members[#members + 1] = redis.call('GET', KEYS[k + 1]) or '${NO_VERSION}'
  lists[#lists + 1] = members
  if left <= 0 then break end
end
return lists`);

/**
 * Reads the devices of users that are members.
 * Input:  for each set: KEYS set, devices of each user; ARGV maximum number of devices, and then
 *         for each set: number of users that are members, number of others, the others
 * Output: the time in ms until the first of the devices does not count any more, or -1; then a list
 *         of devices for each user; 0 for one of the others that is no member
 */
const DEVICES = new Script(`
local call, key, at, lists = redis.call, 1, 2, { -1 }
local time = call('TIME')
local function devicesOf(set)
  local devices = call('ZRANGE', set, '(' .. time[1], '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[1])
  if devices[1] then
    local left = (call('ZSCORE', set, devices[1]) - time[1]) * 1000 - time[2] / 1000
    if lists[1] < 0 or left < lists[1] then lists[1] = left end
  end
  return devices
end
while key <= #KEYS do
  local members, others = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  for i = 1, members + others do
    local isMember = i <= members or call('ZSCORE', KEYS[key], ARGV[at + 1 + i - members])
    lists[#lists + 1] = isMember and devicesOf(KEYS[key + i]) or 0
  end
  key, at = key + 1 + members + others, at + 2 + others
end
return lists`);

/** Members of one shard. */
export interface ShardMembers {
  /** The channel of the shard. */
  readonly channel: string;
  readonly members: readonly string[];
}

/** Result for one member: joined, was a member already, or is in too many groups. */
export type JoinMark = '1' | '0' | 'f';

/** @param parts of one scope. Resolves with a mark for each member of each part */
export function joinGroup(
  link: ScriptLink,
  group: string,
  parts: readonly ShardMembers[],
  events?: EventBounds,
): Promise<Outcome<readonly (readonly JoinMark[])[]>> {
  const parse = (lines: readonly string[]) => lines.map((line) => [...line] as JoinMark[]);
  return JOIN(events).run(link, keysOf(group, parts), argsOf(group, parts), 'text', parse);
}

export interface Left {
  readonly count: number;
  /** Whether the group has no members in this shard any more. */
  readonly isEmpty: boolean;
}

/** @param parts of one scope. Resolves with a result for each */
export function leaveGroup(
  link: ScriptLink,
  group: string,
  parts: readonly ShardMembers[],
  events?: EventBounds,
): Promise<Outcome<readonly Left[]>> {
  const parse = (lines: readonly string[]) =>
    lines.map((line) => ({ count: line.split('1').length - 1, isEmpty: line.endsWith('e') }));
  return LEAVE(events).run(link, keysOf(group, parts), argsOf(group, parts), 'text', parse);
}

export interface ReadMembers {
  /** For the shards that were read. */
  readonly shards: readonly { readonly members: readonly string[]; readonly version: string }[];
  /** The name after which the last list continues; '': it is complete. */
  readonly after: string;
}

/**
 * Reads members of shards, until there are `countMax`.
 * @param channels of one scope, not empty
 * @param after name after which the first shard is read; '': from the start
 */
export function readMembers(
  link: ScriptLink,
  group: string,
  channels: readonly string[],
  after: string,
  countMax: number,
): Promise<Outcome<ReadMembers>> {
  const keys = channels.flatMap((channel) => [setKey(channel, group), versionKey(channel)]);
  const parse = ([next, ...lists]: readonly [string, ...string[][]]) => ({
    shards: lists.map((list) => ({ version: list.pop()!, members: list })),
    after: next,
  });
  return READ.run(link, keys, [after, countMax], 'text', parse);
}

/** Users of one shard. */
export interface ShardUsers {
  /** The channel of the shard. */
  readonly channel: string;
  readonly members: readonly string[];
  /** Users of which it is not known whether they are members. */
  readonly others: readonly string[];
}

export interface MemberDevices {
  /**
   * For each part first those of its members; undefined for one of the others that is no member.
   */
  readonly lists: readonly (readonly string[] | undefined)[];
  /** Until the first of the devices does not count any more. */
  readonly validForMs: number;
}

/**
 * Reads up to `countMax` devices of users.
 * @param parts of one scope
 */
export function readMemberDevices(
  link: ScriptLink,
  group: string,
  parts: readonly ShardUsers[],
  countMax: number,
): Promise<Outcome<MemberDevices>> {
  const keys: string[] = [];
  const args: (string | number)[] = [countMax];
  for (const { channel, members, others } of parts) {
    keys.push(setKey(channel, group));
    for (const user of members) keys.push(devicesKey(channel, user));
    for (const user of others) keys.push(devicesKey(channel, user));
    args.push(members.length, others.length, ...others);
  }
  const parse = ([leftMs, ...lists]: readonly [number, ...(string[] | number)[]]) => ({
    lists: lists.map((list) => (typeof list === 'number' ? undefined : list)),
    validForMs: leftMs < 0 ? Number.POSITIVE_INFINITY : leftMs,
  });
  return DEVICES.run(link, keys, args, 'text', parse);
}

/** The groups of a member, in no particular order. */
export function readGroupsOf(
  link: ScriptLink,
  channel: string,
  member: string,
): Promise<Outcome<readonly string[]>> {
  return link.execute<string[]>('smembers', [groupsKey(channel, member)]);
}

function keysOf(group: string, parts: readonly ShardMembers[]): string[] {
  return parts.flatMap(({ channel, members }) => [
    setKey(channel, group),
    versionKey(channel),
    ...members.map((member) => groupsKey(channel, member)),
  ]);
}

function argsOf(group: string, parts: readonly ShardMembers[]): (string | number)[] {
  return [group, ...parts.flatMap(({ members }) => [members.length, ...members])];
}

function setKey(channel: string, group: string): string {
  return `${channel}:grp:${group}`;
}

/** The version of the members of all groups of a shard, and of the devices of their users. */
export function versionKey(channel: string): string {
  return `${channel}:members`;
}

function groupsKey(channel: string, member: string): string {
  return `${channel}:of:${member}`;
}
