/**
 * As many connections as one machine can hold, in a whole cluster. The number of edges follows from
 * the limit of open files per process. While all connections are open, each client gets a durable
 * push.
 *
 *   userBytesPerConnection     proportional set size of all edges over the connections, including
 *                              the memory of an edge without connections
 *   emptyEdgeBytes             memory of an edge before the first connection
 *   kernelBytesPerConnection   half of the kernel memory for the sockets of both ends
 *   connectSeconds, pushSeconds
 *   lost                       devices that did not receive their push
 *
 * Takes minutes and some gigabytes. `--connections` makes it smaller, `--json` prints one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials } from '@grpc/grpc-js';
import { controlApi } from '../cli/control/api.js';
import type { LocalCluster } from '../cli/local/cluster.js';
import { PushServiceClient } from '../proto/gen/longline/v1/push.js';
import { withCluster } from './support/cluster/bench-cluster.js';
import { devicePort, readOwners } from './support/cluster/edge-ports.js';
import { Fleet } from './support/devices/fleet.js';
import { kernelBytes, proportionalBytes } from './support/memory/process-memory.js';
import { number, parseOptions } from './support/options.js';
import { pushToEach } from './support/pushes/push-to-each.js';
import { progress, report } from './support/report.js';
import { rounded, sum } from './support/statistics.js';

/** On average; the maximum of an edge here is some 19,000. */
const CONNECTIONS_PER_EDGE = 17_000;
/** A call with this many pushes is answered in about a second. */
const PUSHES_PER_CALL = 2_000;
const WAIT_MS = 30_000;
/** Time in which the cluster finishes what the last connections or pushes have started. */
const QUIET_MS = 5_000;

const { json, connections } = parseOptions({ connections: number(200_000) });
const edges = Math.ceil(connections / CONNECTIONS_PER_EDGE);
progress(`starting Redis, control, a router and ${edges} edges`);
report(json, await withCluster({ edges }, measure));

async function measure(cluster: LocalCluster) {
  const names = cluster.namesOf('edge');
  const clientIds = Array.from({ length: connections }, (_, i) => `device-${i}`);
  const clientsOf = new Map(names.map((name) => [name, [] as string[]]));
  const ownerOf = await readOwners(cluster);
  for (const clientId of clientIds) clientsOf.get(ownerOf(clientId))!.push(clientId);
  const edgeBytes = () => sum(names.map((name) => proportionalBytes(cluster.pid(name)!)));
  const fleet = new Fleet(edges);
  const service = new PushServiceClient(cluster.routerAddress, credentials.createInsecure());
  try {
    const emptyBytes = edgeBytes();
    const kernelEmptyBytes = kernelBytes(0);
    progress(`connecting ${connections} devices`);
    const { seconds: connectSeconds } = await fleet.connect(
      names.map((name) => ({
        port: devicePort(cluster, name),
        paths: clientsOf.get(name)!.map((clientId) => `/connect?clientId=${clientId}`),
      })),
    );
    await sleep(QUIET_MS);
    const userBytes = edgeBytes();
    const open = (await controlApi(cluster.controlUrl).cluster()).connections;
    const socketBytes = kernelBytes(2 * connections) - kernelEmptyBytes;
    progress(`${open} connections are open; pushing to each client`);
    const from = performance.now();
    const { written } = await pushToEach(service, clientIds, {
      clientsPerCall: PUSHES_PER_CALL,
      waitMs: WAIT_MS,
    });
    const pushSeconds = (performance.now() - from) / 1_000;
    await sleep(QUIET_MS);
    const counts = await fleet.counts();
    return {
      connections: open,
      edges,
      userBytesPerConnection: Math.round(userBytes / open),
      emptyEdgeBytes: Math.round(emptyBytes / edges),
      kernelBytesPerConnection: Math.round(socketBytes / 2 / open),
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
