/**
 * Keeps what is known of the floor of new ids (redis/identity/id-floor.ts) in Redis, for processes that
 * start later: `ll:id-floor`, a string, `<shownMs> <raisedMs>`. It goes when the clock of Redis has passed
 * both.
 */
import type { RedisLink } from '../../redis/redis-link.js';
import { Script, type ScriptLink } from '../../redis/script.js';

const INTERVAL_MS = 1_000;

/**
 * Input:  KEYS id-floor; ARGV shownMs, raisedMs
 * Output: 1
 */
const KEEP = new Script(`
local time = redis.call('TIME')
local shown, raised = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
shown, raised = math.max(shown or 0, ARGV[1]), math.max(raised or 0, ARGV[2])
local left = math.max(shown, raised) - time[1] * 1000 - math.floor(time[2] / 1000)
if left > 0 then
  redis.call('SET', KEYS[1], string.format('%d %d', shown, raised), 'PX', string.format('%d', left))
end
return 1`);

type Link = ScriptLink & Pick<RedisLink, 'names'>;

/** Reads what is kept once, and from then on keeps what this process knows, as long as it runs. */
export async function keepIdFloor(link: Link): Promise<void> {
  const { idFloor, names } = link;
  const read = await link.execute<string | null>('get', [names.idFloor]);
  if (read.type === 'done' && read.reply) {
    const [shownMs, raisedMs] = read.reply.split(' ').map(Number) as [number, number];
    idFloor.learn({ shownMs, raisedMs }, performance.now());
  }
  const keep = async () => {
    const nowMs = performance.now();
    if (!idFloor.isAboveClock(nowMs)) return;
    const { shownMs, raisedMs } = idFloor.known(nowMs);
    await KEEP.run(link, [names.idFloor], [shownMs, raisedMs], 'text', Number);
  };
  setInterval(() => void keep(), INTERVAL_MS).unref();
}
