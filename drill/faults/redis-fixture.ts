/**
 * The Redis of a drill and its faults. It has an append-only file with `appendfsync always`: Redis
 * answers a push when it is on disk, so every accepted push must survive a SIGKILL, and a loss is a
 * bug of Longline. With `everysec` a SIGKILL loses nothing either as a rule, but Redis postpones
 * its write for up to two seconds while the disk is busy, and the drill would then report the disk.
 */
import { mkdir, readdir } from 'node:fs/promises';
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

/** Beyond a limit of the file size, a write then fails; by default it ends the process. */
const SURVIVE_FILE_LIMIT = ['env', '--ignore-signal=XFSZ'];

export function redisArgs(folder: string): string[] {
  const lag = `${SUBSCRIBER_LAG_BYTES_MAX}`;
  return [
    ...['--dir', folder, '--appendonly', 'yes', '--appendfsync', 'always'],
    ...['--client-output-buffer-limit', 'pubsub', lag, lag, '60'],
    // Faults need to know which file Redis writes.
    ...['--auto-aof-rewrite-percentage', '0'],
  ];
}

export class StandaloneRedis implements RedisFixture {
  readonly acceptLevels = ['accepted', 'fsynced'] as const;
  readonly #place: RedisPlace;
  #redis: LocalRedis;

  private constructor(
    /** Its files, which survive a restart. */
    readonly folder: string,
    place: RedisPlace,
    redis: LocalRedis,
  ) {
    this.#place = place;
    this.#redis = redis;
  }

  static async start(options: RedisFixtureOptions): Promise<StandaloneRedis> {
    const { parent, place, onProgress } = options;
    const folder = dataFolder(parent, 0);
    await mkdir(folder);
    const redis = await startRedis({ args: redisArgs(folder), onProgress, ...atFirst(place) });
    return new StandaloneRedis(folder, place, redis);
  }

  get url(): string {
    return this.#redis.url;
  }

  kill(): Promise<void> {
    return this.#redis.kill('SIGKILL');
  }

  get pid(): number {
    return this.#redis.pid;
  }

  /** Resolves when the running process has exited, for any reason. */
  get exited(): Promise<void> {
    return this.#redis.exited;
  }

  /** Starts it from its append-only file, or empty without one, on the same port. */
  async startAgain(): Promise<void> {
    const { port } = this.#redis;
    await mkdir(this.folder, { recursive: true });
    const args = redisArgs(this.folder);
    this.#redis = await startRedis({ port, args, ...atFirst(this.#place) });
  }

  /** The file to which Redis appends. */
  async fileName(): Promise<string> {
    const folder = join(this.folder, 'appendonlydir');
    const files = (await readdir(folder)).filter((name) => name.endsWith('.incr.aof'));
    return join(folder, files.sort(byNumber).at(-1)!);
  }

  async configure(name: string, value: string): Promise<void> {
    await this.#call('CONFIG', 'SET', name, value);
  }

  async usedMemory(): Promise<number> {
    return Number(/^used_memory:(\d+)/m.exec(String(await this.#call('INFO', 'memory')))![1]);
  }

  killConnections(name: string): Promise<number> {
    return killConnectionsAt(this.#place.hostOf(0), this.#redis.port, name);
  }

  stop(): Promise<void> {
    return this.#redis.stop();
  }

  async #call(...[name, ...args]: string[]): Promise<unknown> {
    const redis = await connectTo(this.#place.hostOf(0), this.#redis.port);
    try {
      return await redis.call(name!, ...args);
    } finally {
      redis.disconnect();
    }
  }
}

/** Options of `startRedis` for the only server. */
function atFirst(place: RedisPlace) {
  const { host, command } = placed(place, 0);
  return { host, command: [...command, ...SURVIVE_FILE_LIMIT] };
}

/** Order of `appendonly.aof.<n>.incr.aof`. */
function byNumber(a: string, b: string): number {
  const numberIn = (name: string) => Number(/\.(\d+)\.incr/.exec(name)![1]);
  return numberIn(a) - numberIn(b);
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
