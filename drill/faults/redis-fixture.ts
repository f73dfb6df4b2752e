/**
 * The Redis of a drill and its faults. It has an append-only file with `appendfsync always`: Redis
 * answers a push when it is on disk, so every accepted push must survive a SIGKILL, and a loss is a
 * bug of Longline. With `everysec` a SIGKILL loses nothing either as a rule, but Redis postpones
 * its write for up to two seconds while the disk is busy, and the drill would then report the disk.
 */
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { LOOPBACK } from '../../cli/local/ports.js';
import { type LocalRedis, startRedis } from '../../cli/local/redis.js';
import type { PushLevel } from '../history/history.js';
import { MovingName } from '../names/moving-name.js';

export interface RedisFixture {
  /** Value of LONGLINE_REDIS_URL. */
  readonly url: string;
  /** The name in the URL, if it has one. */
  readonly name?: MovingName;
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
  /** An address of the second server on which a port that the first one uses is free. */
  readonly standbyHost: string;
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
export const HERE: RedisPlace = {
  hostOf: () => LOOPBACK,
  standbyHost: '127.0.0.2',
  commandOf: () => [],
};

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

/** Name of a standalone Redis, known to the roles only. */
const NAME = 'redis.drill';
/** The second one exists only when the name moves. */
export const STANDALONE_SERVERS = 2;
const POLL_MS = 50;
/** By then, no role uses a former master; noticing takes up to 15 s. */
const LEFT_MS_MAX = 60_000;

export class StandaloneRedis implements RedisFixture {
  readonly acceptLevels = ['accepted', 'fsynced'] as const;
  /** Number of the current server, the first or the second one. */
  #current = 0;
  #redis: LocalRedis;

  private constructor(
    readonly name: MovingName,
    readonly options: RedisFixtureOptions,
    redis: LocalRedis,
  ) {
    this.#redis = redis;
  }

  static async start(options: RedisFixtureOptions): Promise<StandaloneRedis> {
    const { parent, place } = options;
    await mkdir(dataFolder(parent, 0));
    const args = redisArgs(dataFolder(parent, 0));
    const { onProgress } = options;
    const redis = await startRedis({ args, onProgress, ...standalonePlace(place, 0) });
    const name = await MovingName.create(NAME, place.hostOf(0), parent);
    return new StandaloneRedis(name, options, redis);
  }

  get url(): string {
    return `redis://${NAME}:${this.#redis.port}`;
  }

  /** Its files, which survive a restart. */
  get folder(): string {
    return dataFolder(this.options.parent, this.#current);
  }

  /** The current server, as `redisName` names it. */
  get server(): string {
    return redisName(this.#current);
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
    await mkdir(this.folder, { recursive: true });
    this.#redis = await this.#start(this.#current, redisArgs(this.folder));
  }

  /**
   * Starts a replica, promotes it and demotes its master, and moves the name. Resolves with a
   * function that stops the former master when no role uses it any more.
   */
  async moveName(): Promise<() => Promise<void>> {
    const { parent, place } = this.options;
    const { port } = this.#redis;
    const [former, formerServer] = [this.#current, this.#redis];
    const [formerHost, host] = [former, 1 - former].map((i) => standalonePlace(place, i).host);
    const folder = dataFolder(parent, 1 - former);
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder);
    const replication = ['--replicaof', `${formerHost} ${port}`, '--repl-diskless-sync-delay', '0'];
    const replica = await this.#start(1 - former, [...redisArgs(folder), ...replication]);
    // Until its append-only file is rewritten, a kill would lose what it has received.
    while (!(await isReplicaOnDisk(host!, port))) await sleep(POLL_MS);
    await callAt(host!, port, 'REPLICAOF', 'NO', 'ONE');
    await callAt(formerHost!, port, 'REPLICAOF', host!, `${port}`);
    [this.#current, this.#redis] = [1 - former, replica];
    await this.name.moveTo(host!);
    return async () => {
      await untilLeft(formerHost!, port);
      await formerServer.stop();
    };
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

  /** Whether the last write to its append-only file has succeeded. */
  async hasWritten(): Promise<boolean> {
    return String(await this.#call('INFO', 'persistence')).includes('aof_last_write_status:ok');
  }

  killConnections(name: string): Promise<number> {
    return killConnectionsAt(this.#host, this.#redis.port, name);
  }

  stop(): Promise<void> {
    return this.#redis.stop();
  }

  get #host(): string {
    return standalonePlace(this.options.place, this.#current).host;
  }

  #start(i: number, args: readonly string[]): Promise<LocalRedis> {
    return startRedis({ port: this.#redis.port, args, ...standalonePlace(this.options.place, i) });
  }

  #call(...command: readonly string[]): Promise<unknown> {
    return callAt(this.#host, this.#redis.port, ...command);
  }
}

async function isReplicaOnDisk(host: string, port: number): Promise<boolean> {
  const isUp = String(await callAt(host, port, 'INFO', 'replication')).includes('link_status:up');
  const disk = String(await callAt(host, port, 'INFO', 'persistence'));
  return isUp && disk.includes('rewrite_in_progress:0') && disk.includes('rewrite_scheduled:0');
}

/** Waits until a server that is a replica now has no connection of a role: these are named. */
async function untilLeft(host: string, port: number): Promise<void> {
  const deadlineMs = performance.now() + LEFT_MS_MAX;
  for (;;) {
    const names = String(await callAt(host, port, 'CLIENT', 'LIST')).match(/ name=\S+/g) ?? [];
    if (names.length === 0) return;
    if (performance.now() > deadlineMs) throw new Error(`a former master is still used:${names}`);
    await sleep(POLL_MS);
  }
}

async function callAt(
  host: string,
  port: number,
  ...[name, ...args]: readonly string[]
): Promise<unknown> {
  const redis = await connectTo(host, port);
  try {
    return await redis.call(name!, ...args);
  } finally {
    redis.disconnect();
  }
}

/** Options of `startRedis` for one of the two servers. */
function standalonePlace(place: RedisPlace, i: number) {
  const { command } = placed(place, i);
  const host = i === 0 ? place.hostOf(0) : place.standbyHost;
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
