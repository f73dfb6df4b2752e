/** A real Redis Cluster on loopback: three masters, by default with one replica each. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { freeClusterPort } from '../../../cli/local/ports.js';
import { eventually } from '../eventually.js';
import { startRedis, type TestRedis } from './redis.js';

const run = promisify(execFile);

export interface TestCluster {
  readonly urls: readonly string[];
  /** `host:port` of the master of a slot, according to the first live node. */
  masterOfSlot(slot: number): Promise<string>;
  /** Migrates a slot with its keys, as `redis-cli --cluster reshard` does. */
  migrateSlot(slot: number, toAddress: string): Promise<void>;
  /** Kills the server at `host:port`. */
  killNode(address: string): Promise<void>;
  replicaOf(master: string): Promise<string>;
  /** Restarts the server without its data. */
  restartNode(address: string): Promise<void>;
  /** Runs a command on the server at `host:port`. */
  call(address: string, ...command: string[]): Promise<unknown>;
  stop(): Promise<void>;
}

const MASTERS = 3;

export interface TestClusterOptions {
  /** Replicas of each master: 0 or 1. */
  readonly replicas?: number;
  /** Serve the slots of the other masters when one is down. */
  readonly isPartial?: boolean;
}

export async function startRedisCluster({
  replicas = 1,
  isPartial = false,
}: TestClusterOptions = {}): Promise<TestCluster> {
  const nodeCount = MASTERS * (1 + replicas);
  const args = [
    ...['--cluster-enabled', 'yes', '--cluster-node-timeout', '1500'],
    ...['--cluster-allow-pubsubshard-when-down', 'no'],
    ...['--cluster-require-full-coverage', isPartial ? 'no' : 'yes'],
    // A replica that has not synchronised yet cannot be promoted.
    ...['--repl-diskless-sync-delay', '0'],
  ];
  const nodes: TestRedis[] = [];
  while (nodes.length < nodeCount) nodes.push(await startRedis(args, freeClusterPort));
  const addresses = nodes.map(({ port }) => `127.0.0.1:${port}`);
  const nodeAt = (address: string) => nodes[addresses.indexOf(address)]!;
  const call = async (address: string, ...[name, ...rest]: string[]) => {
    const redis = new Redis(nodeAt(address).port, '127.0.0.1', { retryStrategy: () => null });
    redis.on('error', () => {});
    try {
      return await redis.call(name!, ...rest);
    } finally {
      redis.disconnect();
    }
  };
  const masters = async (): Promise<[number, number, string][]> => {
    const alive = addresses.filter((address) => nodeAt(address).isRunning());
    const reply = (await call(alive[0]!, 'CLUSTER', 'SLOTS')) as [
      number,
      number,
      [string, number],
    ][];
    return reply.map(([first, last, [host, port]]) => [first, last, `${host}:${port}`]);
  };
  const masterOfSlot = async (slot: number) =>
    (await masters()).find(([first, last]) => first <= slot && slot <= last)![2];

  await run('redis-cli', [
    ...['--cluster', 'create', ...addresses, '--cluster-replicas', `${replicas}`, '--cluster-yes'],
  ]);
  const replicaOf = (master: string) =>
    eventually(async () => {
      type Role = ['master', number, [host: string, port: string, offset: string][]];
      const [, , replicas] = (await call(master, 'ROLE')) as Role;
      const [host, port] = replicas[0]!;
      return `${host}:${port}`;
    });
  await eventually(async () => {
    for (const address of addresses) {
      const info = String(await call(address, 'CLUSTER', 'INFO'));
      if (!info.includes('cluster_state:ok') || !info.includes(`known_nodes:${nodeCount}`))
        return false;
    }
    return (await masters()).length === MASTERS;
  });
  if (replicas > 0) for (const [, , master] of await masters()) await replicaOf(master);

  return {
    urls: nodes.map(({ url }) => url),
    call,
    masterOfSlot,
    async migrateSlot(slot, to) {
      const from = await masterOfSlot(slot);
      const [fromId, toId] = [
        await call(from, 'CLUSTER', 'MYID'),
        await call(to, 'CLUSTER', 'MYID'),
      ];
      await call(to, 'CLUSTER', 'SETSLOT', String(slot), 'IMPORTING', String(fromId));
      await call(from, 'CLUSTER', 'SETSLOT', String(slot), 'MIGRATING', String(toId));
      const keys = (await call(from, 'CLUSTER', 'GETKEYSINSLOT', String(slot), '1000')) as string[];
      const [host, port] = to.split(':') as [string, string];
      if (keys.length > 0)
        await call(from, 'MIGRATE', host, port, '', '0', '1000', 'KEYS', ...keys);
      for (const address of [to, from]) {
        await call(address, 'CLUSTER', 'SETSLOT', String(slot), 'NODE', String(toId));
      }
    },
    replicaOf,
    killNode: (address) => nodeAt(address).kill('SIGKILL'),
    restartNode: (address) => nodeAt(address).restart(),
    async stop() {
      await Promise.all(nodes.map((node) => node.stop()));
    },
  };
}
