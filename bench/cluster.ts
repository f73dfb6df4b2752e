/**
 * As many connections as one machine can hold, in a whole cluster: as many edges as it takes, for a
 * process has a limit of open files. While all are held, each client is pushed to once, durably.
 *
 *   userBytesPerConnection     resident memory of all edges, in proportion where it is shared, over
 *                              the connections: everything counts, also what an empty edge needs
 *   emptyEdgeBytes             what an edge needs before the first connection
 *   kernelBytesPerConnection   half of what the kernel has allocated for the sockets of both ends
 *   connectSeconds, pushSeconds
 *   lost                       devices that have not got their push
 *
 * Takes minutes and some gigabytes. `--connections` makes it smaller, `--json` prints one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { credentials } from '@grpc/grpc-js';
import { controlApi } from '../cli/control/api.js';
import { LocalCluster } from '../cli/local/cluster.js';
import { startRedis } from '../cli/local/redis.js';
import { shardOf } from '../common/cluster/shard.js';
import {
  PushManyRequest,
  type PushManyResponse,
  PushServiceClient,
  Verdict,
} from '../proto/gen/longline/v1/push.js';
import { kernelBytes, proportionalBytes } from './memory/resident.js';
import { Fleet } from './support/fleet.js';
import { rounded } from './support/statistics.js';

/** On average; the most that an edge has here is some 19,000. */
const CONNECTIONS_PER_EDGE = 17_000;
const READY_DEADLINE_MS = 120_000;
/** As many as a call is answered for in a second or so. */
const PUSHES_PER_CALL = 2_000;
const WAIT_MS = 30_000;
const SETTLE_MS = 5_000;

const { values } = parseArgs({
  options: { json: { type: 'boolean' }, connections: { type: 'string', default: '200000' } },
});
const connections = Number(values.connections);
const edges = Math.ceil(connections / CONNECTIONS_PER_EDGE);
const say = (line: string) => process.stderr.write(`${line}\n`);

say(`starting Redis, control, a router and ${edges} edges`);
const redis = await startRedis({ say });
let cluster: LocalCluster | undefined;
try {
  cluster = await LocalCluster.start({
    redisUrl: redis.url,
    edges,
    ports: 'free',
    restart: false,
    env: { LONGLINE_LOG_LEVEL: 'error' },
    onOutput: (name, line) => say(`${name}: ${line}`),
  });
  await cluster.waitUntilReady(READY_DEADLINE_MS);
  const result = await measure(cluster);
  if (values.json) console.log(JSON.stringify(result));
  else console.log(result);
} finally {
  await cluster?.stop();
  await redis.stop();
}

async function measure(cluster: LocalCluster) {
  const names = cluster.namesOf('edge');
  const clientIds = Array.from({ length: connections }, (_, i) => `device-${i}`);
  const clientsOf = await clientsByEdge(cluster, clientIds);
  const edgeBytes = () =>
    names.reduce((sum, name) => sum + proportionalBytes(cluster.pid(name)!), 0);
  const fleet = new Fleet(edges);
  const service = new PushServiceClient(cluster.routerAddress, credentials.createInsecure());
  try {
    const emptyBytes = edgeBytes();
    const kernelEmptyBytes = kernelBytes(0);
    say(`connecting ${connections} devices`);
    const { seconds: connectSeconds } = await fleet.connect(
      names.map((name) => ({
        port: Number(new URL(cluster.edgeUrl(name)).port),
        paths: clientsOf.get(name)!.map((clientId) => `/connect?clientId=${clientId}`),
      })),
    );
    await sleep(SETTLE_MS);
    const userBytes = edgeBytes();
    const held = (await controlApi(cluster.controlUrl).cluster()).connections;
    const socketBytes = kernelBytes(2 * connections) - kernelEmptyBytes;
    say(`${held} are held; pushing to each`);
    const from = performance.now();
    const written = await pushToAll(service, clientIds);
    const pushSeconds = (performance.now() - from) / 1_000;
    await sleep(SETTLE_MS);
    const counts = await fleet.counts();
    return {
      connections: held,
      edges,
      userBytesPerConnection: Math.round(userBytes / held),
      emptyEdgeBytes: Math.round(emptyBytes / edges),
      kernelBytesPerConnection: Math.round(socketBytes / 2 / held),
      connectSeconds: rounded(connectSeconds, 1),
      pushSeconds: rounded(pushSeconds, 1),
      written,
      lost: connections - counts.connections + counts.without,
      twice: counts.twice,
    };
  } finally {
    service.close();
    fleet.stop();
  }
}

async function clientsByEdge(cluster: LocalCluster, clientIds: readonly string[]) {
  const answer = await fetch(`${cluster.controlUrl}/v1/shards`);
  const { shards } = (await answer.json()) as { shards: { owner: string }[] };
  const clients = new Map<string, string[]>();
  for (const clientId of clientIds) {
    const { owner } = shards[shardOf(clientId, shards.length)]!;
    const known = clients.get(owner);
    if (known === undefined) clients.set(owner, [clientId]);
    else known.push(clientId);
  }
  return clients;
}

/** Returns for how many an edge confirmed the write. */
async function pushToAll(service: PushServiceClient, clientIds: readonly string[]) {
  const payload = Buffer.from('hello');
  let written = 0;
  for (let i = 0; i < clientIds.length; i += PUSHES_PER_CALL) {
    const request = PushManyRequest.fromPartial({
      clientIds: clientIds.slice(i, i + PUSHES_PER_CALL),
      payload,
      waitMs: WAIT_MS,
    });
    const answer = await new Promise<PushManyResponse>((resolve, reject) => {
      service.pushMany(request, (error, response) => (error ? reject(error) : resolve(response)));
    });
    for (const { verdict, count } of answer.counts) {
      if (verdict === Verdict.VERDICT_WRITTEN) written += count;
    }
  }
  return written;
}
