/**
 * Lets all processes have the same floor of new ids (redis/identity/id-floor.ts), and those that
 * start later too. An inbox that was evicted begins again at the floor: if that of one router were
 * below that of another, the inbox could get lower ids than before. What they know is in Redis,
 * `ll:id-floor`: a string, `<shownMs> <raisedMs> <time at which it was written>`, Unix ms by the
 * clock of Redis. It goes when that clock has passed the first two.
 */
import type { KnownFloor } from '../../redis/identity/id-floor.js';
import type { RedisLink } from '../../redis/redis-link.js';
import { Script, type ScriptLink } from '../../redis/script.js';

/** While the floor is above the clock of Redis. */
const INTERVAL_MS = 1_000;
/** Every so many intervals otherwise: other processes may have seen more than this one. */
const IDLE_INTERVALS = 5;

/**
 * Longest time by which what was written is carried on: an outage of Redis. A clock that is set
 * forward cannot add more to the latest time that was shown.
 */
const PASSED_MS_MAX = 60_000;

/**
 * Input:  KEYS id-floor; ARGV shownMs, raisedMs of this process
 * Output: `<shownMs> <raisedMs> <time of Redis>` of all processes; empty if the clock has passed
 * both
 */
const SHARE = new Script(`
local time = redis.call('TIME')
local nowMs = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = redis.call('GET', KEYS[1]) or ''
local shown, raised, atMs = string.match(kept, '^(%d+) (%d+) (%d+)$')
local passed = nowMs - (atMs or nowMs)
if passed < 0 or passed > ${PASSED_MS_MAX} then passed = 0 end
shown = math.max((shown or 0) + passed, ARGV[1])
raised = math.max(raised or 0, ARGV[2])
local left = math.max(shown, raised) - nowMs
if left <= 0 then return '' end
kept = string.format('%d %d %d', shown, raised, nowMs)
redis.call('SET', KEYS[1], kept, 'PX', string.format('%d', left))
return kept`);

type Link = ScriptLink & Pick<RedisLink, 'names'>;

/** Exchanges what is known, as long as this process runs. Resolves after the first time. */
export async function shareIdFloor(link: Link): Promise<void> {
  let intervals = 0;
  setInterval(() => {
    const isDue = ++intervals % IDLE_INTERVALS === 0;
    if (isDue || link.idFloor.isAboveClock(performance.now())) void exchange(link);
  }, INTERVAL_MS).unref();
  await exchange(link);
}

/** While Redis is unavailable or has no memory left, nothing is exchanged. */
async function exchange(link: Link): Promise<void> {
  const { idFloor, names } = link;
  const { shownMs, raisedMs } = idFloor.known(performance.now());
  const args = [Math.max(shownMs, 0), raisedMs];
  const outcome = await SHARE.run(link, [names.idFloor], args, 'text', readKnown);
  if (outcome.type === 'done' && outcome.reply) idFloor.learn(outcome.reply, performance.now());
}

function readKnown(reply: string): KnownFloor | undefined {
  if (reply === '') return undefined;
  const [shownMs, raisedMs] = reply.split(' ').map(Number) as [number, number];
  return { shownMs, raisedMs };
}
