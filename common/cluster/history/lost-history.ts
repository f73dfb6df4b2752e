/**
 * Marks of shards whose stored pushes Redis may have lost: it has evicted keys, or was emptied. The
 * keys of a client may be among them, so no key of the client proves that it had an inbox. The mark
 * has no TTL, so Redis evicts it only under `allkeys-*`, and then the next eviction writes it
 * again.
 *
 * `ll:{tag}:lost` is `<position> <cause>`. The position has the form of an id. It is the position
 * of every client of the shard that has no inbox since then: with it a device resumes, as long as
 * no more pushes are lost.
 */
import type { Outcome } from '../../redis/execute.js';
import { ID_FLOOR, Script, type ScriptLink } from '../../redis/script.js';
import { LUA_COMMON, MARK_AGE_MS, markKey } from '../inbox.js';

/** A device without a cursor learns of a loss for as long as a lost push could have lived. */
export const LOSS_MS = 30 * 24 * 60 * 60 * 1_000;

/**
 * Input:  KEYS mark; ARGV cause, age of a new mark in ms, ms since the loss was noticed
 * Output: 1; 0 if the shard has a mark with this cause already, or a mark that was written after
 *         the loss was noticed
 */
const MARK = new Script(`${LUA_COMMON}
local mark, now = redis.call('GET', KEYS[1]), nowMs()
-- Later pushes are newer than the mark, and earlier ones are not.
local newest = math.max(now, ${ID_FLOOR} - 1)
if mark then
  local writtenAt = parse(string.match(mark, '^%S*')) + ARGV[2]
  local isNewer = writtenAt > now - ARGV[3] and writtenAt <= now
  if isNewer or string.match(mark, ' (.*)$') == ARGV[1] then return 0 end
end
redis.call('SET', KEYS[1], string.format('%.0f-0 %s', newest - ARGV[2], ARGV[1]))
return 1`);

/**
 * @param cause equal for all processes that have noticed the same loss
 * @param noticedMsAgo a mark that was written since then covers this loss
 */
export function markLostHistory(
  link: ScriptLink,
  channel: string,
  cause: string,
  noticedMsAgo: number,
): Promise<Outcome<boolean>> {
  const args = [cause, MARK_AGE_MS, Math.floor(noticedMsAgo)];
  return MARK.run(link, [markKey(channel)], args, 'text', (written: number) => written === 1);
}
