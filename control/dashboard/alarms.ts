/** Alarms: the problems that an operator should see first, worst first. Pure. */
import type { CanariesResponse } from '../operator/canaries.js';
import type { ClusterResponse, EdgeInfo, MembersResponse } from '../operator/cluster-responses.js';
import type { MovesResponse } from '../operator/operation-responses.js';
import { duration, plural } from './format.js';

/** Each is the name of an alert of the chart, k8s/longline/files/alerts.yaml. */
export const ALARM_NAMES = [
  'LonglineNoLeader',
  'LonglineFrozen',
  'LonglineShardsUnowned',
  'LonglineRedisMasterDown',
  'LonglineLedgerUnbalanced',
  'LonglineCanaryFindings',
  'LonglineControlDegraded',
  'LonglineControlSilent',
  'LonglineEdgeDead',
  'LonglineEdgesUnready',
  'LonglineEdgesDegraded',
  'LonglineGaps',
  'LonglineBuildsDiffer',
  'LonglineSettingsDiffer',
  'LonglineMovesPaused',
  'LonglineCanaryUncovered',
] as const;

export interface Alarm {
  readonly name: (typeof ALARM_NAMES)[number];
  readonly level: 'bad' | 'warn';
  readonly text: string;
  /** View that shows more. */
  readonly href: string;
}

/** State of the cluster; undefined: not known yet. */
export interface AlarmSources {
  readonly cluster: ClusterResponse;
  readonly edges: readonly EdgeInfo[];
  readonly moves: MovesResponse | undefined;
  readonly members: MembersResponse | undefined;
  readonly canaries: CanariesResponse | undefined;
}

/** Names of processes in one alarm; more are counted. */
const NAMES_MAX = 5;
const NOT_READY = 'not ready';
const IN_NUMBERS =
  'in the numbers of durable pushes in the last 15 minutes; inboxes were read again';
/** A canary reports every five seconds. */
const CANARY_SILENT_MS = 30_000;

export function alarmsOf(sources: AlarmSources): Alarm[] {
  const alarms = [
    ...clusterAlarms(sources),
    ...edgeAlarms(sources),
    ...memberAlarms(sources),
    ...canaryAlarms(sources),
    ...(sources.moves?.paused ? [warn('LonglineMovesPaused', 'Moves are paused.', '#/moves')] : []),
  ];
  return [...alarms.filter(isBad), ...alarms.filter((alarm) => !isBad(alarm))];
}

function clusterAlarms({ cluster, moves }: AlarmSources): Alarm[] {
  const { leader, shardsUnowned, reasons, redisMasters } = cluster;
  const alarms: Alarm[] = [];
  if (leader === null) {
    const text = 'No control leads: no shard moves until one does.';
    alarms.push(bad('LonglineNoLeader', text, '#/events'));
  }
  if (moves?.frozenRemainingMs != null) {
    const left = duration(moves.frozenRemainingMs);
    const text = `Frozen: most edges vanished at once. Decisions resume in ${left}.`;
    alarms.push(bad('LonglineFrozen', text, '#/moves'));
  }
  if (shardsUnowned > 0) {
    const text = `${plural(shardsUnowned, 'shard')} without an owner: pushes to them are stored.`;
    alarms.push(bad('LonglineShardsUnowned', text, '#/shards'));
  }
  for (const { address } of redisMasters.filter(({ delivers }) => !delivers)) {
    const text = `The Redis master ${address} does not deliver.`;
    alarms.push(bad('LonglineRedisMasterDown', text, '#/overview'));
  }
  for (const reason of reasons) {
    const isLedger = reason.startsWith('ledger: ');
    const name = isLedger ? 'LonglineLedgerUnbalanced' : 'LonglineControlDegraded';
    alarms.push((isLedger ? bad : warn)(name, `Control: ${reason}`, '#/overview'));
  }
  return alarms;
}

/** Texts of an edge that a search finds: its state, and what is wrong with it. */
export function searchTextOf(edge: EdgeInfo): string {
  const { id, state, intent, ready } = edge;
  const isUnready = state === 'alive' && ready === false;
  return [id, state, intent, isUnready ? NOT_READY : '', ...problemsOf(edge)].join(' ');
}

/** Describes each thing that does not work on an edge, or did not in the last 15 minutes. */
export function problemsOf({ reasons, gaps }: EdgeInfo): string[] {
  return [...reasons, ...(gaps ? [`${plural(gaps, 'gap')} ${IN_NUMBERS}`] : [])];
}

function edgeAlarms({ edges }: AlarmSources): Alarm[] {
  const alarms: Alarm[] = [];
  /** @param search finds these edges in their view */
  const add = (
    of: typeof bad,
    name: Alarm['name'],
    search: string,
    is: (edge: EdgeInfo) => boolean,
    what = search,
  ) => {
    const ids = edges.filter(is).map(({ id }) => id);
    const query = ids.length === 1 ? `/${ids[0]}` : `?q=${encodeURIComponent(search)}`;
    if (ids.length > 0) alarms.push(of(name, `${listOf(ids)}: ${what}`, `#/edges${query}`));
  };
  const isSuspect = ({ state }: EdgeInfo) => state === 'suspect';
  const noSession = 'no session with control; the lease still runs';
  add(bad, 'LonglineEdgeDead', 'suspect', isSuspect, noSession);
  const isUnready = ({ state, ready }: EdgeInfo) => state === 'alive' && ready === false;
  add(bad, 'LonglineEdgesUnready', NOT_READY, isUnready);
  const isDead = ({ state }: EdgeInfo) => state === 'dead';
  add(warn, 'LonglineEdgeDead', 'dead', isDead, 'dead; other edges have its shards');
  for (const reason of new Set(edges.flatMap(({ reasons }) => reasons))) {
    add(warn, 'LonglineEdgesDegraded', reason, ({ reasons }) => reasons.includes(reason));
  }
  const gaps = edges.reduce((sum, edge) => sum + (edge.gaps ?? 0), 0);
  const found = `${plural(gaps, 'gap')} ${IN_NUMBERS}`;
  add(warn, 'LonglineGaps', IN_NUMBERS, (edge) => (edge.gaps ?? 0) > 0, found);
  return alarms;
}

function memberAlarms({ cluster: { build }, edges, members }: AlarmSources): Alarm[] {
  const { controls = [], routers = [], settings = [] } = members ?? {};
  const alarms: Alarm[] = [];
  const silent = controls.filter((control) => control.silent).map(({ id }) => id);
  if (silent.length > 0) {
    const text = `${listOf(silent)}: this control has fallen silent`;
    alarms.push(warn('LonglineControlSilent', text, '#/overview'));
  }
  // Unknown builds say nothing.
  const isOther = ({ version, commit }: { version: string | null; commit: string | null }) =>
    (version && version !== build.version) || (commit && build.commit && commit !== build.commit);
  const alive = edges.filter(({ state }) => state !== 'dead');
  const others = [...alive, ...routers, ...controls].filter(isOther).map(({ id }) => id);
  if (others.length > 0) {
    const text = `${listOf(others)}: another build than the control that answers`;
    alarms.push(warn('LonglineBuildsDiffer', text, '#/overview'));
  }
  for (const { name, groups } of settings) {
    const [, ...minorities] = groups;
    const ids = minorities.flatMap((group) => group.ids);
    const text = `${listOf(ids)}: ${name} is not as in the other processes`;
    alarms.push(warn('LonglineSettingsDiffer', text, '#/overview'));
  }
  return alarms;
}

function canaryAlarms({ canaries }: AlarmSources): Alarm[] {
  const alarms: Alarm[] = [];
  for (const { id, findings, combinations, covered, lastReportAgeMs } of canaries?.canaries ?? []) {
    const found = Object.entries(findings).map(([check, count]) => `${count} ${check}`);
    if (found.length > 0) {
      const text = `${id}: ${found.join(', ').replaceAll('_', ' ')} in the last 15 minutes`;
      alarms.push(bad('LonglineCanaryFindings', text, '#/overview'));
    }
    const isSilent = lastReportAgeMs > CANARY_SILENT_MS;
    const uncovered = combinations - covered;
    if (isSilent || uncovered > 0) {
      const text = isSilent
        ? `${id}: no report for ${duration(lastReportAgeMs)}`
        : `${id}: no device on ${plural(uncovered, 'combination')} of edge, Redis master and protocol`;
      alarms.push(warn('LonglineCanaryUncovered', text, '#/overview'));
    }
  }
  return alarms;
}

function bad(name: Alarm['name'], text: string, href: string): Alarm {
  return { name, level: 'bad', text, href };
}

function warn(name: Alarm['name'], text: string, href: string): Alarm {
  return { name, level: 'warn', text, href };
}

function isBad({ level }: Alarm): boolean {
  return level === 'bad';
}

function listOf(ids: readonly string[]): string {
  const more = ids.length - NAMES_MAX;
  return `${ids.slice(0, NAMES_MAX).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
