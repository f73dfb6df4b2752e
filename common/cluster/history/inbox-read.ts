/** Reads the stored pushes of a client, and whether any are missing. Confirms nothing. */
import { type Outcome, outcomeOfError } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';
import type { Appended } from '../../wire/push-envelope.js';
import { ackKey, HISTORY_MS, inboxKey, LUA_COMMON, MARK_AGE_MS, markKey } from '../inbox.js';
import { isIntactEntry } from './checksums.js';
import { LOSS_MS } from './lost-history.js';

/** Index of the value of the field `a`. */
const PART_AT = 11;
/** Maximum payload bytes of the further parts of a message that are read at once. */
const PART_BYTES_MAX = 64 * 1024;
/** After so many payload bytes, a call leaves the other inboxes to the next one. */
const BYTES_MAX = 64 * 1024;

/**
 * Reads a part of each inbox, and the newest push that is missing from it.
 *
 * The history after an id that was sent is proven if Redis still knows the id: as an entry, or by
 * the ack hash. Both are gone when no push was stored for a day, or when Redis has lost them. A
 * start without an id proves nothing once the shard has lost pushes.
 *
 * If the last entry is a part of a growing message, the parts that follow it are read as well, so
 * that they can be delivered as one.
 *
 * Input:  for each inbox: KEYS inbox, ack, mark; ARGV id after which to read or '', count, 1 if
 *         the client learns of losses now, count with the further parts
 * Output: Unix ms by the clock of Redis, with which the expiry is compared, and for each inbox
 *         {entries, gone, 1 if the history after the id is proven}; 1 or 0 for one with neither
 *         entries nor a gone push, as most are; a text for an error. Without the last inboxes if
 *         the others have too many payload bytes
 */
const READ = new Script(`${LUA_COMMON}
local now, bytesRead = nowMs(), 0
local function isProven(inbox, after, known, mark)
  local last, acked, gone, apart, replaced = known[1], known[2], known[3], known[4], known[5]
  if after ~= '' then
    if after == last or after == gone or after == apart or after == mark then return true end
    if acked and not isBefore(acked, after) then return true end
    if isReplaced(replaced, after) then return true end
    if redis.call('XRANGE', inbox, after, after)[1] then return true end
    if last or now - parse(after) < ${HISTORY_MS} then return false end
  end
  return not mark or now - parse(mark) - ${MARK_AGE_MS} > ${LOSS_MS}
end
local function messageOf(entry)
  return string.match(entry[2][12] or '', '^%d+ .(.*)$')
end
local function addParts(inbox, entries, countMax)
  local last, bytes = entries[#entries], 0
  local message = messageOf(last)
  while message and #entries < countMax and bytes < ${PART_BYTES_MAX} do
    -- One at a time: the next one may be another push, of any size.
    last = redis.call('XRANGE', inbox, '(' .. last[1], '+', 'COUNT', 1)[1]
    if not last or messageOf(last) ~= message then break end
    entries[#entries + 1] = last
    bytes = bytes + #last[2][2]
  end
end
local function read(inbox, ack, markKey, after, count, isTold, countMax)
  local known = redis.call('HMGET', ack, 'last', 'acked', 'gone', 'apart', 'replaced')
  local last = known[1]
  -- The inbox has expired.
  if last and redis.call('EXISTS', inbox) == 0 then known[3] = last end
  if isTold == '1' and last then
    local untold = untoldMark(ack, markKey, '0-0')
    if untold then redis.pcall('HSET', ack, 'told', untold) end
  end
  local from = after == '' and '-' or '(' .. after
  local entries = redis.call('XRANGE', inbox, from, '+', 'COUNT', count)
  if #entries == tonumber(count) then addParts(inbox, entries, tonumber(countMax)) end
  for _, entry in ipairs(entries) do bytesRead = bytesRead + #entry[2][2] end
  local proven = isProven(inbox, after, known, readMark(markKey)) and 1 or 0
  if not entries[1] and not known[3] then return proven end
  return {entries, known[3] or '', proven}
end
local pages = {now}
for i = 0, #KEYS / 3 - 1 do
  if bytesRead > ${BYTES_MAX} then break end
  local key, arg = 3 * i, 4 * i
  local isDone, page = pcall(read, KEYS[key + 1], KEYS[key + 2], KEYS[key + 3],
    ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3], ARGV[arg + 4])
  -- Redis makes a text of the errors that pcall returns.
  pages[i + 2] = isDone and page or string.gsub(tostring(page), '%c', ' ')
end
return pages`);

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

export interface InboxRead {
  /** The channel of the client's shard. */
  readonly channel: string;
  readonly clientId: string;
  /** Entries after this id are read; '': from the oldest. */
  readonly after: string;
  /** Maximum number of entries. */
  readonly countMax: number;
  /** The client receives a `reset` before these entries. */
  readonly isTold: boolean;
  /** Maximum number with further parts of the message at the end. */
  readonly partsMax: number;
}

type Page = number | Buffer | [entries: [Buffer, Buffer[]][], gone: Buffer, isProven: number];
type Reply = [redisMs: number, ...pages: Page[]];

/**
 * Reads a part of each inbox with one script. Resolves with an outcome for each.
 * @param reads of one scope
 */
export async function readInboxes(
  link: ScriptLink,
  reads: readonly InboxRead[],
): Promise<readonly Outcome<InboxPage>[]> {
  const keys: string[] = [];
  const args: (string | number)[] = [];
  for (const { channel, clientId, after, countMax, isTold, partsMax } of reads) {
    keys.push(inboxKey(channel, clientId), ackKey(channel, clientId), markKey(channel));
    args.push(after, countMax, isTold ? 1 : 0, partsMax);
  }
  const outcome = await READ.run(link, keys, args, 'bytes', ([redisMs, ...pages]: Reply) =>
    pages.map((page, i) => outcomeOf(reads[i]!.clientId, page, redisMs)),
  );
  if (outcome.type !== 'done') return Array(reads.length).fill(outcome);
  const read = outcome.reply;
  return read.length < reads.length
    ? [...read, ...(await readInboxes(link, reads.slice(read.length)))]
    : read;
}

/** The same for one inbox. */
export async function readInbox(
  link: ScriptLink,
  channel: string,
  clientId: string,
  after: string,
  countMax: number,
  isTold = false,
  partsMax = 0,
): Promise<Outcome<InboxPage>> {
  const read = { channel, clientId, after, countMax, isTold, partsMax };
  return (await readInboxes(link, [read]))[0]!;
}

function outcomeOf(clientId: string, page: Page, redisMs: number): Outcome<InboxPage> {
  if (Buffer.isBuffer(page)) return outcomeOfError(page.toString(), true);
  if (typeof page === 'number') {
    return { type: 'done', reply: { entries: [], gone: '', redisMs, isProven: page === 1 } };
  }
  const [entries, gone, isProven] = page;
  const parsed = entries.map(([id, fields]) => readEntry(clientId, id, fields, redisMs));
  const reply = { entries: parsed, gone: gone.toString(), redisMs, isProven: isProven === 1 };
  return { type: 'done', reply };
}

function readEntry(clientId: string, id: Buffer, fields: Buffer[], redisMs: number): InboxEntry {
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
