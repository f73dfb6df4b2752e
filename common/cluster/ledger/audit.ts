/**
 * The audit of shards: removes expired pushes from the inboxes and counts what waits. One script
 * for each shard, so no push is on its way between two columns: what was accepted is what has left
 * and what waits, or a push is missing.
 */
import type { Outcome } from '../../redis/execute.js';
import { LUA_ITEMS, Script, type ScriptLink } from '../../redis/script.js';
import { luaKeep } from '../inbox/push.js';
import { counterKey, LUA_COMMON } from '../inbox.js';
import { CAUSES, type Cause, UNCOUNTED_AFTER_MS } from './left.js';

/**
 * Maximum expired pushes that one script removes, and an inbox in which it looks for them counts as
 * so many: some 3 µs each, for which it blocks Redis.
 */
const REMOVED_MAX = 150;
const INBOX_COST = 4;
/** Maximum inboxes of a shard whose pushes are counted, a microsecond or two each. */
export const COUNTED_MAX = 5_000;
/**
 * The time of an audit is noted only so often, because each write is a cost to replicas and disk.
 */
const NOTED_MS = UNCOUNTED_AFTER_MS / 2;

/**
 * `since` and `base` are set by the first audit. `base` has what the counters cannot explain then:
 * the pushes of versions without a ledger. When these leave, or are counted as waiting, more has
 * left than was accepted, and `base` falls. While processes of such a version run, it takes every
 * difference.
 *
 * Input:  KEYS: seq of each shard; ARGV: 1 while processes of a version without a ledger may run,
 *         else 0; a digit for each shard: 1 if it is known that it was never pushed to when the
 *         caller looked before; another one: 1 to count what waits
 * Output: a line for each shard: accepted, the causes in their order, waiting or -1 for not
 *         counted, missing, lost, base, since, inboxes, 0 if there was no time left to remove all
 *         that has expired, else 1
 */
const AUDIT = new Script(`local countMax, bytesMax = 1e15, 1e15
${LUA_ITEMS}${LUA_COMMON}${luaKeep(undefined)}
local left = ${REMOVED_MAX}
-- Removes what has expired. Returns when to look again; nil if the inbox has gone.
local function sweep(inbox, ack)
  local count, due = call('XLEN', inbox), nil
  if count > 0 then
    local known, gone = call('HMGET', ack, 'held', 'gone'), nil
    local held, floor, dropped = unpackState(known[1]), nil, nil
    held, floor, due, count, gone, dropped = makeRoom(inbox, ack, held, count, 0, left)
    left = left - dropped
    if gone and not (known[2] and isBefore(gone, known[2])) then call('HSET', ack, 'gone', gone) end
  end
  if due then return due end
  local restMs = call('PTTL', inbox) - ${UNCOUNTED_AFTER_MS}
  if restMs > 0 then return now + restMs end
  call('DEL', inbox)
end
-- Returns whether nothing has expired that could be removed at once.
local function sweepAll(channel)
  if left <= 0 then return false end
  local wait, isFull = channel .. ':wait', false
  local due = call('ZRANGE', wait, '-inf', format('%d', now), 'BYSCORE',
    'LIMIT', 0, math.ceil(left / ${INBOX_COST}))
  for _, client in ipairs(due) do
    left = left - ${INBOX_COST}
    local at = sweep(channel .. ':in:' .. client, channel .. ':ack:' .. client)
    local noted = at and redis.pcall('ZADD', wait, format('%d', at), client)
    if not at then call('ZREM', wait, client) end
    -- A Redis that is full rejects it: then the next audit looks again.
    if type(noted) == 'table' then isFull = true end
    if left <= 0 then break end
  end
  return left > 0 or isFull
end
local function countWaiting(channel)
  local waiting = 0
  for _, client in ipairs(call('ZRANGE', channel .. ':wait', 0, -1)) do
    waiting = waiting + call('XLEN', channel .. ':in:' .. client)
  end
  return waiting
end
local function audit(seq, wasEmpty, isCounted)
  local channel = string.sub(seq, 1, -5)
  local ledger = channel .. ':led'
  local isSwept = sweepAll(channel) and 1 or 0
  local inboxes, waiting = call('ZCARD', channel .. ':wait'), -1
  if isCounted and inboxes <= ${COUNTED_MAX} then waiting = countWaiting(channel) end
  local read = call('HMGET', ledger, ${CAUSES.map((cause) => `'${cause}'`).join(', ')},
    'missing', 'base', 'lost', 'together', 'since', 'at')
  local n = ${CAUSES.length}
  local accepted, known = number(call('GET', seq)) + number(read[n + 4]), 0
  -- A shard that was never pushed to gets no key.
  if accepted == 0 and not read[n + 5] then return string.rep('0 ', n + 7) .. '1' end
  for i = 1, n + 2 do known = known + number(read[i]) end
  local missing, base, since, at = number(read[n + 1]), number(read[n + 2]), read[n + 5], number(read[n + 6])
  local difference = waiting < 0 and 0 or accepted - known - waiting
  if not since then
    since, at, base = now, now, wasEmpty and 0 or difference
    difference = difference - base
    local text = format('%d', now)
    call('HSET', ledger, 'since', text, 'at', text, 'base', format('%d', base))
  end
  if ARGV[1] == '1' and difference ~= 0 then
    base = call('HINCRBY', ledger, 'base', format('%d', difference))
  elseif difference > 0 and now - at > ${UNCOUNTED_AFTER_MS} then
    read[2] = format('%d', call('HINCRBY', ledger, 'expired', format('%d', difference)))
  elseif difference ~= 0 then
    local old = math.min(base, math.max(0, -difference))
    if old > 0 then base = call('HINCRBY', ledger, 'base', format('%d', -old)) end
    if difference + old ~= 0 then
      missing = call('HINCRBY', ledger, 'missing', format('%d', difference + old))
    end
  end
  if now - at > ${NOTED_MS} then call('HSET', ledger, 'at', format('%d', now)) end
  local line = format('%d', accepted - base)
  for i = 1, n do line = line .. ' ' .. format('%d', number(read[i])) end
  return line .. format(' %d %d %d %d %d %d %d', waiting, missing, number(read[n + 3]), base, since,
    inboxes, isSwept)
end
return each(#KEYS, function(i)
  return audit(KEYS[i], string.byte(ARGV[2], i) == 49, string.byte(ARGV[3], i) == 49)
end)`);

/** Durable pushes of one shard since its first audit. */
export interface ShardAudit extends Readonly<Record<Cause, number>> {
  /** Stored pushes, without those of `base`. */
  readonly accepted: number;
  /** Undefined: it was not counted, or the shard has too many inboxes for it. */
  readonly waiting: number | undefined;
  /** Pushes that are in no column; negative: pushes in two. */
  readonly missing: number;
  /** Pushes that routers had stored and Redis does not know any more. */
  readonly lost: number;
  /** Pushes from before the first audit that have not left yet. */
  readonly base: number;
  /** Time of the first audit, Unix ms by the clock of Redis. 0: the shard was never pushed to. */
  readonly sinceMs: number;
  readonly inboxes: number;
}

export interface AuditReply extends ShardAudit {
  /** False: to be audited again at once, because pushes that have expired are left. */
  readonly isSwept: boolean;
}

/**
 * @param channels of one scope
 * @param wereEmpty at an earlier audit of the caller: nothing is from before the first one
 * @param areCounted whether to count what waits
 * @param isMixed processes of a version without a ledger may run
 */
export function auditShards(
  link: ScriptLink,
  channels: readonly string[],
  wereEmpty: readonly boolean[],
  areCounted: readonly boolean[],
  isMixed: boolean,
): Promise<readonly Outcome<AuditReply>[]> {
  const digits = [wereEmpty, areCounted].map((each) => each.map(Number).join(''));
  const args = [isMixed ? 1 : 0, ...digits];
  return AUDIT.runEach(link, channels.length, channels.map(counterKey), args, readAudit);
}

function readAudit(line: string): AuditReply {
  const [
    accepted,
    confirmed,
    expired,
    evicted,
    collapsed,
    skipped,
    waiting,
    missing,
    lost,
    base,
    since,
    inboxes,
    isSwept,
  ] = line.split(' ').map(Number) as number[];
  return {
    accepted: accepted!,
    confirmed: confirmed!,
    expired: expired!,
    evicted: evicted!,
    collapsed: collapsed!,
    skipped: skipped!,
    waiting: waiting! < 0 ? undefined : waiting!,
    missing: missing!,
    lost: lost!,
    base: base!,
    sinceMs: since!,
    inboxes: inboxes!,
    isSwept: isSwept === 1,
  };
}
