/**
 * Groups of event consumers: who reads which shards. The shards are divided into partitions; each
 * partition of a group has one consumer at a time, by a lease that the consumer renews. One script
 * does everything, so that consumers need not know each other: each gets its equal share, and gives
 * back what is over it.
 *
 *   ll:{watch}           sorted set: the groups, by the Unix time in ms of their last renewal
 *   ll:{watch}:<group>   hash: `start` where the group begins, an id · `c:<consumer>` `<instance>
 *                        <Unix ms of the end of its lease>` · `p:<partition>` its consumer
 */
import type { Outcome } from '../../redis/execute.js';
import type { RedisLink } from '../../redis/redis-link.js';
import { Script, type ScriptLink } from '../../redis/script.js';

export const EVENT_GROUPS_MAX = 32;
/** A group that is not renewed for this time is forgotten. */
const IDLE_MS = 7 * 24 * 60 * 60 * 1000;

/**
 * Joins a group, or renews the lease.
 * Input:  KEYS groups, group; ARGV group, consumer, instance, '1' to join or replace an older
 *         instance, start ('now' or an id), ms of the lease, number of partitions, the partitions
 *         that can be given back
 * Output: 'full'; 'replaced'; or start, number of partitions over the share, its partitions
 */
const RENEW = new Script(`
local call, groups, key = redis.call, KEYS[1], KEYS[2]
local group, consumer, instance, isJoin, start, leaseMs, parts = unpack(ARGV)
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function text(number) return string.format('%d', number) end
call('ZREMRANGEBYSCORE', groups, '-inf', text(now - ${IDLE_MS}))
if not call('ZSCORE', groups, group) then
  if call('ZCARD', groups) >= ${EVENT_GROUPS_MAX} then return {'full'} end
  call('DEL', key)
  call('HSET', key, 'start', start == 'now' and text(now) .. '-0' or start)
end
call('ZADD', groups, text(now), group)
-- Redis may have evicted or lost the hash of a group that it knows: better an event again than
-- none.
if not string.match(call('HGET', key, 'start') or '', '^%d+%-%d+$') then
  call('HSET', key, 'start', start == 'now' and '0-0' or start)
end
local mine = call('HGET', key, 'c:' .. consumer)
if mine and isJoin ~= '1' and string.match(mine, '^%S+') ~= instance then return {'replaced'} end
call('HSET', key, 'c:' .. consumer, instance .. ' ' .. text(now + leaseMs))
call('PEXPIRE', key, ${IDLE_MS})
local all, lives, count, owners = call('HGETALL', key), {}, 0, {}
for i = 1, #all, 2 do
  local kind, name = string.match(all[i], '^(.):(.*)$')
  if kind == 'c' then
    if tonumber(string.match(all[i + 1], '%d+$')) > now then
      lives[name], count = true, count + 1
    else call('HDEL', key, all[i]) end
  elseif kind == 'p' then owners[name] = all[i + 1] end
end
local share, owned = math.ceil(parts / count), 0
for _, owner in pairs(owners) do
  if owner == consumer then owned = owned + 1 end
end
for i = 8, #ARGV do
  if owned > share and owners[ARGV[i]] == consumer then
    call('HDEL', key, 'p:' .. ARGV[i])
    owners[ARGV[i]], owned = 'none', owned - 1
  end
end
local found = {}
for part = 0, parts - 1 do
  local name = text(part)
  local owner = owners[name]
  if owner ~= consumer and owner ~= 'none' and not lives[owner] and owned < share then
    call('HSET', key, 'p:' .. name, consumer)
    owner, owned = consumer, owned + 1
  end
  if owner == consumer then found[#found + 1] = part end
end
return {'ok', call('HGET', key, 'start'), math.max(0, owned - share), found}`);

/**
 * Leaves a group: others can take the partitions at once.
 * Input:  KEYS group; ARGV consumer, instance
 * Output: 1
 */
const LEAVE = new Script(`
local mine = redis.call('HGET', KEYS[1], 'c:' .. ARGV[1])
if mine and string.match(mine, '^%S+') == ARGV[2] then redis.call('HDEL', KEYS[1], 'c:' .. ARGV[1]) end
return 1`);

type Link = ScriptLink & Pick<RedisLink, 'names'>;

export interface GroupMember {
  readonly group: string;
  readonly consumer: string;
  /** Unique: tells two consumers of one name apart. */
  readonly instance: string;
}

export type Membership =
  | { readonly type: 'full' }
  /** A newer consumer has the same name. */
  | { readonly type: 'replaced' }
  | {
      readonly type: 'member';
      /** Where the group begins: an id. */
      readonly start: string;
      /** Partitions to give back. */
      readonly over: number;
      readonly partitions: readonly number[];
    };

export interface RenewOptions {
  readonly leaseMs: number;
  readonly partitions: number;
  /** Partitions that can be given back. */
  readonly releasable: readonly number[];
  /** Where a new group begins: `now`, or an id. */
  readonly start: string;
  /** Whether an older consumer of the same name is replaced. */
  readonly isJoin: boolean;
}

type Reply = ['full'] | ['replaced'] | ['ok', string, number, number[]];

export function renewMembership(
  link: Link,
  { group, consumer, instance }: GroupMember,
  { leaseMs, partitions, releasable, start, isJoin }: RenewOptions,
): Promise<Outcome<Membership>> {
  const { names } = link;
  const joining = [isJoin ? 1 : 0, start];
  const args = [group, consumer, instance, ...joining, leaseMs, partitions, ...releasable];
  const keys = [names.eventGroups, names.eventGroup(group)];
  return RENEW.run(link, keys, args, 'text', (reply: Reply): Membership => {
    if (reply[0] !== 'ok') return { type: reply[0] };
    return { type: 'member', start: reply[1], over: reply[2], partitions: reply[3] };
  });
}

export function leaveGroup(
  link: Link,
  { group, consumer, instance }: GroupMember,
): Promise<Outcome<number>> {
  const keys = [link.names.eventGroup(group)];
  return LEAVE.run(link, keys, [consumer, instance], 'text', Number);
}
