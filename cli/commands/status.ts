/** `longline status`: the edges and the cluster, once or with refreshes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeBuild } from '../../common/process/build-info.js';
import {
  type ClusterView,
  type ControlApi,
  controlApi,
  type EdgeView,
  type MovesResponse,
} from '../control/api.js';
import { Failure } from '../terminal/failure.js';
import { eta, plural, UNKNOWN } from './format.js';
import { stateLines } from './moves-state.js';
import { table } from './table.js';

export interface ControlOptions {
  /** URL of control's HTTP API. */
  readonly control: string;
  /** Undefined: LONGLINE_TOKEN. */
  readonly token?: string;
  readonly json?: boolean;
}

export interface StatusOptions extends ControlOptions {
  readonly watch?: boolean;
}

const REDRAW_MS = 1_000;
/** Interval where there is no terminal. */
const REPRINT_MS = 2_000;
const CLEAR = '\u001b[H\u001b[J';
const MOVES_SHOWN_MAX = 10;

/** @throws Failure when control rejects or cannot be reached; with `--watch` only at first */
export async function status(options: StatusOptions): Promise<void> {
  const api = controlApi(options.control, options.token);
  const isScreen = process.stdout.isTTY && !options.json;
  let shown = await fetchStatus(api, options);
  for (let stale = ''; ; ) {
    console.log(`${options.watch && isScreen ? CLEAR : ''}${shown}${stale}`);
    if (!options.watch) return;
    await sleep(isScreen ? REDRAW_MS : REPRINT_MS);
    try {
      shown = await fetchStatus(api, options);
      stale = '';
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      stale = options.json ? '' : `\nNot current: ${error.message}`;
    }
  }
}

async function fetchStatus(api: ControlApi, { json }: StatusOptions): Promise<string> {
  const [cluster, edges, moves] = await Promise.all([api.cluster(), api.edges(), api.moves()]);
  if (json) return JSON.stringify({ cluster, edges, moves });
  const lines = [...reasonLines(edges), summary(cluster), ...moveLines(moves)];
  return [edgeTable(edges), ...lines].join('\n');
}

function edgeTable(edges: readonly EdgeView[]): string {
  const head = [
    ...['edge', 'state', 'intent', 'ready', 'shards', 'subscribed', 'connections', 'guests'],
    'url',
  ];
  const rows = edges.map((edge) => [
    edge.id,
    edge.state,
    edge.intent ?? UNKNOWN,
    edge.ready === null ? UNKNOWN : edge.ready ? 'yes' : 'no',
    edge.shardsOwned,
    edge.shardsSubscribed ?? UNKNOWN,
    edge.connections ?? UNKNOWN,
    edge.guests ?? UNKNOWN,
    edge.advertisedUrl,
  ]);
  return table(head, rows);
}

/** Several edges with one reason share a line: most likely it is not theirs. */
function reasonLines(edges: readonly EdgeView[]): string[] {
  const edgeIds = new Map<string, string[]>();
  for (const { id, reasons } of edges) {
    for (const reason of reasons) edgeIds.set(reason, [...(edgeIds.get(reason) ?? []), id]);
  }
  return Array.from(edgeIds, ([reason, ids]) => `${ids.join(', ')}: ${reason}`);
}

function summary(cluster: ClusterView): string {
  const { position } = cluster;
  return [
    `edges alive ${cluster.edgesAlive}`,
    `shards ${cluster.shardCount}, unowned ${cluster.shardsUnowned}`,
    `largest share ${cluster.shardsMaxOverMean.toFixed(3)} of the mean`,
    `connections ${cluster.connections}, guests ${cluster.guests}`,
    `assignment ${position.incarnation}.${position.epoch}`,
    ...(cluster.leader === null ? [] : [`leader ${cluster.leader}`]),
    ...(cluster.build === undefined ? [] : [`version ${describeBuild(cluster.build)}`]),
  ].join(' · ');
}

/** Lines about moves and drains, if there are any. */
function moveLines(moves: MovesResponse): string[] {
  const { inFlight, pending, perSecond, paceReason, secondsRemaining } = moves;
  const lines = stateLines(moves);
  if (inFlight.length + pending === 0) return lines;
  const pace = `${perSecond.toFixed(1)} clients/s (${paceReason}), ${eta(secondsRemaining)}`;
  lines.push(`Moving ${plural(inFlight.length, 'shard')}, ${pending} pending · ${pace}`);
  const rows = inFlight
    .slice(0, MOVES_SHOWN_MAX)
    .map(({ shard, from, to, phase, clientsRemaining }) => [
      shard,
      from,
      to,
      phase,
      clientsRemaining ?? UNKNOWN,
    ]);
  if (rows.length > 0) lines.push(table(['shard', 'from', 'to', 'phase', 'clients left'], rows));
  const hidden = inFlight.length - rows.length;
  if (hidden > 0) lines.push(`and ${hidden} more`);
  return lines;
}
