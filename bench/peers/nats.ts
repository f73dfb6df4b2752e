/** Core NATS: a cluster of two servers, without storage. What is not delivered at once is lost. */
import { freePort } from '../../cli/local/ports.js';
import { type Installed, installNewest } from './installed.js';
import type { Peer, PeerServer, Purpose } from './peer.js';
import { startServer, stopServer } from './processes.js';

const MODULE = 'github.com/nats-io/nats-server/v2';
const HOST = '127.0.0.1';

export function nats(): Peer | { missing: string } {
  const installed = installNewest(MODULE);
  if ('missing' in installed) return installed;
  return {
    name: 'nats',
    settings: {
      version: installed.version,
      processes: 'a cluster of 2 servers, no Redis; all default',
      devices: 'a subject each; a server each in turn',
      backend: 'PUB, a PING after each batch; a server each in turn',
    },
    steady: ['unaryLive', 'streamLive', 'pacedUnaryLive', 'pacedStreamLive'],
    fanOuts: ['pushManyLive', 'broadcast'],
    measuresConnects: false,
    start: () => start(installed),
  };
}

async function start({ path }: Installed): Promise<PeerServer> {
  const ports = [await freePort(), await freePort()];
  const routePorts = [await freePort(), await freePort()];
  const routes = routePorts.map((port) => `nats://${HOST}:${port}`).join(',');
  const children = await Promise.all(
    ports.map((port, i) => {
      const cluster = ['--cluster', `nats://${HOST}:${routePorts[i]}`, '--routes', routes];
      const name = ['--cluster_name', 'bench', '--log', '/dev/null'];
      return startServer(path, ['-a', HOST, '-p', `${port}`, ...cluster, ...name], port);
    }),
  );
  return {
    pids: Object.fromEntries(children.map(({ pid }, i) => [`node-${i + 1}`, pid!])),
    backend: { server: 'nats', addresses: ports.map((port) => `${HOST}:${port}`) },
    deviceKind: {
      accepted: 'PONG',
      heartbeat: Buffer.from('PING\r\n'),
      answer: Buffer.from('PONG\r\n'),
    },
    devicesOf: async (clientIds, purpose) =>
      clientIds.map((id, i) => ({
        port: ports[i % ports.length]!,
        request: requestOf(id, purpose),
      })),
    async stop() {
      await Promise.all(children.map(stopServer));
    },
  };
}

function requestOf(clientId: string, purpose: Purpose): string {
  const all = purpose === 'fanOuts' ? 'SUB all 2\r\n' : '';
  return `CONNECT {"verbose":false}\r\nSUB ${clientId} 1\r\n${all}PING\r\n`;
}
