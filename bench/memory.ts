/**
 * Memory per idle connection: an edge of a whole cluster on the native and on the portable
 * transport, and a baseline server in C that does nothing but hold connections (memory/baseline.c).
 * Each runs in a fresh process; connections are opened in steps, and the result is the slope. Every
 * device has a token of its own, which the edges check (HS256).
 *
 *   userBytesPerConnection   resident memory of the server process, garbage collected
 *   heapBytesPerConnection   the part of it in the JavaScript heap and in its array buffers
 *   kernelBytesPerPair       kernel objects for both ends of a connection: the devices are on this
 *                            machine, too
 *   totalRatioToBare         (user + half of kernel) of native over that of the baseline server
 *
 * `--tls` compares the native transport without and with TLS, and the portable one with TLS instead,
 * which needs the `openssl` command; the TLS devices use Node's own TLS sockets.
 *
 * `--protocol` is sse, ws or mqtt. `--connections 18000` is the maximum of one process here;
 * `--json` prints one line.
 */
import { table } from '../cli/commands/table.js';
import { BASELINE_NAMES, type BaselineName, startBaseline } from './memory/baseline-servers.js';
import { startOneEdge } from './support/cluster/one-edge.js';
import { tlsSettings } from './support/devices/certificate.js';
import { credentialIssuer } from './support/devices/credentials.js';
import { Fleet } from './support/devices/fleet.js';
import { DEVICE_PROTOCOLS, PROTOCOL_NAMES } from './support/devices/requests.js';
import { bytesPerConnection, STEPS, WARM_UP_ROUNDS } from './support/memory/idle-connections.js';
import { kernelBytes, residentBytes } from './support/memory/process-memory.js';
import { flag, number, oneOf, parseOptions } from './support/options.js';
import { report } from './support/report.js';
import { runInTurn } from './support/rounds.js';
import { medianOf, rounded } from './support/statistics.js';

/** TLS handshakes take both ends much longer. */
const WARM_UP_ROUNDS_TLS = 4;

interface Server {
  readonly pid: number;
  readonly port: number;
  /** Size of the JavaScript heap after a garbage collection; 0 for the server in C. */
  heapBytes(): Promise<number>;
  stop(): Promise<void>;
}

const TLS_NAMES = ['native', 'nativeTls', 'netTls'] as const;
type ServerName = BaselineName | (typeof TLS_NAMES)[number];
const hasTls = (name: ServerName) => name === 'nativeTls' || name === 'netTls';

const { json, connections, rounds, protocol, tls } = parseOptions({
  connections: number(18_000, STEPS, 18_000),
  rounds: number(3),
  protocol: oneOf(PROTOCOL_NAMES, 'sse'),
  tls: flag(),
});
const credentials = await credentialIssuer('HS256');
const names: readonly ServerName[] = tls ? TLS_NAMES : BASELINE_NAMES;
const costs = await runInTurn(rounds, names, measure);
const medians = Object.fromEntries(names.map((name) => [name, mediansOf(name)]));
const ratio = tls
  ? {}
  : { totalRatioToBare: rounded(totalBytes('native') / totalBytes('bare'), 3) };
report(json, { ...medians, ...ratio, protocol, connections, rounds }, printTable);

async function measure(name: ServerName) {
  const server = await startServer(name);
  const fleet = new Fleet(1, hasTls(name) ? 'tls' : 'plain');
  try {
    return await bytesPerConnection({
      fleet,
      port: server.port,
      connections,
      // The baseline server answers only what ends like an HTTP request.
      protocol: name === 'bare' ? 'sse' : protocol,
      warmUpRounds: hasTls(name) ? WARM_UP_ROUNDS_TLS : WARM_UP_ROUNDS,
      async pathOf(i) {
        const clientId = `device-${i}`;
        return `/connect?clientId=${clientId}${await credentials.issue(clientId)}`;
      },
      async read(open) {
        const heap = await server.heapBytes();
        return { heap, user: residentBytes(server.pid), kernel: kernelBytes(2 * open) };
      },
    });
  } finally {
    fleet.stop();
    await server.stop();
  }
}

async function startServer(name: ServerName): Promise<Server> {
  if (name === 'nativeTls' || name === 'netTls') {
    const transport = name === 'nativeTls' ? 'native' : 'net';
    return startOneEdge(transport, { ...credentials.env, ...tlsSettings() });
  }
  if (name !== 'bare') return startOneEdge(name, credentials.env);
  const answer = `HTTP/1.1${DEVICE_PROTOCOLS.sse.accepted}OK\r\n\r\n`;
  return { ...(await startBaseline('bare', answer, '')), heapBytes: async () => 0 };
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
