/** A Redis of its own for one test file, with a link to it. */
import { afterAll, beforeAll, beforeEach } from '@jest/globals';
import { pino } from 'pino';
import { Metrics } from '../../../common/process/metrics.js';
import type { Outcome } from '../../../common/redis/execute.js';
import { openRedis, type RedisLink } from '../../../common/redis/redis-link.js';
import { startRedis, type TestRedis } from './redis.js';

export interface LinkedRedis {
  readonly redis: TestRedis;
  readonly link: RedisLink;
  stop(): Promise<void>;
}

export async function startLinkedRedis(): Promise<LinkedRedis> {
  const redis = await startRedis();
  const log = pino({ level: 'silent' });
  const link = await openRedis({ urls: [redis.url], name: 'test', log, metrics: new Metrics() });
  return {
    redis,
    link,
    async stop() {
      await link.close();
      await redis.stop();
    },
  };
}

/** Starts the Redis before the tests of a file, and empties it before each of them. */
export function useRedis(onOpen: (link: RedisLink, redis: TestRedis) => void): void {
  let linked: LinkedRedis | undefined;

  beforeAll(async () => {
    linked = await startLinkedRedis();
    onOpen(linked.link, linked.redis);
  });

  beforeEach(async () => {
    await linked?.link.commands.flushall();
  });

  afterAll(() => linked?.stop());
}

/** @throws Error when the command did not run, or may not have */
export function replyOf<Reply>(outcome: Outcome<Reply>): Reply {
  if (outcome.type !== 'done') throw new Error(outcome.reason);
  return outcome.reply;
}
