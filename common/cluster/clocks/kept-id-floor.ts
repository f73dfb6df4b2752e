/**
 * Keeps the floor of new ids (redis/identity/id-floor.ts) in Redis, for processes that start later:
 * `ll:id-floor`, a string, Unix ms. It goes when the clock of Redis has passed it.
 */
import type { RedisLink } from '../../redis/redis-link.js';
import { Script } from '../../redis/script.js';

const INTERVAL_MS = 1_000;

/**
 * Input:  KEYS id-floor; ARGV floor
 * Output: 1
 */
const KEEP = new Script(`
local time = redis.call('TIME')
local left = ARGV[1] - time[1] * 1000 - math.floor(time[2] / 1000)
local kept = tonumber(redis.call('GET', KEYS[1])) or 0
if left > 0 and kept < tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', string.format('%d', left))
end
return 1`);

type Link = Pick<RedisLink, 'execute' | 'idFloor' | 'names'>;

/** Reads the kept floor once, and from then on keeps that of this process, as long as it runs. */
export async function keepIdFloor(link: Link): Promise<void> {
  const { idFloor, names } = link;
  const read = await link.execute<string | null>('get', [names.idFloor]);
  if (read.type === 'done' && read.reply) idFloor.raise(Number(read.reply), performance.now());
  const keep = async () => {
    const nowMs = performance.now();
    if (!idFloor.isAboveClock(nowMs)) return;
    await KEEP.run(link, [names.idFloor], [idFloor.at(nowMs)!], 'text', Number);
  };
  setInterval(() => void keep(), INTERVAL_MS).unref();
}
