/**
 * A Redis Cluster of three masters with one replica each, and its faults.
 *
 * The writes that a killed master has not replicated yet are lost. So by default, every durable
 * push requests to be accepted only after its replication.
 */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import keySlot from 'cluster-key-slot';
import { freeClusterPort } from '../../cli/local/ports.js';
import { type LocalRedis, startRedis } from '../../cli/local/redis.js';
import { Failure } from '../../cli/terminal/failure.js';
import type { PushLevel } from '../history/history.js';
import {
  connectTo,
  dataFolder,
  killConnectionsAt,
  placed,
  type RedisFixture,
  type RedisFixtureOptions,
  type RedisPlace,
  redisArgs,
} from './redis-fixture.js';

const run = promisify(execFile);

export const MASTERS = 3;
/** Each master has one replica. */
export const CLUSTER_NODES = 2 * MASTERS;
const NODE_TIMEOUT_MS = 1_500;
const CONVERGED_MS_MAX = 30_000;
const POLL_MS = 100;
const KEYS_PER_STEP = 100;

const CLUSTER_ARGS = [
  ...['--cluster-enabled', 'yes', '--cluster-node-timeout', `${NODE_TIMEOUT_MS}`],
  ...['--cluster-allow-pubsubshard-when-down', 'no'],
  // A replica cannot take over before its first synchronisation.
  ...['--repl-diskless-sync-delay', '0'],
];

export class ClusterRedis implements RedisFixture {
  readonly acceptLevels: readonly PushLevel[];
  readonly #nodes: LocalRedis[] = [];
  readonly #parent: string;
  readonly #place: RedisPlace;

  private constructor(parent: string, place: RedisPlace, acceptLevels: readonly PushLevel[]) {
    this.#parent = parent;
    this.#place = place;
    this.acceptLevels = acceptLevels;
  }

  static async start(
    { parent, place, onProgress }: RedisFixtureOptions,
    acceptLevels: readonly PushLevel[],
  ): Promise<ClusterRedis> {
    const redis = new ClusterRedis(parent, place, acceptLevels);
    try {
      for (let i = 0; i < CLUSTER_NODES; i++) {
        await mkdir(dataFolder(parent, i));
        const port = await freeClusterPort();
        const args = redis.#args(i);
        redis.#nodes.push(await startRedis({ port, args, onProgress, ...placed(place, i) }));
      }
      const addresses = redis.#nodes.map(({ port }, i) => `${place.hostOf(i)}:${port}`);
      await run('redis-cli', [
        ...['--cluster', 'create', ...addresses, '--cluster-replicas', '1', '--cluster-yes'],
      ]);
      await redis.untilConverged();
      return redis;
    } catch (error) {
      await redis.stop();
      throw error;
    }
  }

  get url(): string {
    return this.#nodes.map(({ url }) => url).join(',');
  }

  async killConnections(name: string): Promise<number> {
    const counts = await Promise.all(
      // A dead node has none.
      this.#nodes.map(({ port }) =>
        killConnectionsAt(this.#hostOf(port), port, name).catch(() => 0),
      ),
    );
    return counts.reduce((sum, count) => sum + count, 0);
  }

  /** Kills the n-th current master. Its replica takes over, and it restarts as a replica. */
  async failOver(n: number, downMs: number, signal: AbortSignal): Promise<void> {
    const i = await this.masterNode(n);
    await this.#nodes[i]!.kill('SIGKILL');
    await sleep(downMs, undefined, { signal });
    await this.#startAgain(i);
    await this.untilConverged();
  }

  /** Number of the n-th current master among all nodes. */
  async masterNode(n: number): Promise<number> {
    const masters = await this.#masterPorts();
    return this.#nodeAt(masters[n % masters.length]!);
  }

  /** Number of the replica of the n-th current master. */
  async replicaNode(n: number): Promise<number> {
    const { port } = this.#nodes[await this.masterNode(n)]!;
    const info = String(await this.#call(port, 'INFO', 'replication'));
    return this.#nodeAt(Number(/slave0:\S*port=(\d+)/.exec(info)?.[1]));
  }

  /** Sets a setting of all nodes that answer. */
  async configure(name: string, value: string): Promise<void> {
    await Promise.all(
      this.#nodes.map(({ port }) => this.#call(port, 'CONFIG', 'SET', name, value).catch(() => {})),
    );
  }

  /** Moves the slot of a key to the next master, and back after `awayMs`. */
  async moveSlotAndBack(key: string, awayMs: number, signal: AbortSignal): Promise<void> {
    const slot = keySlot(key);
    const home = await this.#masterOfSlot(slot);
    const masters = await this.#masterPorts();
    const away = masters[(masters.indexOf(home) + 1) % masters.length]!;
    await this.#migrate(slot, home, away);
    await sleep(awayMs, undefined, { signal });
    await this.#migrate(slot, away, home);
  }

  /** The replica of the n-th current master loses its connection and gets no other. */
  async stopReplication(n: number): Promise<void> {
    const { port } = this.#nodes[await this.masterNode(n)]!;
    await this.#call(port, 'ACL', 'SETUSER', 'default', '-psync', '-sync');
    await this.#call(port, 'CLIENT', 'KILL', 'TYPE', 'replica');
  }

  /**
   * Begins to move the slot of a key to the next master, moves some keys, and kills the master of
   * the slot. When its replica has taken over, the move is completed and taken back.
   */
  async failOverWhileMoving(
    key: string,
    keysMoved: number,
    downMs: number,
    signal: AbortSignal,
  ): Promise<void> {
    const slot = keySlot(key);
    const home = await this.#masterOfSlot(slot);
    const masters = await this.#masterPorts();
    const away = masters[(masters.indexOf(home) + 1) % masters.length]!;
    await this.#openMigration(slot, home, away);
    await this.#moveKeys(slot, home, away, keysMoved);
    const i = this.#nodeAt(home);
    await this.#nodes[i]!.kill('SIGKILL');
    await sleep(downMs, undefined, { signal });
    await this.#startAgain(i);
    // A node never changes the owner of a slot that it imports, and reports that the cluster fails.
    await this.#call(away, 'CLUSTER', 'SETSLOT', `${slot}`, 'STABLE');
    await this.untilConverged();
    const successor = await this.#masterOfSlot(slot);
    await this.#migrate(slot, successor, away);
    await this.#migrate(slot, away, successor);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.stop()));
  }

  /** Resolves when all nodes agree, and every master has an online replica. */
  async untilConverged(): Promise<void> {
    const deadlineMs = performance.now() + CONVERGED_MS_MAX;
    while (!(await this.#hasConverged().catch(() => false))) {
      if (performance.now() > deadlineMs) throw new Failure('the Redis Cluster does not converge');
      await sleep(POLL_MS);
    }
  }

  async #hasConverged(): Promise<boolean> {
    for (const { port } of this.#nodes) {
      const info = String(await this.#call(port, 'CLUSTER', 'INFO'));
      if (!info.includes('cluster_state:ok')) return false;
      if (!info.includes(`cluster_known_nodes:${this.#nodes.length}`)) return false;
    }
    const masters = await this.#masterPorts();
    if (masters.length !== MASTERS) return false;
    for (const port of masters) {
      const info = String(await this.#call(port, 'INFO', 'replication'));
      if (!/slave0:.*state=online/.test(info)) return false;
    }
    return true;
  }

  /** Moves a slot and its keys, in the same steps as `redis-cli --cluster reshard`. */
  async #migrate(slot: number, from: number, to: number): Promise<void> {
    await this.#openMigration(slot, from, to);
    while (await this.#moveKeys(slot, from, to, KEYS_PER_STEP));
    const toId = String(await this.#call(to, 'CLUSTER', 'MYID'));
    for (const port of [to, from]) {
      await this.#call(port, 'CLUSTER', 'SETSLOT', `${slot}`, 'NODE', toId);
    }
  }

  async #openMigration(slot: number, from: number, to: number): Promise<void> {
    const fromId = String(await this.#call(from, 'CLUSTER', 'MYID'));
    const toId = String(await this.#call(to, 'CLUSTER', 'MYID'));
    await this.#call(to, 'CLUSTER', 'SETSLOT', `${slot}`, 'IMPORTING', fromId);
    await this.#call(from, 'CLUSTER', 'SETSLOT', `${slot}`, 'MIGRATING', toId);
  }

  /** Moves some keys of the slot. Resolves with false if there are none. */
  async #moveKeys(slot: number, from: number, to: number, keysMax: number): Promise<boolean> {
    const keys = await this.#call(from, 'CLUSTER', 'GETKEYSINSLOT', `${slot}`, `${keysMax}`);
    if (!Array.isArray(keys) || keys.length === 0) return false;
    // A key is on both sides when a failover has interrupted an earlier move.
    const target = [this.#hostOf(to), `${to}`, '', '0', '5000', 'REPLACE'];
    await this.#call(from, 'MIGRATE', ...target, 'KEYS', ...keys);
    return true;
  }

  async #masterOfSlot(slot: number): Promise<number> {
    const ranges = await this.#ranges();
    return ranges.find(([first, last]) => first <= slot && slot <= last)![2];
  }

  /** Ports of the masters, in the order of their first slots. */
  async #masterPorts(): Promise<number[]> {
    const ranges = (await this.#ranges()).sort(([a], [b]) => a - b);
    return [...new Set(ranges.map(([, , port]) => port))];
  }

  /** Slot ranges, from the first node that answers. */
  async #ranges(): Promise<[first: number, last: number, master: number][]> {
    for (const { port } of this.#nodes) {
      const reply = await this.#call(port, 'CLUSTER', 'SLOTS').catch(() => undefined);
      if (reply === undefined) continue;
      const slots = reply as [number, number, [string, number]][];
      return slots.map(([first, last, [, master]]) => [first, last, master]);
    }
    throw new Failure('no node of the Redis Cluster answers');
  }

  async #call(port: number, ...[name, ...args]: string[]): Promise<unknown> {
    const redis = await connectTo(this.#hostOf(port), port);
    try {
      return await redis.call(name!, ...args);
    } finally {
      redis.disconnect();
    }
  }

  #nodeAt(port: number): number {
    return this.#nodes.findIndex((node) => node.port === port);
  }

  #hostOf(port: number): string {
    return this.#place.hostOf(this.#nodeAt(port));
  }

  async #startAgain(i: number): Promise<void> {
    const { port } = this.#nodes[i]!;
    const options = { port, args: this.#args(i), ...placed(this.#place, i) };
    this.#nodes[i] = await startRedis(options);
  }

  #args(i: number): string[] {
    return [...redisArgs(dataFolder(this.#parent, i)), ...CLUSTER_ARGS];
  }
}
