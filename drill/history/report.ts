/** Report of a drill: one line of JSON or a few lines of text, and the details of violations. */
import { clusterKind } from '../faults/kinds.js';
import type { DrillResult } from '../run.js';
import { CHECKS, type CheckName, type Finding } from './checks.js';
import type { History } from './history.js';
import { type Figures, measure } from './measure.js';

/** Findings per check that are described; the rest is counted. */
const DESCRIBED_MAX = 3;

export interface Summary extends Record<CheckName, number> {
  readonly stuck: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly maxGapMs: number;
  readonly longestMs: Readonly<Record<string, number>>;
  readonly squeezed: Figures['squeezed'];
  readonly [figure: string]: unknown;
}

/** @param results of drills one after another, at least one */
export function summarise(results: readonly DrillResult[]): Summary {
  const history = join(results.map((result) => result.history));
  const { accepted, ...figures } = measure(history);
  const faults: Record<string, number> = {};
  for (const result of results) {
    for (const [kind, count] of Object.entries(result.faults)) {
      faults[kind] = (faults[kind] ?? 0) + count;
    }
  }
  const [{ options }] = results as readonly [DrillResult];
  return {
    accepted,
    ...countByCheck(results.flatMap(({ findings }) => findings)),
    stuck: results.flatMap(({ stuck }) => stuck).length,
    faults,
    ...figures,
    pushes: history.pushes.length,
    events: history.events.length,
    clients: options.clients,
    seconds: results.reduce((sum, result) => sum + result.options.seconds, 0),
    seed: options.seed,
  };
}

/** Pushes and devices of the parts have different numbers and names. */
function join(histories: readonly History[]): History {
  return {
    pushes: histories.flatMap(({ pushes }) => pushes),
    connections: histories.flatMap(({ connections }) => connections),
    unansweredRequests: histories.flatMap(({ unansweredRequests }) => unansweredRequests),
    absences: histories.flatMap(({ absences }) => absences),
    disturbances: histories.flatMap(({ disturbances }) => disturbances),
    deviceFaults: histories.flatMap(({ deviceFaults }) => deviceFaults),
    watches: histories.flatMap(({ watches }) => watches),
    events: histories.flatMap(({ events }) => events),
    presence: histories.flatMap(({ presence }) => presence),
  };
}

export function countByCheck(findings: readonly Finding[]): Record<CheckName, number> {
  const counts = Object.fromEntries(CHECKS.map((name) => [name, 0])) as Record<CheckName, number>;
  for (const { check } of findings) counts[check]++;
  return counts;
}

export function isClean({ findings, stuck }: DrillResult): boolean {
  return findings.length === 0 && stuck.length === 0;
}

export function formatSummary(summary: Summary): string {
  const faults = Object.entries(summary.faults).map(
    ([kind, count]) => `${kind} ${count} (${summary.longestMs[kind] ?? 0} ms)`,
  );
  const { survived, killed, shed } = summary.squeezed;
  const checks = CHECKS.map((name) => `${name} ${summary[name]}`);
  return [
    `accepted ${summary.accepted}, delivered ${summary.delivered}, ` +
      `duplicates ${summary.duplicates}, unknown ${summary.unknown}`,
    `faults (longest time without delivery): ${faults.join(', ') || 'none'}`,
    ...(survived + killed === 0
      ? []
      : [`too little memory: ${survived} survived, ${killed} killed, ${shed} times load was shed`]),
    `gaps: p50 ${summary.p50GapMs} ms, p99 ${summary.p99GapMs} ms, max ${summary.maxGapMs} ms`,
    `violations: ${checks.join(', ')}, stuck ${summary.stuck}`,
  ].join('\n');
}

/**
 * Describes the seed, the schedule, and for some findings of each check the whole life of the push.
 */
export function describeViolations({
  options,
  schedule,
  history,
  findings,
  stuck,
}: DrillResult): string {
  const originMs = history.disturbances[0]?.fromMs ?? history.pushes[0]?.attempts[0]?.sentAtMs ?? 0;
  const at = (ms: number) => (Number.isFinite(ms) ? `${Math.round(ms - originMs)} ms` : 'never');
  const lines = [`seed ${options.seed}, ${options.seconds} s, ${options.clients} devices`];
  lines.push('schedule:', ...schedule.map((fault) => `  ${JSON.stringify(fault)}`));
  lines.push('disturbances:');
  for (const { kind, target, fromMs, toMs } of history.disturbances) {
    const { effect, recovery } = clusterKind(kind) ?? {};
    const what = effect === undefined ? '' : `: ${effect}; ${recovery}`;
    lines.push(`  ${kind} ${target} ${at(fromMs)} – ${at(toMs)}${what}`);
  }
  lines.push(...stuck.map((reason) => `stuck: ${reason}`));
  const described = new Map<CheckName, number>();
  for (const finding of findings) {
    const before = described.get(finding.check) ?? 0;
    described.set(finding.check, before + 1);
    if (before < DESCRIBED_MAX) lines.push(...describe(finding, history, at));
  }
  for (const [check, count] of described) {
    if (count > DESCRIBED_MAX) lines.push(`${check}: ${count - DESCRIBED_MAX} more`);
  }
  return lines.join('\n');
}

function describe(finding: Finding, history: History, at: (ms: number) => string): string[] {
  const { check, clientId, pushNumber, message } = finding;
  const lines = [`${check}: push ${pushNumber ?? '-'} for ${clientId}: ${message}`];
  const push = history.pushes.find(({ number }) => number === pushNumber);
  for (const attempt of push?.attempts ?? []) {
    const { router, sentAtMs, endedAtMs, outcome = 'no answer', messageId, detail } = attempt;
    lines.push(
      `  sent ${at(sentAtMs)} to ${router}; ${at(endedAtMs)}: ${outcome} ${messageId} ${detail}`,
    );
  }
  for (const connection of history.connections) {
    if (connection.clientId !== clientId) continue;
    const { edge, cursor, openedAtMs, closedAtMs, closeReason, receipts, resetsAtMs } = connection;
    const ids = receipts.map(({ messageId }) => messageId).filter((id) => id !== '');
    lines.push(
      `  connection at ${edge} ${at(openedAtMs)} – ${at(closedAtMs)} ${closeReason}; cursor ` +
        `${cursor || 'none'}; resets ${resetsAtMs.map(at).join(', ') || '-'}; ` +
        `received ${receipts.length}, ${ids[0] ?? '-'} to ${ids.at(-1) ?? '-'}`,
    );
    for (const receipt of receipts) {
      if (receipt.pushNumber !== pushNumber) continue;
      lines.push(`    received ${at(receipt.atMs)} with id ${receipt.messageId || '-'}`);
    }
  }
  for (const event of history.events) {
    if (event.clientId !== clientId) continue;
    const { type, id, edge, reason, messageId, atMs, ackedAtMs } = event;
    const about = [edge, reason, messageId].filter((text) => text !== '').join(' ');
    lines.push(`  event ${id} ${type} ${about} ${at(atMs)}, acknowledged ${at(ackedAtMs)}`);
  }
  for (const report of history.presence) {
    if (report.clientId !== clientId) continue;
    lines.push(`  presence ${report.type} ${report.edge} ${at(report.atMs)}`);
  }
  for (const absence of history.absences) {
    if (absence.clientId !== clientId) continue;
    lines.push(`  absent ${at(absence.fromMs)} – ${at(absence.toMs)}`);
  }
  return lines;
}
