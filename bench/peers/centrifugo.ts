/** Centrifugo: two nodes on one Redis, devices on unidirectional SSE, a personal channel each. */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SignJWT } from 'jose';
import { freePort } from '../../cli/local/ports.js';
import { startRedis } from '../../cli/local/redis.js';
import { FAN_OUT_NAMES, STEADY_NAMES } from '../support/pushes/loads.js';
import { progress } from '../support/report.js';
import { type Installed, installNewest } from './installed.js';
import type { Peer, PeerServer, Purpose } from './peer.js';
import { startServer, stopServer } from './processes.js';

const MODULE = 'github.com/centrifugal/centrifugo/v6';
const NODES = 2;
const SECRET = 'a secret that only this bench uses, and no other';
/** As much as an inbox of Longline keeps by default, and its default TTL. */
const HISTORY = { history_size: 1_000, history_ttl: '60s', force_recovery: true };

export function centrifugo(): Peer | { missing: string } {
  const installed = installNewest(MODULE);
  if ('missing' in installed) return installed;
  return {
    name: 'centrifugo',
    settings: {
      version: installed.version,
      processes: `${NODES} nodes, Redis engine`,
      devices: 'uni_sse, HS256, channels of the token; a node each in turn',
      durable: `channels with ${JSON.stringify(HISTORY)}; presence off; all else default`,
      backend: 'gRPC API, a node each in turn: Publish, Batch (parallel), Broadcast',
    },
    steady: STEADY_NAMES,
    fanOuts: FAN_OUT_NAMES,
    measuresConnects: true,
    start: () => start(installed),
  };
}

async function start({ path }: Installed): Promise<PeerServer> {
  const folder = mkdtempSync(join(tmpdir(), 'longline-peers-'));
  const redis = await startRedis({ onProgress: progress });
  const nodes: { port: number; grpcPort: number; child: ChildProcess }[] = [];
  for (let i = 0; i < NODES; i++) {
    const [port, grpcPort] = [await freePort(), await freePort()];
    const file = join(folder, `node-${i}.json`);
    writeFileSync(file, JSON.stringify(configOf(port, grpcPort, redis.url)));
    nodes.push({ port, grpcPort, child: await startServer(path, ['-c', file], port) });
  }
  const pids = nodes.map(({ child }, i) => [`node-${i + 1}`, child.pid!] as const);
  return {
    pids: { ...Object.fromEntries(pids), redis: redis.pid },
    backend: {
      server: 'centrifugo',
      addresses: nodes.map(({ grpcPort }) => `127.0.0.1:${grpcPort}`),
    },
    // The reply to the connect command; the head of the response comes before it.
    deviceKind: { accepted: '"connect":', heartbeat: undefined, answer: undefined },
    devicesOf: (clientIds, purpose) =>
      Promise.all(
        clientIds.map(async (id, i) => ({
          port: nodes[i % NODES]!.port,
          request: requestOf(await tokenOf(id, channelsOf(id, purpose))),
        })),
      ),
    async stop() {
      await Promise.all(nodes.map(({ child }) => stopServer(child)));
      await redis.stop();
      rmSync(folder, { recursive: true });
    },
  };
}

function configOf(port: number, grpcPort: number, redisUrl: string): object {
  return {
    http_server: { address: '127.0.0.1', port },
    grpc_api: { enabled: true, address: '127.0.0.1', port: grpcPort },
    engine: { type: 'redis', redis: { address: redisUrl } },
    client: { token: { hmac_secret_key: SECRET } },
    uni_sse: { enabled: true },
    channel: { namespaces: [{ name: 'live' }, { name: 'durable', ...HISTORY }] },
    log: { level: 'error' },
  };
}

/** A connect is compared with that of a client of Longline, which has one inbox. */
function channelsOf(clientId: string, purpose: Purpose): string[] {
  const durable = `durable:#${clientId}`;
  if (purpose === 'connects') return [durable];
  const own = [durable, `live:#${clientId}`];
  return purpose === 'pushes' ? own : [...own, 'live:all'];
}

function tokenOf(clientId: string, channels: string[]): Promise<string> {
  const token = new SignJWT({ sub: clientId, channels }).setExpirationTime('1h');
  return token.setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(SECRET));
}

function requestOf(token: string): string {
  const connect = encodeURIComponent(JSON.stringify({ token }));
  return `GET /connection/uni_sse?cf_connect=${connect} HTTP/1.1\r\nHost: bench\r\n\r\n`;
}
