/** Reads the stored pushes of a client, and whether any are missing. Confirms nothing. */
import type { Outcome } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';
import type { Appended } from '../../wire/push-envelope.js';
import { ackKey, HISTORY_MS, inboxKey, LUA_COMMON, MARK_AGE_MS, markKey } from '../inbox.js';
import { isIntactEntry } from './checksums.js';
import { LOSS_MS } from './lost-history.js';

/** Index of the value of the field `a`. */
const PART_AT = 11;
/** Maximum payload bytes of the further parts of a message that are read at once. */
const PART_BYTES_MAX = 64 * 1024;

/**
 * Reads a part of an inbox, and the newest push that is missing.
 *
 * The history after an id that was sent is proven if Redis still knows the id: as an entry, or by
 * the ack hash. Both are gone when no push was stored for a day, or when Redis has lost them. A
 * start without an id proves nothing once the shard has lost pushes.
 *
 * If the last entry is a part of a growing message, the parts that follow it are read as well, so
 * that they can be delivered as one.
 *
 * Input:  KEYS inbox, ack, mark; ARGV id after which to read or '', count, history in ms, age of a
 *         new mark in ms, how long a mark counts in ms, 1 if the client learns of losses now,
 *         count with the further parts
 * Output: {entries, gone, Unix ms by the clock of Redis, with which the expiry is compared, 1 if
 *         the history after the id is proven}
 */
const READ = new Script(`${LUA_COMMON}
local inbox, ack, after = KEYS[1], KEYS[2], ARGV[1]
local now = nowMs()
local known = redis.call('HMGET', ack, 'last', 'acked', 'gone', 'apart', 'replaced')
local last, acked, gone, apart, replaced = known[1], known[2], known[3], known[4], known[5]
if redis.call('EXISTS', inbox) == 0 then gone = last end
local mark = readMark(KEYS[3])
local function isProven()
  if after ~= '' then
    if after == last or after == gone or after == apart or after == mark then return true end
    if acked and not isBefore(acked, after) then return true end
    if isReplaced(replaced, after) then return true end
    if redis.call('XRANGE', inbox, after, after)[1] then return true end
    if last or now - parse(after) < tonumber(ARGV[3]) then return false end
  end
  return not mark or now - parse(mark) - ARGV[4] > tonumber(ARGV[5])
end
if ARGV[6] == '1' and last then
  local untold = untoldMark(ack, KEYS[3], '0-0')
  if untold then redis.pcall('HSET', ack, 'told', untold) end
end
local from = after == '' and '-' or '(' .. after
local entries = redis.call('XRANGE', inbox, from, '+', 'COUNT', ARGV[2])
local function messageOf(entry)
  return string.match(entry[2][12] or '', '^%d+ .(.*)$')
end
if #entries == tonumber(ARGV[2]) then
  local last, countMax, bytes = entries[#entries], tonumber(ARGV[7]), 0
  local message = messageOf(last)
  while message and #entries < countMax and bytes < ${PART_BYTES_MAX} do
    -- One at a time: the next one may be another push, of any size.
    last = redis.call('XRANGE', inbox, '(' .. last[1], '+', 'COUNT', 1)[1]
    if not last or messageOf(last) ~= message then break end
    entries[#entries + 1] = last
    bytes = bytes + #last[2][2]
  end
end
return {entries, gone or '', now, isProven() and 1 or 0}`);

/** A stored push. */
export interface InboxEntry {
  readonly id: string;
  readonly payload: Buffer;
  /** Empty: none. */
  readonly contentType: string;
  /** Rest of its TTL in milliseconds; 0 or less: expired, and must not be delivered. */
  readonly ttlMs: number;
  /** Its checksum is wrong: it must not be delivered. */
  readonly isCorrupt: boolean;
  readonly appended?: Appended | undefined;
}

/** A part of an inbox and the newest push missing from it, read atomically. */
export interface InboxPage {
  /** Oldest first. */
  readonly entries: readonly InboxEntry[];
  /** The newest id that left the inbox unconfirmed; '': none. No later push is missing. */
  readonly gone: string;
  /** Time of the read by the clock of Redis, Unix ms. */
  readonly redisMs: number;
  /** False: Redis may have lost pushes after the id, without a trace in this inbox. */
  readonly isProven: boolean;
}

type Reply = [entries: [Buffer, Buffer[]][], gone: Buffer, redisMs: number, isProven: number];

/**
 * Reads up to `countMax` entries after the id `after`; '': from the oldest.
 * @param isTold the client receives a `reset` before these entries
 * @param partsMax with further parts of the message at the end, up to this number of entries
 */
export function readInbox(
  link: ScriptLink,
  channel: string,
  clientId: string,
  after: string,
  countMax: number,
  isTold = false,
  partsMax = 0,
): Promise<Outcome<InboxPage>> {
  const keys = [inboxKey(channel, clientId), ackKey(channel, clientId), markKey(channel)];
  const args = [after, countMax, HISTORY_MS, MARK_AGE_MS, LOSS_MS, isTold ? 1 : 0, partsMax];
  return READ.run(link, keys, args, 'bytes', (reply: Reply) => readPage(clientId, reply));
}

function readPage(clientId: string, [entries, gone, redisMs, isProven]: Reply): InboxPage {
  const parsed = entries.map(([id, fields]) => {
    const [, payload, , expiresAtMs, , , , contentType] = fields;
    const part = fields[PART_AT]?.toString();
    return {
      id: id.toString(),
      payload: payload!,
      ...(part !== undefined && { appended: readPart(part) }),
      contentType: contentType?.toString('latin1') ?? '',
      ttlMs: Number(expiresAtMs) - redisMs,
      isCorrupt: !isIntactEntry(clientId, fields),
    };
  });
  return { entries: parsed, gone: gone.toString(), redisMs, isProven: isProven === 1 };
}

/** @param part the field `a` of an entry (inbox/combine.ts) */
function readPart(part: string): Appended {
  const space = part.indexOf(' ');
  return {
    to: part.slice(space + 2),
    offset: Number(part.slice(0, space)),
    isEnd: part[space + 1] === 'e',
  };
}
