/**
 * How many connections a second are accepted, admitted and answered when many devices come at once:
 * by an edge of a whole cluster on the native and on the portable transport, and by a holder in C
 * that answers everybody the same.
 *
 * What the edge does beside: it parses the request, finds the shard and its owner, announces the
 * connection over Redis, and reads the inbox of the client before the connection counts as live.
 *
 * `--auth` asks another question: what it costs to find out who the devices are, by a ticket or by a
 * token of each algorithm, on the native transport and beside an edge that believes them. No token
 * is shown twice. `checkCpuUs` is what one check takes of all cores together, in microseconds,
 * measured in this process: it says something on a busy machine, too. `--connections 0`: that alone.
 *
 * `--connections` and `--rounds` make it shorter, `--json` prints one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { table } from '../cli/commands/table.js';
import { openAuthenticator } from '../common/auth/open-authenticator.js';
import { Metrics } from '../common/process/metrics.js';
import { parseConnectQuery } from '../common/wire/connect-query.js';
import { parseEdgeConfig } from '../edge/config.js';
import { sseOpening } from '../edge/protocol/http/sse.js';
import { HOLDER_NAMES, startHolder } from './memory/baseline-servers.js';
import {
  CREDENTIAL_NAMES,
  type CredentialName,
  credentialsOf,
  type Shown,
} from './support/credentials.js';
import { Fleet } from './support/fleet.js';
import { startOneEdge } from './support/one-edge.js';
import { median, rounded } from './support/statistics.js';

interface Server {
  readonly port: number;
  stop(): Promise<void>;
}

const CHECKS = 5_000;
/** As far as authentication needs them. */
const EDGE_SETTINGS = {
  LONGLINE_EDGE_ID: 'edge-1',
  LONGLINE_REDIS_URL: 'redis://localhost',
  LONGLINE_CONTROL_ADDRESS: 'localhost:7201',
};
const WARM_UP_CONNECTIONS = 2_000;
/** Until what the last connections have left to do is done. */
const SETTLE_MS = 2_000;

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    auth: { type: 'boolean' },
    connections: { type: 'string', default: '16000' },
    rounds: { type: 'string', default: '3' },
  },
});
const connections = Number(values.connections);
const rounds = Number(values.rounds);

if (values.auth) await compareCredentials();
else await compareHolders();

async function compareHolders(): Promise<void> {
  const rates = await measureAll(HOLDER_NAMES, (name) =>
    name === 'bare' ? startHolder('bare', sseOpening([]).toString(), '') : startOneEdge(name),
  );
  report(HOLDER_NAMES, rates, 'bare');
}

async function compareCredentials(): Promise<void> {
  const shown = new Map<CredentialName, Shown>();
  for (const name of CREDENTIAL_NAMES) shown.set(name, await credentialsOf(name));
  const checkCpuUs: Record<string, number> = {};
  for (const name of CREDENTIAL_NAMES) checkCpuUs[name] = await cpuUsOfCheck(shown.get(name)!);
  if (connections === 0) return console.log(JSON.stringify({ checkCpuUs }));
  const rates = await measureAll(
    CREDENTIAL_NAMES,
    (name) => startOneEdge('native', shown.get(name)!.env),
    (name, clientId) => shown.get(name)!.show(clientId),
  );
  report(CREDENTIAL_NAMES, rates, 'none', { checkCpuUs });
  if (!values.json) console.log(`CPU of one check, in microseconds: ${JSON.stringify(checkCpuUs)}`);
}

async function cpuUsOfCheck({ env, show }: Shown): Promise<number> {
  const log = pino({ level: 'silent' });
  const config = parseEdgeConfig({ ...EDGE_SETTINGS, ...env }, 20_000).jwt;
  const opened = await openAuthenticator(config, log, new Metrics(), 'edge');
  const clientIds = Array.from({ length: CHECKS }, (_, i) => `device-${i}`);
  const requests = await Promise.all(
    clientIds.map(async (clientId) =>
      parseConnectQuery(`/connect?clientId=${clientId}${await show(clientId)}`),
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

/** Connections a second by name, the median of all rounds. They take turns: noise hits all. */
async function measureAll<Name extends string>(
  names: readonly Name[],
  start: (name: Name) => Promise<Server>,
  show: (name: Name, clientId: string) => Promise<string> = async () => '',
): Promise<Map<Name, number>> {
  const rates = new Map<Name, number[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const rate = await measure(await start(name), (clientId) => show(name, clientId));
      rates.get(name)!.push(rate);
    }
  }
  return new Map(names.map((name) => [name, Math.round(median(rates.get(name)!))]));
}

/** @param unit what the others are compared with */
function report<Name extends string>(
  names: readonly Name[],
  rates: ReadonlyMap<Name, number>,
  unit: Name,
  more: object = {},
): void {
  const ratio = (name: Name) => rounded(rates.get(name)! / rates.get(unit)!, 3);
  if (values.json) {
    const ratios = Object.fromEntries(
      names
        .filter((name) => name !== unit)
        .map((name) => [`${name}RatioTo${capital(unit)}`, ratio(name)]),
    );
    console.log(
      JSON.stringify({ ...Object.fromEntries(rates), ...ratios, ...more, connections, rounds }),
    );
    return;
  }
  console.log(`${connections} devices connect at once, median of ${rounds} rounds`);
  const rows = names.map((name) => [name, rates.get(name)!, ratio(name)]);
  console.log(table(['', 'answered/s', `of ${unit}`], rows));
}

function capital(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

async function measure(
  server: Server,
  show: (clientId: string) => Promise<string>,
): Promise<number> {
  const fleet = new Fleet(1);
  const connect = async (prefix: string, count: number) => {
    const paths: string[] = [];
    for (let i = 0; i < count; i++) {
      const clientId = `${prefix}-${i}`;
      paths.push(`/connect?clientId=${clientId}${await show(clientId)}`);
    }
    return (await fleet.connect([{ port: server.port, paths }])).seconds;
  };
  try {
    await connect('warm-up', WARM_UP_CONNECTIONS);
    await fleet.close();
    await sleep(SETTLE_MS);
    return connections / (await connect('device', connections));
  } finally {
    fleet.stop();
    await server.stop();
  }
}
