/** What a drill says in the end: one line of JSON, or a few for people, and the story of a violation. */

import type { DrillResult } from '../run.js';
import { CHECKS, type CheckName, type Finding } from './check.js';
import type { History } from './history.js';
import { measure } from './measure.js';

/** Stories per check; the rest is counted. */
const STORIES_MAX = 3;

export interface Summary extends Record<CheckName, number> {
  readonly stuck: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly maxGapMs: number;
  readonly [figure: string]: unknown;
}

export function summarise(result: DrillResult): Summary {
  const { accepted, ...figures } = measure(result.history);
  return {
    accepted,
    ...countByCheck(result.findings),
    stuck: result.stuck.length,
    faults: result.faults,
    ...figures,
    pushes: result.history.pushes.length,
    clients: result.options.clients,
    seconds: result.options.seconds,
    seed: result.options.seed,
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

export function forPeople(summary: Summary): string {
  const broken = Object.entries(summary.faults).map(([kind, count]) => `${kind} ${count}`);
  const checks = CHECKS.map((name) => `${name} ${summary[name]}`);
  return [
    `accepted ${summary.accepted}, delivered ${summary.delivered}, duplicates ${summary.duplicates}, unknown ${summary.unknown}`,
    `broken: ${broken.join(', ') || 'nothing'}`,
    `gaps: p50 ${summary.p50GapMs} ms, p99 ${summary.p99GapMs} ms, max ${summary.maxGapMs} ms`,
    `violations: ${checks.join(', ')}, stuck ${summary.stuck}`,
  ].join('\n');
}

/** The seed, the schedule, and for some violations of each check all that is known about the push. */
export function story({ options, schedule, history, findings, stuck }: DrillResult): string {
  const originMs = history.disturbances[0]?.fromMs ?? history.pushes[0]?.attempts[0]?.sentAtMs ?? 0;
  const at = (ms: number) => (Number.isFinite(ms) ? `${Math.round(ms - originMs)} ms` : 'never');
  const lines = [`seed ${options.seed}, ${options.seconds} s, ${options.clients} devices`];
  lines.push('schedule:', ...schedule.map((fault) => `  ${JSON.stringify(fault)}`));
  lines.push('what was broken:');
  for (const { kind, target, fromMs, toMs } of history.disturbances) {
    lines.push(`  ${kind} ${target} ${at(fromMs)} – ${at(toMs)}`);
  }
  lines.push(...stuck.map((what) => `stuck: ${what}`));
  const told = new Map<CheckName, number>();
  for (const finding of findings) {
    const before = told.get(finding.check) ?? 0;
    told.set(finding.check, before + 1);
    if (before < STORIES_MAX) lines.push(...storyOf(finding, history, at));
  }
  for (const [check, count] of told) {
    if (count > STORIES_MAX) lines.push(`${check}: ${count - STORIES_MAX} more`);
  }
  return lines.join('\n');
}

function storyOf(finding: Finding, history: History, at: (ms: number) => string): string[] {
  const { check, clientId, pushNumber, what } = finding;
  const lines = [`${check}: push ${pushNumber ?? '-'} for ${clientId}: ${what}`];
  const push = history.pushes.find(({ number }) => number === pushNumber);
  for (const attempt of push?.attempts ?? []) {
    const { router, sentAtMs, endedAtMs, outcome = 'no answer', messageId, detail } = attempt;
    lines.push(
      `  sent ${at(sentAtMs)} to ${router}; ${at(endedAtMs)}: ${outcome} ${messageId} ${detail}`,
    );
  }
  for (const connection of history.connections) {
    if (connection.clientId !== clientId) continue;
    const { edge, cursor, openedAtMs, closedAtMs, closedBecause, receipts } = connection;
    const ends = receipts.map(({ messageId }) => messageId).filter((id) => id !== '');
    lines.push(
      `  connection at ${edge} ${at(openedAtMs)} – ${at(closedAtMs)} ${closedBecause}; named ` +
        `${cursor || 'nothing'}; received ${receipts.length}, ${ends[0] ?? '-'} to ${ends.at(-1) ?? '-'}`,
    );
    for (const receipt of receipts) {
      if (receipt.pushNumber !== pushNumber) continue;
      lines.push(`    received ${at(receipt.atMs)} with id ${receipt.messageId || '-'}`);
    }
  }
  for (const { clientId: who, fromMs, toMs } of history.absences) {
    if (who === clientId) lines.push(`  did not listen ${at(fromMs)} – ${at(toMs)}`);
  }
  return lines;
}
