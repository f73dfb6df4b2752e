/**
 * The Redis of a drill and its faults. It has an append-only file with `appendfsync always`: Redis
 * answers a push when it is on disk, so every accepted push must survive a SIGKILL, and a loss is a
 * bug of Longline. With `everysec` a SIGKILL loses nothing either as a rule, but Redis postpones
 * its write for up to two seconds while the disk is busy, and the drill would then report the disk.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { LOOPBACK } from '../../cli/local/ports.js';
import { type LocalRedis, startRedis } from '../../cli/local/redis.js';
import type { PushLevel } from '../history/history.js';

export interface RedisFixture {
  /** Value of LONGLINE_REDIS_URL. */
  readonly url: string;
  /** Accept levels of durable pushes, each used equally often. */
  readonly acceptLevels: readonly PushLevel[];
  /** Makes Redis close the connections with this name. Resolves with their number. */
  killConnections(name: string): Promise<number>;
  stop(): Promise<void>;
}

/** Where the servers of a fixture run. */
export interface RedisPlace {
  /** Listening address of the i-th server. */
  readonly hostOf: (i: number) => string;
  /** The command through which the i-th server is started. */
  readonly commandOf: (i: number) => readonly string[];
}

export interface RedisFixtureOptions {
  /** Folder of the data folders, which survive restarts. */
  readonly parent: string;
  readonly place: RedisPlace;
  readonly onProgress: (line: string) => void;
}

/** The loopback of this process' own network namespace. */
export const HERE: RedisPlace = { hostOf: () => LOOPBACK, commandOf: () => [] };

/** Name of the i-th server. */
export function redisName(i: number): string {
  return `redis-${i + 1}`;
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
  readonly acceptLevels = ['accepted', 'fsynced'] as const;
  readonly #folder: string;
  readonly #place: RedisPlace;
  #redis: LocalRedis;

  private constructor(folder: string, place: RedisPlace, redis: LocalRedis) {
    this.#folder = folder;
    this.#place = place;
    this.#redis = redis;
  }

  static async start(options: RedisFixtureOptions): Promise<StandaloneRedis> {
    const { parent, place, onProgress } = options;
    const folder = dataFolder(parent, 0);
    await mkdir(folder);
    const redis = await startRedis({ args: redisArgs(folder), onProgress, ...placed(place, 0) });
    return new StandaloneRedis(folder, place, redis);
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
    this.#redis = await startRedis({
      port,
      args: redisArgs(this.#folder),
      ...placed(this.#place, 0),
    });
  }

  killConnections(name: string): Promise<number> {
    return killConnectionsAt(this.#place.hostOf(0), this.#redis.port, name);
  }

  stop(): Promise<void> {
    return this.#redis.stop();
  }
}

/** Makes the server at this address close the connections with this name. */
export async function killConnectionsAt(host: string, port: number, name: string): Promise<number> {
  const redis = await connectTo(host, port);
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
export async function connectTo(host: string, port: number): Promise<Redis> {
  const redis = new Redis(port, host, { retryStrategy: () => null, lazyConnect: true });
  // Its commands reject with the same error.
  redis.on('error', () => {});
  await redis.connect();
  return redis;
}

/** Options of `startRedis` for the i-th server. */
export function placed({ hostOf, commandOf }: RedisPlace, i: number) {
  return { host: hostOf(i), command: commandOf(i) };
}

/** Data folder of the i-th server. */
export function dataFolder(parent: string, i: number): string {
  return join(parent, `redis-${i}`);
}
