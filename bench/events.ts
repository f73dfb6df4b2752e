/**
 * What events cost a push: `bench:push` with and without LONGLINE_EVENTS, in turn, each time with a
 * cluster of its own. The devices confirm nothing, so with events each durable push is noted, and drops an
 * older one from its full inbox, which is an event.
 *
 *   cpuUs   microseconds of processor time per push, medians: server, router, redis, edges
 *   ratio   with events, over without
 *
 * `--loads` (streamLive,streamDurable), `--seconds` and `--warm-up` are those of `bench:push`; `--json`
 * prints one line.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { table } from '../cli/commands/table.js';
import { packageRoot } from '../common/process/package-root.js';
import { number, parseOptions, someOf } from './support/options.js';
import { STEADY_NAMES, type SteadyName } from './support/pushes/loads.js';
import type { SteadyRun } from './support/pushes/runs.js';
import { progress, report } from './support/report.js';
import { runInTurn } from './support/rounds.js';
import { medianOf, rounded } from './support/statistics.js';

const SETTINGS = { off: '', on: 'clients,pushes' } as const;
const PARTS = ['server', 'router', 'redis', 'edge'] as const;

const DEFAULT_LOADS: readonly SteadyName[] = ['streamLive', 'streamDurable'];

const options = parseOptions({
  loads: { ...someOf(STEADY_NAMES), fallback: DEFAULT_LOADS },
  'warm-up': number(10, 0),
  seconds: number(3, 0.1),
  rounds: number(3),
});
const { json, loads, seconds, rounds } = options;

type Runs = Record<SteadyName, SteadyRun>;

const runs = await runInTurn(rounds, ['off', 'on'], (setting) => {
  progress(`events ${setting}`);
  return pushRuns(SETTINGS[setting]);
});
const result = Object.fromEntries(
  loads.map((load) => {
    const cpuUs = (setting: 'off' | 'on') => PARTS.map((part) => cpuOf(runs[setting], load, part));
    const [off, on] = [cpuUs('off'), cpuUs('on')];
    return [load, { off, on, ratio: on.map((us, i) => rounded(us / off[i]!, 2)) }];
  }),
);
report(json, { parts: PARTS, ...result }, printTable);

async function pushRuns(events: string): Promise<Runs> {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      ...[join(packageRoot, 'dist/bench/push.js'), '--json', '--rounds', '1'],
      ...['--loads', loads.join(','), '--seconds', `${seconds}`],
      ...['--warm-up', `${options['warm-up']}`],
    ],
    { env: { ...process.env, LONGLINE_EVENTS: events }, maxBuffer: 2 ** 24 },
  );
  return JSON.parse(stdout) as Runs;
}

function cpuOf(all: readonly Runs[], load: SteadyName, part: string): number {
  return medianOf(
    all,
    (run) =>
      Object.entries(run[load].cpuUs)
        .filter(([name]) => name === part || name.startsWith(`${part}-`))
        .reduce((sum, [, { total }]) => sum + total, 0),
    1,
  );
}

function printTable(): void {
  const rows = Object.entries(result).flatMap(([load, { off, on, ratio }]) => [
    [load, 'off', ...off],
    ['', 'on', ...on],
    ['', 'ratio', ...ratio],
  ]);
  console.log(table(['', 'events', ...PARTS.map((part) => `${part} µs`)], rows));
}
