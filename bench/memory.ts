/**
 * What one idle connection costs: an edge of a whole cluster on the native and on the portable
 * transport, and beside them a holder in C that does nothing but hold (bare/holder.c). Each runs in
 * a fresh process; connections are opened in steps, and what counts is the slope. Every device shows a
 * token of its own, which the edges check (HS256).
 *
 *   userBytesPerConnection   resident memory of the process that holds, garbage collected
 *   heapBytesPerConnection   of these, the heap of JavaScript and what its arrays have outside
 *   kernelBytesPerPair       the kernel's objects for both ends of a connection: the devices are on
 *                            this machine, too
 *   totalRatioToBare         (user + half of kernel) of native over that of bare
 *
 * `--tls` compares instead the portable transport with itself under TLS, which needs the `openssl`
 * command; the devices under TLS are Node's own.
 *
 * `--protocol sse`, `ws` or `mqtt`, the device's side of which is in `greetings.ts`. `--connections 18000` is the
 * most that one process can hold here; `--json` prints one line.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { table } from '../cli/commands/table.js';
import { HOLDER_NAMES, type HolderName, startHolder } from './memory/baseline-servers.js';
import { GREETINGS, type GreetingName, isGreeting } from './memory/requests.js';
import { kernelBytes, residentBytes } from './memory/resident.js';
import { tlsSettings } from './support/certificate.js';
import { credentialsOf } from './support/credentials.js';
import { Fleet } from './support/fleet.js';
import { startOneEdge } from './support/one-edge.js';
import { median, rounded, slope } from './support/statistics.js';

const STEPS = 6;
/**
 * Before the first step a few devices connect and leave again and again: code is compiled and the
 * young generation has its size, which would else be counted as connections.
 */
const WARM_UP_CONNECTIONS = 500;
const WARM_UP_ROUNDS = 20;
/** Handshakes of TLS take both ends much longer. */
const WARM_UP_ROUNDS_TLS = 4;
/** Until the kernel has freed what it frees later. */
const SETTLE_MS = 1_500;

const { values } = parseArgs({
  options: {
    json: { type: 'boolean' },
    connections: { type: 'string', default: '18000' },
    rounds: { type: 'string', default: '3' },
    protocol: { type: 'string', default: 'sse' },
    tls: { type: 'boolean', default: false },
  },
});
const connectionsMax = Number(values.connections);
const rounds = Number(values.rounds);
const protocol = greetingNamed(values.protocol);
if (!(connectionsMax >= STEPS && connectionsMax <= 18_000)) {
  throw new Error(`--connections ${values.connections}: expected ${STEPS} to 18000`);
}

interface Server {
  readonly port: number;
  readonly pid: number;
  /** Of JavaScript, garbage collected; 0 where there is none. */
  heapBytes(): Promise<number>;
  stop(): Promise<void>;
}

interface Cost {
  readonly userBytesPerConnection: number;
  readonly heapBytesPerConnection: number;
  readonly kernelBytesPerPair: number;
}

type Held = HolderName | 'tls';

const shown = await credentialsOf('HS256');
const names: readonly Held[] = values.tls ? ['net', 'tls'] : HOLDER_NAMES;
const costs = new Map<Held, Cost[]>(names.map((name) => [name, []]));
for (let round = 0; round < rounds; round++) {
  // In turn: what else the machine does meanwhile hits all.
  for (const name of names) costs.get(name)!.push(await measure(name));
}
const results = names.map((name) => [name, medians(costs.get(name)!)] as const);
const ratio = values.tls ? {} : { totalRatioToBare: totalRatioToBare() };
if (values.json) {
  const what = { protocol, connections: connectionsMax, rounds };
  console.log(JSON.stringify({ ...Object.fromEntries(results), ...ratio, ...what }));
} else {
  printTable();
}

function totalRatioToBare(): number {
  const total = (name: Held) => {
    const cost = medians(costs.get(name)!);
    return cost.userBytesPerConnection + cost.kernelBytesPerPair / 2;
  };
  return rounded(total('native') / total('bare'), 3);
}

function greetingNamed(name: string): GreetingName {
  if (isGreeting(name)) return name;
  const known = Object.keys(GREETINGS).join(', ');
  throw new Error(`--protocol ${name}: expected one of ${known}`);
}

function medians(costs: readonly Cost[]): Cost {
  const of = (name: keyof Cost) => rounded(median(costs.map((cost) => cost[name])), 1);
  return {
    userBytesPerConnection: of('userBytesPerConnection'),
    heapBytesPerConnection: of('heapBytesPerConnection'),
    kernelBytesPerPair: of('kernelBytesPerPair'),
  };
}

function start(name: Held): Promise<Server> {
  if (name === 'bare') return startBare();
  return name === 'tls'
    ? startOneEdge('net', { ...shown.env, ...tlsSettings() })
    : startOneEdge(name, shown.env);
}

async function measure(name: Held): Promise<Cost> {
  const server = await start(name);
  const fleet = new Fleet(1, name === 'tls' ? 'tls-devices.js' : 'devices.js');
  // The holder in C answers whatever ends like a request of HTTP.
  const greeting = name === 'bare' ? 'sse' : protocol;
  try {
    const user: [number, number][] = [];
    const heap: [number, number][] = [];
    const kernel: [number, number][] = [];
    let held = 0;
    const connectUntil = async (count: number) => {
      const paths: string[] = [];
      while (held < count) {
        const clientId = `device-${held++}`;
        paths.push(`/connect?clientId=${clientId}${await shown.show(clientId)}`);
      }
      await fleet.connect([{ port: server.port, paths }], greeting);
    };
    const warmUpRounds = name === 'tls' ? WARM_UP_ROUNDS_TLS : WARM_UP_ROUNDS;
    for (let round = 0; round < warmUpRounds; round++) {
      held = 0;
      await connectUntil(WARM_UP_CONNECTIONS);
      await fleet.close();
    }
    held = 0;
    for (let step = 1; step <= STEPS; step++) {
      await connectUntil(Math.round((connectionsMax * step) / STEPS));
      await sleep(SETTLE_MS);
      heap.push([held, await server.heapBytes()]);
      user.push([held, residentBytes(server.pid)]);
      kernel.push([held, kernelBytes(2 * held)]);
    }
    return {
      userBytesPerConnection: slope(user),
      heapBytesPerConnection: slope(heap),
      kernelBytesPerPair: slope(kernel),
    };
  } finally {
    fleet.stop();
    await server.stop();
  }
}

async function startBare(): Promise<Server> {
  const answer = `HTTP/1.1${GREETINGS.sse.accepted}OK\r\n\r\n`;
  const holder = await startHolder('bare', answer, '');
  return { ...holder, heapBytes: async () => 0 };
}

function printTable(): void {
  console.log(
    `bytes per idle connection (${protocol}): slope over ${STEPS} steps to ${connectionsMax}, median of ${rounds}`,
  );
  const rows = results.map(([name, cost]) => [
    name,
    cost.userBytesPerConnection,
    cost.heapBytesPerConnection,
    cost.kernelBytesPerPair,
  ]);
  console.log(table(['', 'user', 'of these JavaScript', 'kernel, both ends'], rows));
  if (!values.tls) {
    console.log(`native over bare, user and kernel together: ${totalRatioToBare()}`);
  }
}
