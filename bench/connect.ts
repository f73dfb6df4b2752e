/**
 * Connections per second that are accepted, admitted and answered when many devices connect at
 * once: by an edge of a whole cluster on the native and on the portable transport, and by a
 * baseline server in C with one answer for all.
 *
 * The edge does more: it parses the request, finds the shard and its owner, announces the
 * connection over Redis, and reads the inbox of the client before the connection counts as live.
 *
 * `--auth` measures the cost of authentication instead, by a ticket or by a token of each
 * algorithm, on the native transport and beside an edge without authentication. No token is used
 * twice. `checkCpuUs` is the processor time of one check on all cores together, in microseconds,
 * measured in this process: it is meaningful on a busy machine, too. `--connections 0` measures
 * only that.
 *
 * `--connections` and `--rounds` make it shorter, `--json` prints one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import { table } from '../cli/commands/table.js';
import { openAuthenticator } from '../common/auth/open-authenticator.js';
import { Metrics } from '../common/process/metrics.js';
import { CHUNKED } from '../common/wire/body-framing.js';
import { parseConnectQuery } from '../common/wire/connect-query.js';
import { parseEdgeConfig } from '../edge/config.js';
import { SseProtocol } from '../edge/protocol/http/sse.js';
import { BASELINE_NAMES, startBaseline } from './memory/baseline-servers.js';
import { startOneEdge } from './support/cluster/one-edge.js';
import {
  CREDENTIAL_NAMES,
  type CredentialIssuer,
  type CredentialName,
  credentialIssuer,
} from './support/devices/credentials.js';
import { Fleet } from './support/devices/fleet.js';
import { flag, number, parseOptions } from './support/options.js';
import { report } from './support/report.js';
import { runInTurn } from './support/rounds.js';
import { medianOf, rounded } from './support/statistics.js';

interface Server {
  readonly port: number;
  stop(): Promise<void>;
}

/** Returns the credentials of a client as a part of its query; '' without credentials. */
type Issue = (clientId: string) => Promise<string>;

const CHECKS = 5_000;
/** The required settings of an edge; authentication uses none of them. */
const EDGE_SETTINGS = {
  LONGLINE_EDGE_ID: 'edge-1',
  LONGLINE_REDIS_URL: 'redis://localhost',
  LONGLINE_CONTROL_ADDRESS: 'localhost:7201',
};
const WARM_UP_CONNECTIONS = 2_000;
/** Time for the server to finish the work that the warm-up leaves. */
const WARM_UP_ENDS_MS = 2_000;

const { json, auth, connections, rounds } = parseOptions({
  auth: flag(),
  connections: number(16_000, 0),
  rounds: number(3),
});
if (auth) await compareCredentials();
else await compareServers();

async function compareServers(): Promise<void> {
  const rates = await runInTurn(rounds, BASELINE_NAMES, async (name) =>
    connectRate(
      name === 'bare'
        ? await startBaseline(
            'bare',
            new SseProtocol(CHUNKED).encodeOpening([], { ticket: undefined }).toString(),
            '',
          )
        : await startOneEdge(name),
      async () => '',
    ),
  );
  reportRates(BASELINE_NAMES, rates, 'bare');
}

async function compareCredentials(): Promise<void> {
  const issuers = new Map<CredentialName, CredentialIssuer>();
  const checkCpuUs: Record<string, number> = {};
  for (const name of CREDENTIAL_NAMES) issuers.set(name, await credentialIssuer(name));
  for (const [name, issuer] of issuers) checkCpuUs[name] = await cpuUsOfCheck(issuer);
  if (connections === 0) return console.log(JSON.stringify({ checkCpuUs }));
  const rates = await runInTurn(rounds, CREDENTIAL_NAMES, async (name) => {
    const { env, issue } = issuers.get(name)!;
    return connectRate(await startOneEdge('native', env), issue);
  });
  reportRates(CREDENTIAL_NAMES, rates, 'none', { checkCpuUs });
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

/** Connections per second, after a warm-up. Stops the server. */
async function connectRate(server: Server, issue: Issue): Promise<number> {
  const fleet = new Fleet(1);
  const connect = async (prefix: string, count: number) => {
    const paths: string[] = [];
    for (let i = 0; i < count; i++) {
      const clientId = `${prefix}-${i}`;
      paths.push(`/connect?clientId=${clientId}${await issue(clientId)}`);
    }
    return (await fleet.connect([{ port: server.port, paths }])).seconds;
  };
  try {
    await connect('warm-up', WARM_UP_CONNECTIONS);
    await fleet.close();
    await sleep(WARM_UP_ENDS_MS);
    return connections / (await connect('device', connections));
  } finally {
    fleet.stop();
    await server.stop();
  }
}

/** @param unit the name that all others are compared with */
function reportRates<Name extends string>(
  names: readonly Name[],
  rates: Readonly<Record<Name, readonly number[]>>,
  unit: Name,
  more: object = {},
): void {
  const rateOf = (name: Name) => medianOf(rates[name], (rate) => rate, 0);
  const ratioOf = (name: Name) => rounded(rateOf(name) / rateOf(unit), 3);
  const others = names.filter((name) => name !== unit);
  const result = {
    ...Object.fromEntries(names.map((name) => [name, rateOf(name)])),
    ...Object.fromEntries(
      others.map((name) => [`${name}RatioTo${capitalized(unit)}`, ratioOf(name)]),
    ),
    ...more,
    connections,
    rounds,
  };
  report(json, result, () => {
    console.log(`${connections} devices connect at once, median of ${rounds} rounds`);
    const rows = names.map((name) => [name, rateOf(name), ratioOf(name)]);
    console.log(table(['', 'answered/s', `of ${unit}`], rows));
  });
}

function capitalized(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}
