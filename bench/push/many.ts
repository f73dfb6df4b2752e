/**
 * One payload for many clients: to a group, and by PushMany to the same clientIds; to a user; and
 * by Broadcast, with and without a selector. 16,000 SSE devices on two edges, of which 2,000 are
 * members of the largest group. The ways to the same clients take turns.
 *
 *   deliveriesPerSecond       clients with a verdict over the duration of the calls
 *   cpuUs                     processor time for each of them: all servers, and each process
 *   redisBytes                bytes that Redis receives and sends for each of them
 *   groupRatio                deliveries per second and processor time of a group, over those of
 *                             PushMany
 *
 * `--connections`, `--largest`, `--deliveries` (of one measurement) and `--rounds` make it shorter,
 * `--json` prints one line.
 */
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { Redis } from 'ioredis';
import { table } from '../../cli/commands/table.js';
import type { LocalCluster } from '../../cli/local/cluster.js';
import type { LocalRedis } from '../../cli/local/redis.js';
import {
  GroupServiceClient,
  PushGroupRequest,
  type PushGroupResponse,
} from '../../proto/gen/longline/v1/group.js';
import {
  type BroadcastResponse,
  PushManyRequest,
  type PushManyResponse,
  PushServiceClient,
  PushUserRequest,
  type PushUserResponse,
} from '../../proto/gen/longline/v1/push.js';
import { pidsOf, withCluster } from '../support/cluster/bench-cluster.js';
import { devicePort, holdOwners } from '../support/cluster/edge-ports.js';
import { Fleet } from '../support/devices/fleet.js';
import { number, parseOptions } from '../support/options.js';
import { type CpuTimes, totalUs, watchCpu } from '../support/processes/cpu.js';
import { progress, report } from '../support/report.js';
import { median, rounded, sum } from '../support/statistics.js';

const PAYLOAD = Buffer.alloc(128, 'x');
const CLIENTS_PER_CALL = 10_000;
const USER_DEVICES = 4;
/** Calls to few clients. */
const CALLS_AT_ONCE = 8;
/** As fast as the cluster. */
const BROADCAST_RATE = 10_000_000;

interface Figures {
  readonly deliveriesPerSecond: number;
  readonly cpuUs: Readonly<Record<string, number>>;
  readonly redisBytes: number;
}

/** One way to reach clients; resolves with the number of clients that have a verdict. */
type Way = () => Promise<number>;

const { json, connections, largest, deliveries, rounds } = parseOptions({
  connections: number(16_000, 100),
  largest: number(100_000, 100),
  deliveries: number(20_000),
  rounds: number(3),
});
const member = (i: number) => `member-${i}`;
const SIZES = [10, 1_000, largest];

progress('starting Redis, control, a router and two edges');
const env = { LONGLINE_EDGE_QUERY_LABELS: 'tier' };
const result = await withCluster({ edges: 2, env }, measure);
report(json, result, printTable);

async function measure(cluster: LocalCluster, redis: LocalRedis) {
  const fleet = new Fleet(2);
  const pushes = new PushServiceClient(cluster.routerAddress, credentials.createInsecure());
  const groups = new GroupServiceClient(cluster.routerAddress, credentials.createInsecure());
  const store = new Redis(redis.url);
  try {
    progress(`connecting ${connections} devices`);
    await connect(cluster, fleet);
    for (const size of SIZES) {
      progress(`joining ${size} members`);
      const all = Array.from({ length: size }, (_, i) => member(i));
      for (let i = 0; i < size; i += CLIENTS_PER_CALL) {
        const members = all.slice(i, i + CLIENTS_PER_CALL);
        await call((...rest) => groups.joinGroup({ group: `${size}`, members }, ...rest));
      }
    }
    const ways = waysOf(pushes, groups);
    const found = new Map<string, Figures[]>([...ways.keys()].map((name) => [name, []]));
    for (let round = 0; round <= rounds; round++) {
      for (const [name, way] of ways) {
        progress(`round ${round}: ${name}`);
        const figures = await run(way, cluster, redis, store);
        // The first round warms up.
        if (round > 0) found.get(name)!.push(figures);
      }
    }
    return resultOf(found);
  } finally {
    fleet.stop();
    pushes.close();
    groups.close();
    store.disconnect();
  }
}

async function connect(cluster: LocalCluster, fleet: Fleet): Promise<void> {
  const ownerOf = await holdOwners(cluster);
  const devices = Array.from({ length: USER_DEVICES }, (_, i) => `user/${i}`);
  const members = Array.from({ length: connections - USER_DEVICES }, (_, i) =>
    i < 2_000 ? member(i) : `device-${i}`,
  );
  const all = [...devices, ...members];
  await fleet.connect(
    cluster.namesOf('edge').map((name) => ({
      port: devicePort(cluster, name),
      paths: all
        .filter((clientId) => ownerOf(clientId) === name)
        .map((clientId) => `/connect?clientId=${encodeURIComponent(clientId)}&labels=tier=a`),
    })),
  );
}

function waysOf(pushes: PushServiceClient, groups: GroupServiceClient): Map<string, Way> {
  const ways = new Map<string, Way>();
  for (const size of SIZES) {
    const all = Array.from({ length: size }, (_, i) => member(i));
    for (const [kind, ttlMs] of [
      ['durable', 60_000],
      ['live', 0],
    ] as const) {
      const group = PushGroupRequest.fromPartial({ group: `${size}`, payload: PAYLOAD, ttlMs });
      ways.set(`group of ${size}, ${kind}`, async () =>
        countOf(await call<PushGroupResponse>((...rest) => groups.pushGroup(group, ...rest))),
      );
      ways.set(`PushMany of ${size}, ${kind}`, async () => {
        let count = 0;
        for (let i = 0; i < size; i += CLIENTS_PER_CALL) {
          const clientIds = all.slice(i, i + CLIENTS_PER_CALL);
          const many = PushManyRequest.fromPartial({ clientIds, payload: PAYLOAD, ttlMs });
          count += countOf(
            await call<PushManyResponse>((...rest) => pushes.pushMany(many, ...rest)),
          );
        }
        return count;
      });
    }
  }
  const user = PushUserRequest.fromPartial({ user: 'user', payload: PAYLOAD });
  ways.set(`user with ${USER_DEVICES} devices, durable`, async () =>
    countOf(await call<PushUserResponse>((...rest) => pushes.pushUser(user, ...rest))),
  );
  for (const [name, selector] of [
    ['broadcast', ''],
    ['broadcast with a selector', 'tier=a'],
  ] as const) {
    ways.set(name, async () => {
      const common = { payload: PAYLOAD, contentType: '', clientsPerSecond: BROADCAST_RATE };
      const request = { ...common, selector, whenSlow: 0 };
      const { written } = await call<BroadcastResponse>((...rest) =>
        pushes.broadcast(request, ...rest),
      );
      return written;
    });
  }
  return ways;
}

/** Repeats calls until there are enough deliveries; those to few clients overlap. */
async function run(
  way: Way,
  cluster: LocalCluster,
  redis: LocalRedis,
  store: Redis,
): Promise<Figures> {
  const before = await redisBytes(store);
  const used = watchCpu(pidsOf(cluster, redis));
  let delivered = await way();
  const left = Math.ceil(deliveries / delivered) - 1;
  const atOnce = delivered < CLIENTS_PER_CALL / 10 ? CALLS_AT_ONCE : 1;
  for (let i = 0; i < left; i += atOnce) {
    const calls = Array.from({ length: Math.min(atOnce, left - i) }, way);
    delivered += sum(await Promise.all(calls));
  }
  const { seconds, used: times } = used();
  const bytes = (await redisBytes(store)) - before;
  return {
    deliveriesPerSecond: Math.round(delivered / seconds),
    cpuUs: perDelivery(times, delivered),
    redisBytes: Math.round(bytes / delivered),
  };
}

function perDelivery(times: CpuTimes, delivered: number): Record<string, number> {
  const each = Object.entries(times).map(([name, time]) => [name, totalUs(time)] as const);
  const all = [['servers', sum(each.map(([, us]) => us))] as const, ...each];
  return Object.fromEntries(all.map(([name, us]) => [name, rounded(us / delivered, 1)]));
}

async function redisBytes(store: Redis): Promise<number> {
  const stats = await store.info('stats');
  const read = (name: string) => Number(new RegExp(`${name}:(\\d+)`).exec(stats)![1]);
  return read('total_net_input_bytes') + read('total_net_output_bytes');
}

function resultOf(found: ReadonlyMap<string, readonly Figures[]>) {
  const ways = Object.fromEntries(
    [...found].map(([name, runs]) => [
      name,
      {
        deliveriesPerSecond: median(runs.map((run) => run.deliveriesPerSecond)),
        cpuUs: Object.fromEntries(
          Object.keys(runs[0]!.cpuUs).map((process) => [
            process,
            median(runs.map((run) => run.cpuUs[process]!)),
          ]),
        ),
        redisBytes: median(runs.map((run) => run.redisBytes)),
      },
    ]),
  );
  const groupRatio = Object.fromEntries(
    SIZES.flatMap((size) =>
      ['durable', 'live'].map((kind) => {
        const [group, many] = [
          ways[`group of ${size}, ${kind}`]!,
          ways[`PushMany of ${size}, ${kind}`]!,
        ];
        const ratios = {
          deliveries: rounded(group.deliveriesPerSecond / many.deliveriesPerSecond, 2),
          cpu: rounded(group.cpuUs.servers! / many.cpuUs.servers!, 2),
          redisBytes: rounded(group.redisBytes / many.redisBytes, 2),
        };
        return [`${size}, ${kind}`, ratios];
      }),
    ),
  );
  return { ways, groupRatio, connections, largest, deliveries, rounds };
}

function printTable(): void {
  const rows = Object.entries(result.ways).map(([name, each]) => [
    name,
    each.deliveriesPerSecond,
    each.cpuUs.servers!,
    each.redisBytes,
  ]);
  console.log(table(['', 'deliveries/s', 'CPU µs', 'Redis bytes'], rows));
}

function countOf({ counts }: { readonly counts: readonly { readonly count: number }[] }): number {
  return sum(counts.map(({ count }) => count));
}

function call<Response>(
  start: (
    metadata: Metadata,
    done: (error: ServiceError | null, response: Response) => void,
  ) => unknown,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    start(new Metadata(), (error, response) => (error ? reject(error) : resolve(response)));
  });
}
