/**
 * The ledger in Redis: what became of the durable pushes of a shard, counted by the scripts that
 * store and remove them. Keys of a shard, in the slot of its tag:
 *
 *   ll:{tag}:led   hash: pushes that have left the inboxes of the shard, by cause (`CAUSES`) ·
 *                  `together` pushes that were stored beyond the numbers of the shard, because
 *                  pushes to several clients at once share one number · and what the audit notes
 *                  (audit.ts)
 *   ll:{tag}:wait  sorted set: the clients that have an inbox, by the Unix time in ms at which to
 *                  look for expired pushes in it
 *
 * What was accepted is `seq` and `together`, so storing a push costs nothing more, but for the one
 * that creates its inbox, which notes the client in `wait`.
 */

/** Why a push has left its inbox. */
export const CAUSES = ['confirmed', 'expired', 'evicted', 'collapsed', 'skipped'] as const;
export type Cause = (typeof CAUSES)[number];

/**
 * An inbox lives for longer than its pushes by this time, so that the audit can count those that
 * have expired. If there was none for so long, Redis removes them uncounted.
 */
export const UNCOUNTED_AFTER_MS = 10 * 60 * 1_000;

/** Lua helper: counts pushes that have left an inbox. A prefix has no braces. */
export const LUA_COUNT_LEFT = `
local function countLeft(inbox, cause, count)
  if count == 0 then return end
  local key = string.sub(inbox, 1, string.find(inbox, '}', 1, true)) .. ':led'
  redis.call('HINCRBY', key, cause, count == 1 and '1' or string.format('%d', count))
end
`;

export function ledgerKey(channel: string): string {
  return `${channel}:led`;
}
