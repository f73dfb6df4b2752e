/**
 * Process of the rebalance bench with half of its clients, and with the backend that pushes to
 * them: the devices and the history of the drill, without its faults.
 */
import { between, pick, seeded } from '../../drill/faults/random.js';
import { check } from '../../drill/history/check.js';
import { CHECKS } from '../../drill/history/checks.js';
import { type History, newHistory } from '../../drill/history/history.js';
import { indexOf } from '../../drill/history/history-index.js';
import { Backend } from '../../drill/load/backend.js';
import { Fleet } from '../../drill/load/fleet.js';
import { percentile } from '../support/statistics.js';

export type ToClients =
  | {
      readonly type: 'connect';
      readonly prefix: string;
      readonly clients: number;
      readonly pushesPerSecond: number;
      readonly routerUrl: string;
      readonly routerAddress: string;
      readonly edgeUrls: readonly string[];
    }
  /** Answered with the number of connected clients. */
  | { readonly type: 'count' }
  /** Begins a phase; later pushes and connections belong to it. */
  | { readonly type: 'phase'; readonly name: string }
  /** Stops pushing, waits for pushes in flight, and answers with `ClientsResult`. */
  | { readonly type: 'finish' };

export interface PhaseResult {
  readonly pushes: number;
  /** From the call of Push to its answer. */
  readonly verdictP99Ms: number;
  /** From the call of Push to the bytes at the device. */
  readonly receivedP99Ms: number;
  /** Connections that were opened. */
  readonly connects: number;
}

export interface ClientsResult {
  /** Violations, by check. */
  readonly findings: Readonly<Record<string, number>>;
  /** Descriptions of the first violations. */
  readonly details: readonly string[];
  /** Live-only pushes that did not arrive, whichever verdict they got. */
  readonly lostLive: number;
  readonly pushes: number;
  readonly phases: Readonly<Record<string, PhaseResult>>;
}

/** The default of edges. */
const HEARTBEAT_MS = 15_000;
const CONNECT_MS = 8_000;
const DETAILS_MAX = 10;
const PUSH_TICK_MS = 10;
const LIVE_SHARE = 0.2;
/** Time in which accepted pushes have to arrive. */
const QUIET_MS = 10_000;

const history = newHistory();
const phases: { name: string; fromMs: number }[] = [];
let fleet: Fleet;
let backend: Backend;
let pushing: NodeJS.Timeout;

process.on('message', async (message: ToClients) => {
  process.send!(await answer(message));
});
process.on('disconnect', () => process.exit());

async function answer(message: ToClients): Promise<boolean | number | ClientsResult> {
  switch (message.type) {
    case 'connect':
      await connect(message);
      return true;
    case 'count':
      return fleet.openCount;
    case 'phase':
      phases.push({ name: message.name, fromMs: performance.now() });
      return true;
    case 'finish':
      return finish();
  }
}

async function connect(options: Extract<ToClients, { type: 'connect' }>): Promise<void> {
  const random = seeded(1);
  backend = new Backend({
    routers: [options.routerAddress],
    history,
    random,
    acceptLevels: ['accepted'],
    firstNumber: 1,
    runId: options.prefix,
  });
  fleet = new Fleet({
    count: options.clients,
    prefix: options.prefix,
    routerUrls: [options.routerUrl],
    edgeUrls: options.edgeUrls,
    heartbeatMs: HEARTBEAT_MS,
    history,
    random,
    signal: new AbortController().signal,
    flood: () => {},
  });
  await fleet.connect(CONNECT_MS);
  const startMs = performance.now();
  let pushed = 0;
  pushing = setInterval(() => {
    const due = ((performance.now() - startMs) / 1000) * options.pushesPerSecond;
    for (; pushed < due; pushed++) {
      const { clientId } = pick(random, fleet.devices);
      backend.push(clientId, random() >= LIVE_SHARE, between(random, 20, 300));
    }
  }, PUSH_TICK_MS);
}

async function finish(): Promise<ClientsResult> {
  clearInterval(pushing);
  const endMs = performance.now();
  await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
  backend.close();
  fleet.stop();
  const findings = Object.fromEntries(CHECKS.map((name) => [name, 0]));
  const found = check(history);
  for (const { check: name } of found) findings[name]!++;
  const details = found
    .slice(0, DETAILS_MAX)
    .map(({ check: name, clientId, message }) => `${name}: ${clientId}: ${message}`);
  const index = indexOf(history);
  const lostLive = history.pushes.filter(
    (push) => !push.isDurable && index.receivedOf(push).length === 0,
  ).length;
  const results = phases.map(({ name, fromMs }, i) => {
    const toMs = phases[i + 1]?.fromMs ?? endMs;
    return [name, phaseResult(history, fromMs, toMs)] as const;
  });
  return {
    findings,
    details,
    lostLive,
    pushes: history.pushes.length,
    phases: Object.fromEntries(results),
  };
}

function phaseResult(history: History, fromMs: number, toMs: number): PhaseResult {
  const index = indexOf(history);
  const verdictsMs: number[] = [];
  const receivedMs: number[] = [];
  let pushes = 0;
  for (const push of history.pushes) {
    const first = push.attempts[0];
    if (first === undefined || first.sentAtMs < fromMs || first.sentAtMs >= toMs) continue;
    pushes++;
    verdictsMs.push(first.endedAtMs - first.sentAtMs);
    const [received] = index.receivedOf(push);
    if (received !== undefined) receivedMs.push(received.receipt.atMs - first.sentAtMs);
  }
  const connects = history.connections.filter(
    ({ openedAtMs }) => openedAtMs >= fromMs && openedAtMs < toMs,
  ).length;
  return {
    pushes,
    verdictP99Ms: Math.round(percentile(verdictsMs, 99)),
    receivedP99Ms: Math.round(percentile(receivedMs, 99)),
    connects,
  };
}
