/**
 * The Redis of a drill, and what can be done to it. It keeps an append-only file with
 * `appendfsync always`: a push is answered when it is on disk, so that whatever was accepted must
 * be there after a SIGKILL, and a loss is ours. With `everysec` a SIGKILL loses nothing either, as
 * a rule; but Redis postpones its write for up to two seconds while the disk is busy, and then the
 * drill would report the disk.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { type LocalRedis, startRedis } from '../../cli/local/redis.js';
import { AcceptLevel } from '../../proto/gen/longline/v1/push.js';

export interface Store {
  /** Value of LONGLINE_REDIS_URL. */
  readonly url: string;
  /** What durable pushes ask for, each of these as often as the others. */
  readonly acceptLevels: readonly AcceptLevel[];
  /** Has Redis close the connections of this name. Resolves with how many there were. */
  cutConnections(name: string): Promise<number>;
  stop(): Promise<void>;
}

/** A subscriber that lags more than this behind is cut by Redis. The default is 32 MB. */
export const SUBSCRIBER_LAG_BYTES_MAX = 1024 * 1024;

export function redisArgs(folder: string): string[] {
  const lag = `${SUBSCRIBER_LAG_BYTES_MAX}`;
  return [
    ...['--dir', folder, '--appendonly', 'yes', '--appendfsync', 'always'],
    ...['--client-output-buffer-limit', 'pubsub', lag, lag, '60'],
  ];
}

export class StandaloneStore implements Store {
  readonly acceptLevels = [AcceptLevel.ACCEPT_LEVEL_ACCEPTED, AcceptLevel.ACCEPT_LEVEL_FSYNCED];
  readonly #folder: string;
  #redis: LocalRedis;

  private constructor(folder: string, redis: LocalRedis) {
    this.#folder = folder;
    this.#redis = redis;
  }

  /** @param scratch a folder for its folder, which survives its restarts */
  static async start(scratch: string, say: (line: string) => void): Promise<StandaloneStore> {
    const folder = folderOf(scratch, 0);
    await mkdir(folder);
    return new StandaloneStore(folder, await startRedis({ args: redisArgs(folder), say }));
  }

  get url(): string {
    return this.#redis.url;
  }

  kill(): Promise<void> {
    return this.#redis.kill('SIGKILL');
  }

  /** From its append-only file, on the same port. */
  async startAgain(): Promise<void> {
    const { port } = this.#redis;
    this.#redis = await startRedis({ port, args: redisArgs(this.#folder) });
  }

  cutConnections(name: string): Promise<number> {
    return cutConnectionsAt(this.#redis.port, name);
  }

  stop(): Promise<void> {
    return this.#redis.stop();
  }
}

/** Has the server at this port close the connections of this name. */
export async function cutConnectionsAt(port: number, name: string): Promise<number> {
  const redis = await dial(port);
  try {
    const list = String(await redis.client('LIST'));
    const ids = list
      .split('\n')
      .filter((line) => line.includes(` name=${name} `))
      .map((line) => /\bid=(\d+)/.exec(line)![1]!);
    for (const id of ids) await redis.client('KILL', 'ID', id);
    return ids.length;
  } finally {
    redis.disconnect();
  }
}

/** A connection of our own that does not come back when it is lost. */
export async function dial(port: number): Promise<Redis> {
  const redis = new Redis(port, '127.0.0.1', { retryStrategy: () => null, lazyConnect: true });
  // What becomes of it, its commands tell.
  redis.on('error', () => {});
  await redis.connect();
  return redis;
}

/** Where a server of a store keeps its data. */
export function folderOf(scratch: string, server: number): string {
  return join(scratch, `redis-${server}`);
}
