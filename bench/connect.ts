/**
 * Devices that connect at once to one edge of a whole cluster: how many are accepted, admitted and
 * answered per second, and what a connect costs each process.
 *
 *   none, HS256            without credentials, and with a token that is seen for the first time;
 *                          the admission rate is off
 *   nonePaced, HS256Paced  the same with the default admission rate
 *   portable               `none` on the portable transport
 *   baseline               a server in C with one answer for all
 *
 * The edge does more than the baseline: it parses the request, finds the shard and its owner,
 * announces the connection over Redis, and reads the inbox of the client before the connection
 * counts as live.
 *
 *   cpuUs    microseconds of processor time per connect: user, system, total. `server` is
 *            everything except the devices
 *
 * `--auth` compares the ways of authentication instead: a ticket, or a token of each algorithm.
 * `checkCpuUs` is the processor time of one check on all cores together, in microseconds, measured
 * in this process: it is meaningful on a busy machine, too. `--connections 0` measures only that.
 *
 * `--tls` compares handshakes of TLS 1.3 instead, full ones and resumed sessions: the native
 * transport and the portable one without an edge, and a server in C with OpenSSL
 * (connect/handshakes.ts).
 *
 *   perSecond              handshakes and answers over the time in which the server worked
 *   nativeRatioToOpenssl   the rate of the native transport over that of OpenSSL
 *   nativeCpuRatio         OpenSSL's processor time over that of the native transport
 *
 * There are 5,000 connections. It needs the `openssl` and `taskset` commands.
 *
 * `--connections` and `--rounds` make it shorter, `--json` prints one line.
 */
import { pino } from 'pino';
import { table } from '../cli/commands/table.js';
import { openAuthenticator } from '../common/auth/open-authenticator.js';
import { Metrics } from '../common/process/metrics.js';
import { CHUNKED } from '../common/wire/body-framing.js';
import { parseConnectQuery } from '../common/wire/connect-query.js';
import { parseEdgeConfig } from '../edge/config.js';
import { SseProtocol } from '../edge/protocol/http/sse.js';
import { compareHandshakes } from './connect/handshakes.js';
import { startBaseline } from './memory/baseline-servers.js';
import { startOneEdge } from './support/cluster/one-edge.js';
import { type ConnectRun, connectRun, medianConnectRun } from './support/devices/connect-run.js';
import {
  CREDENTIAL_NAMES,
  type CredentialIssuer,
  type CredentialName,
  credentialIssuer,
} from './support/devices/credentials.js';
import { type Device, Receivers } from './support/devices/receivers.js';
import { DEVICE_PROTOCOLS } from './support/devices/requests.js';
import { flag, isGiven, number, parseOptions } from './support/options.js';
import type { Pids } from './support/processes/cpu.js';
import { progress, report } from './support/report.js';
import { runInTurn } from './support/rounds.js';
import { rounded } from './support/statistics.js';

interface Server {
  readonly port: number;
  readonly pids: Pids;
  stop(): Promise<void>;
}

/** Returns the credentials of a client as a part of its query; '' without credentials. */
type Issue = (clientId: string) => Promise<string>;

const CASE_NAMES = ['none', 'HS256', 'nonePaced', 'HS256Paced', 'portable', 'baseline'] as const;
type CaseName = (typeof CASE_NAMES)[number];

const CHECKS = 5_000;
/** The required settings of an edge; authentication uses none of them. */
const EDGE_SETTINGS = {
  LONGLINE_EDGE_ID: 'edge-1',
  LONGLINE_REDIS_URL: 'redis://localhost',
  LONGLINE_CONTROL_ADDRESS: 'localhost:7201',
};
const WARM_UP_CONNECTIONS = 2_000;

const { json, auth, tls, connections, rounds } = parseOptions({
  auth: flag(),
  tls: flag(),
  connections: number(isGiven('tls') ? 5_000 : 16_000, 0),
  rounds: number(3),
});
if (auth) await compareCredentials();
else if (tls) await compareHandshakes(connections, rounds, json);
else await compareServers();

async function compareServers(): Promise<void> {
  const issuers = { none: await credentialIssuer('none'), HS256: await credentialIssuer('HS256') };
  const runs = await runInTurn(rounds, CASE_NAMES, async (name) => {
    progress(name);
    const issuer = name.startsWith('HS256') ? issuers.HS256 : issuers.none;
    return measure(await startServer(name, issuer.env), issuer.issue);
  });
  reportRuns(CASE_NAMES, runs, 'baseline');
}

function startServer(name: CaseName, env: NodeJS.ProcessEnv): Promise<Server> {
  if (name === 'baseline') return startBaselineServer();
  const isPaced = name.endsWith('Paced');
  return startOneEdge(name === 'portable' ? 'net' : 'native', env, isPaced ? 'default' : 'off');
}

async function startBaselineServer(): Promise<Server> {
  const opening = new SseProtocol(CHUNKED).encodeOpening([], { ticket: undefined }).toString();
  const { port, pid, stop } = await startBaseline('bare', opening, '');
  return { port, pids: { baseline: pid }, stop };
}

async function compareCredentials(): Promise<void> {
  const issuers = new Map<CredentialName, CredentialIssuer>();
  const checkCpuUs: Record<string, number> = {};
  for (const name of CREDENTIAL_NAMES) issuers.set(name, await credentialIssuer(name));
  for (const [name, issuer] of issuers) checkCpuUs[name] = await cpuUsOfCheck(issuer);
  if (connections === 0) return console.log(JSON.stringify({ checkCpuUs }));
  const runs = await runInTurn(rounds, CREDENTIAL_NAMES, async (name) => {
    const { env, issue } = issuers.get(name)!;
    return measure(await startOneEdge('native', env), issue);
  });
  reportRuns(CREDENTIAL_NAMES, runs, 'none', { checkCpuUs });
  if (!json) console.log(`CPU of one check, in microseconds: ${JSON.stringify(checkCpuUs)}`);
}

async function cpuUsOfCheck({ env, issue }: CredentialIssuer): Promise<number> {
  const log = pino({ level: 'silent' });
  const config = parseEdgeConfig({ ...EDGE_SETTINGS, ...env }, 20_000).jwt;
  const opened = await openAuthenticator(config, log, new Metrics(), 'edge');
  const clientIds = Array.from({ length: CHECKS }, (_, i) => `device-${i}`);
  const requests = await Promise.all(
    clientIds.map(async (clientId) =>
      parseConnectQuery(`/connect?clientId=${clientId}${await issue(clientId)}`),
    ),
  );
  const from = process.cpuUsage();
  for (const request of requests) {
    if ('code' in request) throw new Error(request.message);
    const verified = await opened.authenticator.check(request.clientId, request.credentials);
    if ('code' in verified) throw new Error(verified.message);
  }
  const { user, system } = process.cpuUsage(from);
  opened.close();
  return rounded((user + system) / CHECKS, 1);
}

/** Stops the server afterwards. */
async function measure(server: Server, issue: Issue): Promise<ConnectRun> {
  const kind = DEVICE_PROTOCOLS.sse;
  const devicesOf = async (prefix: string, count: number) => {
    const devices: Device[] = [];
    for (let i = 0; i < count; i++) {
      const clientId = `${prefix}-${i}`;
      const path = `/connect?clientId=${clientId}${await issue(clientId)}`;
      devices.push({ port: server.port, request: kind.request(path) });
    }
    return devices;
  };
  const receivers = new Receivers(kind);
  try {
    const warmUp = await devicesOf('warm-up', WARM_UP_CONNECTIONS);
    const measured = await devicesOf('device', connections);
    return await connectRun(server.pids, receivers, { warmUp, measured });
  } finally {
    await receivers.stop();
    await server.stop();
  }
}

/** @param unit the name that all others are compared with */
function reportRuns<Name extends string>(
  names: readonly Name[],
  runs: Readonly<Record<Name, readonly ConnectRun[]>>,
  unit: Name,
  more: object = {},
): void {
  const medians = names.map((name) => ({ name, ...medianConnectRun(runs[name]) }));
  const unitPerSecond = medians.find(({ name }) => name === unit)!.perSecond;
  const figures = medians.map((run) => ({
    ...run,
    ratio: rounded(run.perSecond / unitPerSecond, 3),
  }));
  const result = {
    ...Object.fromEntries(figures.map(({ name, ...rest }) => [name, rest])),
    ...more,
    ratioTo: unit,
    connections,
    rounds,
  };
  report(json, result, () => {
    console.log(`${connections} devices connect at once, median of ${rounds} rounds`);
    const processes = ['server', 'edge-1', 'redis', 'control', 'devices'];
    const rows = figures.map(({ name, perSecond, ratio, cpuUs, limit, otherCores }) => {
      const cpu = processes.map((process) => cpuUs[process]?.total ?? '');
      return [name, perSecond, ratio, ...cpu, otherCores, limit];
    });
    const cpuNames = ['server µs', ...processes.slice(1)];
    const titles = ['', 'answered/s', `of ${unit}`, ...cpuNames, 'other cores', 'limit'];
    console.log(table(titles, rows));
  });
}
