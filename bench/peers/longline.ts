/** Longline, with two edges and one router. */
import { buildInfo, describeBuild } from '../../common/process/build-info.js';
import { pidsOf, startBenchCluster } from '../support/cluster/bench-cluster.js';
import { devicePort, holdOwners } from '../support/cluster/edge-ports.js';
import { credentialIssuer } from '../support/devices/credentials.js';
import { DEVICE_PROTOCOLS } from '../support/devices/requests.js';
import type { GoServer } from '../support/pushes/go-backend.js';
import { FAN_OUT_NAMES, type LoadName, STEADY_NAMES } from '../support/pushes/loads.js';
import type { Peer, PeerServer } from './peer.js';

const EDGES = 2;

/** A push is answered when an edge has written it to the device's socket. */
export function longline(): Peer {
  return {
    name: 'longline',
    settings: settingsOf('off', 'written: after the edge has written it'),
    steady: STEADY_NAMES,
    fanOuts: FAN_OUT_NAMES,
    measuresConnects: true,
    start: () => start('off', 'longline'),
  };
}

/** For its connects: the admission rate makes no difference once the devices are connected. */
export function longlinePaced(): Peer {
  return {
    name: 'longlinePaced',
    settings: settingsOf('default', 'not measured'),
    steady: [],
    fanOuts: [],
    measuresConnects: true,
    start: () => start('default', 'longline'),
  };
}

/** Its durable pushes are answered as those of Centrifugo are: when Redis has them. */
export function longlineStored(): Peer {
  return {
    name: 'longlineStored',
    settings: settingsOf('off', 'stored: after Redis has it'),
    steady: STEADY_NAMES.filter(isDurable),
    fanOuts: FAN_OUT_NAMES.filter(isDurable),
    measuresConnects: false,
    start: () => start('off', 'longline-stored'),
  };
}

function isDurable(load: LoadName): boolean {
  return load.endsWith('Durable');
}

function settingsOf(pace: 'off' | 'default', answer: string): Peer['settings'] {
  return {
    version: describeBuild(buildInfo),
    processes: `control, router, ${EDGES} edges, Redis`,
    edges: `HS256; admission rate ${pace}; all else default`,
    answer,
    moves: 'paused: devices do not follow them',
  };
}

async function start(pace: 'off' | 'default', server: GoServer): Promise<PeerServer> {
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
    backend: { server, addresses: [cluster.routerAddress] },
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
