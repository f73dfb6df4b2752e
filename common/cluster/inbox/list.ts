/**
 * Lists the stored pushes of a client for operators, and reads the payload of one. Changes nothing.
 */
import type { Outcome } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';
import { inboxKey, LUA_COMMON } from '../inbox.js';

/** Redis reads payloads to measure them: after this many bytes a page ends. */
const PAGE_BYTES_MAX = 4 * 1024 * 1024;
const ENTRIES_PER_READ = 8;

/**
 * Input:  KEYS inbox; ARGV id after which to read or '', count
 * Output: {1 if there are more, and for each push: id, payload bytes, age in ms, rest of its TTL in
 *         ms, content type}
 */
const LIST = new Script(`${LUA_COMMON}
local from, count = ARGV[1] == '' and '-' or '(' .. ARGV[1], tonumber(ARGV[2])
local found, now, bytes = {0}, nowMs(), 0
repeat
  local entries = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', ${ENTRIES_PER_READ})
  for _, entry in ipairs(entries) do
    if count == 0 or bytes > ${PAGE_BYTES_MAX} then
      found[1] = 1
      return found
    end
    local id, fields = entry[1], entry[2]
    local idMs = parse(id)
    for _, value in ipairs({id, #fields[2], now - idMs, number(fields[4]) - now, fields[8] or ''}) do
      found[#found + 1] = value
    end
    from, count, bytes = '(' .. id, count - 1, bytes + #fields[2]
  end
until #entries < ${ENTRIES_PER_READ}
return found`);

/**
 * Input:  KEYS inbox; ARGV id, maximum of bytes
 * Output: {} if the inbox does not have it; else {payload bytes, the first of them, content type}
 */
const READ_PAYLOAD = new Script(`
local entry = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])[1]
if not entry then return {} end
local payload = entry[2][2]
return {#payload, string.sub(payload, 1, tonumber(ARGV[2])), entry[2][8] or ''}`);

export interface StoredPush {
  readonly messageId: string;
  readonly bytes: number;
  readonly ageMs: number;
  /** Rest of its TTL; 0 or less: it has expired. */
  readonly ttlMs: number;
  /** Empty: none. */
  readonly contentType: string;
}

export interface InboxPage {
  /** Oldest first. */
  readonly pushes: readonly StoredPush[];
  readonly hasMore: boolean;
}

export interface StoredPayload {
  readonly bytes: number;
  /** All of it, or its start. */
  readonly start: Buffer;
  readonly contentType: string;
}

/** @param after id of the last push of the page before; '' for the first page */
export function listInbox(
  link: ScriptLink,
  channel: string,
  clientId: string,
  after: string,
  countMax: number,
): Promise<Outcome<InboxPage>> {
  return LIST.run(link, [inboxKey(channel, clientId)], [after, countMax], 'text', readPage);
}

function readPage([more, ...values]: (string | number)[]): InboxPage {
  const pushes: StoredPush[] = [];
  for (let i = 0; i < values.length; i += 5) {
    const [messageId, bytes, ageMs, ttlMs, contentType] = values.slice(i, i + 5);
    pushes.push({
      messageId: String(messageId),
      bytes: Number(bytes),
      ageMs: Number(ageMs),
      ttlMs: Number(ttlMs),
      contentType: String(contentType),
    });
  }
  return { pushes, hasMore: more === 1 };
}

/** Resolves with undefined if the inbox does not have the push. */
export function readPayload(
  link: ScriptLink,
  channel: string,
  clientId: string,
  messageId: string,
  bytesMax: number,
): Promise<Outcome<StoredPayload | undefined>> {
  const keys = [inboxKey(channel, clientId)];
  return READ_PAYLOAD.run(link, keys, [messageId, bytesMax], 'bytes', (reply: StoredReply) => {
    if (reply.length === 0) return undefined;
    const [bytes, start, contentType] = reply;
    return { bytes, start, contentType: contentType.toString() };
  });
}

type StoredReply = [] | [number, Buffer, Buffer];
