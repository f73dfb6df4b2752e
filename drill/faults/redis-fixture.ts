/**
 * The Redis of a drill and its faults. It has an append-only file with `appendfsync always`: Redis
 * answers a push when it is on disk, so every accepted push must survive a SIGKILL, and a loss is a
 * bug of Longline. With `everysec` a SIGKILL loses nothing either as a rule, but Redis postpones
 * its write for up to two seconds while the disk is busy, and the drill would then report the disk.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { type LocalRedis, startRedis } from '../../cli/local/redis.js';
import { AcceptLevel } from '../../proto/gen/longline/v1/push.js';

export interface RedisFixture {
  /** Value of LONGLINE_REDIS_URL. */
  readonly url: string;
  /** Accept levels of durable pushes, each used equally often. */
  readonly acceptLevels: readonly AcceptLevel[];
  /** Makes Redis close the connections with this name. Resolves with their number. */
  killConnections(name: string): Promise<number>;
  stop(): Promise<void>;
}

/** Redis disconnects a subscriber that lags more than this behind. The default is 32 MB. */
export const SUBSCRIBER_LAG_BYTES_MAX = 1024 * 1024;

export function redisArgs(folder: string): string[] {
  const lag = `${SUBSCRIBER_LAG_BYTES_MAX}`;
  return [
    ...['--dir', folder, '--appendonly', 'yes', '--appendfsync', 'always'],
    ...['--client-output-buffer-limit', 'pubsub', lag, lag, '60'],
  ];
}

export class StandaloneRedis implements RedisFixture {
  readonly acceptLevels = [AcceptLevel.ACCEPT_LEVEL_ACCEPTED, AcceptLevel.ACCEPT_LEVEL_FSYNCED];
  readonly #folder: string;
  #redis: LocalRedis;

  private constructor(folder: string, redis: LocalRedis) {
    this.#folder = folder;
    this.#redis = redis;
  }

  /** @param parent folder of the data folder, which survives restarts */
  static async start(parent: string, onProgress: (line: string) => void): Promise<StandaloneRedis> {
    const folder = dataFolder(parent, 0);
    await mkdir(folder);
    return new StandaloneRedis(folder, await startRedis({ args: redisArgs(folder), onProgress }));
  }

  get url(): string {
    return this.#redis.url;
  }

  kill(): Promise<void> {
    return this.#redis.kill('SIGKILL');
  }

  /** Starts it from its append-only file, on the same port. */
  async startAgain(): Promise<void> {
    const { port } = this.#redis;
    this.#redis = await startRedis({ port, args: redisArgs(this.#folder) });
  }

  killConnections(name: string): Promise<number> {
    return killConnectionsAt(this.#redis.port, name);
  }

  stop(): Promise<void> {
    return this.#redis.stop();
  }
}

/** Makes the server at this port close the connections with this name. */
export async function killConnectionsAt(port: number, name: string): Promise<number> {
  const redis = await connectTo(port);
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

/** Opens a connection that is not reopened when it is lost. */
export async function connectTo(port: number): Promise<Redis> {
  const redis = new Redis(port, '127.0.0.1', { retryStrategy: () => null, lazyConnect: true });
  // Its commands reject with the same error.
  redis.on('error', () => {});
  await redis.connect();
  return redis;
}

/** Data folder of the i-th server. */
export function dataFolder(parent: string, i: number): string {
  return join(parent, `redis-${i}`);
}
