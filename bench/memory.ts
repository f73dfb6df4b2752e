/**
 * Memory per idle connection: an edge of a whole cluster on the native and on the portable
 * transport, and a baseline server in C that does nothing but hold connections (memory/baseline.c).
 * Each runs in a fresh process; connections are opened in steps, and the result is the slope. Every
 * device has a token of its own, which the edges check (HS256).
 *
 *   userBytesPerConnection   resident memory of the server process that no file backs, garbage
 *                            collected
 *   heapBytesPerConnection   the part of it in the JavaScript heap and in its array buffers
 *   kernelBytesPerPair       kernel objects for both ends of a connection: the devices are on this
 *                            machine, too
 *   totalRatioToBare         (user + half of kernel) of native over that of the baseline server
 *
 * `--tls` compares the native transport without and with TLS, the portable one with TLS, the server
 * in C with OpenSSL and released buffers, and nginx if it is installed; all with TLS 1.3 and
 * session tickets. It needs the `openssl` command. The servers without an edge hold connections of
 * SSE.
 *
 * `--protocol` is sse, ws or mqtt. `--connections 18000` is the maximum of one process here, and
 * the default is 16000 in one round with TLS, where handshakes take most of the time; `--json`
 * prints one line.
 */

import { spawnSync } from 'node:child_process';
import { table } from '../cli/commands/table.js';
import { BASELINE_NAMES, startBaseline, startNginx } from './memory/baseline-servers.js';
import { startOneEdge } from './support/cluster/one-edge.js';
import { makeCertificate, tlsSettings } from './support/devices/certificate.js';
import { credentialIssuer } from './support/devices/credentials.js';
import { Fleet } from './support/devices/fleet.js';
import { DEVICE_PROTOCOLS, PROTOCOL_NAMES } from './support/devices/requests.js';
import { TlsDevices } from './support/devices/tls-devices.js';
import { bytesPerConnection, STEPS, WARM_UP_ROUNDS } from './support/memory/idle-connections.js';
import { anonymousBytes, kernelBytes } from './support/memory/process-memory.js';
import { flag, isGiven, number, oneOf, parseOptions } from './support/options.js';
import { report } from './support/report.js';
import { runInTurn } from './support/rounds.js';
import { medianOf, rounded } from './support/statistics.js';

interface Server {
  readonly pid: number;
  readonly port: number;
  /** Size of the JavaScript heap after a garbage collection; 0 for the server in C. */
  heapBytes(): Promise<number>;
  stop(): Promise<void>;
}

const TLS_NAMES = ['native', 'nativeTls', 'netTls', 'opensslTls', 'nginxTls'] as const;
type ServerName = (typeof BASELINE_NAMES)[number] | (typeof TLS_NAMES)[number];
/** A server without an edge answers only what ends like an HTTP request. */
const hasEdge = (name: ServerName) => !['bare', 'opensslTls', 'nginxTls'].includes(name);

const { json, connections, rounds, protocol, tls } = parseOptions({
  connections: number(isGiven('tls') ? 16_000 : 18_000, STEPS, 18_000),
  rounds: number(isGiven('tls') ? 1 : 3),
  protocol: oneOf(PROTOCOL_NAMES, 'sse'),
  tls: flag(),
});
const credentials = await credentialIssuer('HS256');
const hasNginx = tls && spawnSync('nginx', ['-v'], { stdio: 'ignore' }).status === 0;
const tlsNames = TLS_NAMES.filter((name) => name !== 'nginxTls' || hasNginx);
const names: readonly ServerName[] = tls ? tlsNames : BASELINE_NAMES;
const certificate = tls ? makeCertificate() : undefined;
const costs = await runInTurn(rounds, names, measure);
const medians = Object.fromEntries(names.map((name) => [name, mediansOf(name)]));
const ratio = tls
  ? {}
  : { totalRatioToBare: rounded(totalBytes('native') / totalBytes('bare'), 3) };
report(json, { ...medians, ...ratio, protocol, connections, rounds }, printTable);

async function measure(name: ServerName) {
  const server = await startServer(name);
  const spoken = hasEdge(name) ? protocol : 'sse';
  const fleet = name.endsWith('Tls') ? new TlsDevices(spoken) : new Fleet(1);
  try {
    return await bytesPerConnection({
      fleet,
      port: server.port,
      connections,
      protocol: spoken,
      warmUpRounds: warmUpRoundsOf(name),
      async pathOf(i) {
        const clientId = `device-${i}`;
        return `/connect?clientId=${clientId}${await credentials.issue(clientId)}`;
      },
      async read(open) {
        const heap = await server.heapBytes();
        return { heap, user: anonymousBytes(server.pid), kernel: kernelBytes(2 * open) };
      },
    });
  } finally {
    fleet.stop();
    await server.stop();
  }
}

/** Code in C needs none, and a handshake of TLS takes long. */
function warmUpRoundsOf(name: ServerName): number {
  if (!hasEdge(name)) return 1;
  return tls ? WARM_UP_ROUNDS / 2 : WARM_UP_ROUNDS;
}

async function startServer(name: ServerName): Promise<Server> {
  const transport = name.startsWith('native') ? 'native' : 'net';
  if (hasEdge(name)) {
    const settings = name.endsWith('Tls') ? tlsSettings(certificate!) : {};
    return startOneEdge(transport, { ...credentials.env, ...settings });
  }
  const answer = `HTTP/1.1${DEVICE_PROTOCOLS.sse.accepted}OK\r\n\r\n`;
  const holding =
    name === 'nginxTls'
      ? await startNginx(certificate!)
      : await startBaseline(name === 'bare' ? 'bare' : 'openssl', answer, '', certificate);
  return { ...holding, heapBytes: async () => 0 };
}

function mediansOf(name: ServerName) {
  return {
    userBytesPerConnection: medianOf(costs[name], ({ user }) => user, 1),
    heapBytesPerConnection: medianOf(costs[name], ({ heap }) => heap, 1),
    kernelBytesPerPair: medianOf(costs[name], ({ kernel }) => kernel, 1),
  };
}

function totalBytes(name: ServerName): number {
  const { userBytesPerConnection, kernelBytesPerPair } = mediansOf(name);
  return userBytesPerConnection + kernelBytesPerPair / 2;
}

function printTable(): void {
  console.log(
    `bytes per idle connection (${protocol}): slope over ${STEPS} steps to ${connections}, ` +
      `median of ${rounds}`,
  );
  const rows = Object.entries(medians).map(([name, cost]) => [
    name,
    cost.userBytesPerConnection,
    cost.heapBytesPerConnection,
    cost.kernelBytesPerPair,
  ]);
  console.log(table(['', 'user', 'of it JavaScript', 'kernel, both ends'], rows));
  if (ratio.totalRatioToBare !== undefined) {
    console.log(`native over bare, user and kernel together: ${ratio.totalRatioToBare}`);
  }
}
