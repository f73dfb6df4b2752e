/**
 * Whether Redis still knows pushes that edges have received. Of a shard, the newest is enough: what
 * Redis loses is the end of its history. The counter of the shard does not show a loss any more
 * when callers have repeated as many pushes meanwhile.
 */
import { ackKey, HISTORY_MS, inboxKey, LUA_COMMON } from '../inbox.js';
import { type CountersLink, indexesByMaster } from './shard-counters.js';

/**
 * A push is known while it is stored, and after it has left the inbox. The keys of a client expire
 * after a quiet day; before that, its inbox alone may.
 *
 * Input:  ARGV history in ms; inbox, ack and id of each push
 * Output: of each push: 1; 0 if Redis has lost it; -1 if this server does not have the slot, or the
 *         slot is moving
 */
const ARE_KNOWN = `#!lua flags=no-writes,allow-cross-slot-keys
${LUA_COMMON}
local now = nowMs()
local function isKnown(inbox, ack, id)
  if now - parse(id) > tonumber(ARGV[1]) then return 1 end
  local ids = redis.pcall('HMGET', ack, 'last', 'acked', 'gone', 'apart')
  local entries = redis.pcall('XRANGE', inbox, id, id)
  local exists = redis.pcall('EXISTS', inbox)
  if ids.err or entries.err or type(exists) == 'table' then return -1 end
  if entries[1] then return 1 end
  for i = exists == 0 and 1 or 2, 4 do
    if ids[i] and not isBefore(ids[i], id) then return 1 end
  end
  return 0
end
local known = {}
for i = 2, #ARGV, 3 do known[#known + 1] = isKnown(ARGV[i], ARGV[i + 1], ARGV[i + 2]) end
return known`;

/** A push of which an edge knows. */
export interface KnownPush {
  /** The channel of its shard. */
  readonly channel: string;
  readonly clientId: string;
  readonly id: string;
}

/** Resolves with whether Redis knows each of these pushes; undefined if it does not answer. */
export async function areKnownToRedis(
  link: CountersLink,
  pushes: readonly KnownPush[],
): Promise<(boolean | undefined)[]> {
  const channels = pushes.map(({ channel }) => channel);
  const known = new Array<boolean | undefined>(pushes.length);
  await Promise.all(
    [...indexesByMaster(link, channels)].map(async ([master, indexes]) => {
      const args = indexes.flatMap((i) => {
        const { channel, clientId, id } = pushes[i]!;
        return [inboxKey(channel, clientId), ackKey(channel, clientId), id];
      });
      const script = [ARE_KNOWN, 0, HISTORY_MS, ...args];
      const outcome = await link.executeOn<number[]>(master, 'eval', script);
      if (outcome?.type !== 'done') return;
      for (const [n, i] of indexes.entries()) {
        const reply = outcome.reply[n]!;
        known[i] = reply < 0 ? undefined : reply === 1;
      }
    }),
  );
  return known;
}
