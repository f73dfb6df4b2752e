/** Longline, with two edges and one router. */
import { buildInfo, describeBuild } from '../../common/process/build-info.js';
import { pidsOf, startBenchCluster } from '../support/cluster/bench-cluster.js';
import { devicePort, holdOwners } from '../support/cluster/edge-ports.js';
import { credentialIssuer } from '../support/devices/credentials.js';
import { DEVICE_PROTOCOLS } from '../support/devices/requests.js';
import { FAN_OUT_NAMES, STEADY_NAMES } from '../support/pushes/loads.js';
import type { Peer, PeerServer } from './peer.js';

const EDGES = 2;

export function longline(pace: 'off' | 'default'): Peer {
  return {
    name: pace === 'off' ? 'longline' : 'longlinePaced',
    settings: {
      version: describeBuild(buildInfo),
      processes: `control, router, ${EDGES} edges, Redis`,
      edges: `HS256; admission rate ${pace}; all else default`,
      moves: 'paused: devices do not follow them',
    },
    // The admission rate makes no difference once the devices are connected.
    steady: pace === 'off' ? STEADY_NAMES : [],
    fanOuts: pace === 'off' ? FAN_OUT_NAMES : [],
    hasTokens: true,
    start: () => start(pace),
  };
}

async function start(pace: 'off' | 'default'): Promise<PeerServer> {
  const issuer = await credentialIssuer('HS256');
  const { cluster, redis, stop } = await startBenchCluster({
    edges: EDGES,
    // Only the edges authenticate: the backends of all servers have no credentials.
    launchOf: (name) => (name.startsWith('edge') ? { env: issuer.env } : {}),
    env: {
      LONGLINE_LINK_TOKEN: issuer.env.LONGLINE_LINK_TOKEN,
      ...(pace === 'off' && { LONGLINE_EDGE_HANDSHAKES_PER_SECOND_MAX: '0' }),
    },
  });
  const kind = DEVICE_PROTOCOLS.sse;
  return {
    pids: pidsOf(cluster, redis),
    backend: { server: 'longline', addresses: [cluster.routerAddress] },
    deviceKind: kind,
    async devicesOf(clientIds) {
      const ownerOf = await holdOwners(cluster);
      return Promise.all(
        clientIds.map(async (id) => ({
          port: devicePort(cluster, ownerOf(id)),
          request: kind.request(`/connect?clientId=${id}${await issuer.issue(id)}`),
        })),
      );
    },
    stop,
  };
}
