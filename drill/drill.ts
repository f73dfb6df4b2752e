/** `longline drill`: breaks things on purpose, and reports lost, duplicated, late. */
import { setMaxListeners } from 'node:events';
import { join } from 'node:path';
import { stopRequest } from '../cli/commands/stop-request.js';
import { Failure } from '../cli/failure.js';
import { packageRoot } from '../common/process/package-root.js';
import { type FaultKind, possibleKinds, type RedisKind } from './faults/schedule.js';
import type { CheckName, Finding } from './history/check.js';
import { forPeople, isClean, story, summarise } from './history/report.js';
import { MUTANTS, type Mutant } from './mutants/mutants.js';
import { mutate } from './mutants/mutate.js';
import { type DrillOptions, type DrillResult, runDrill } from './run.js';
import { makeScratch } from './scratch.js';

export interface DrillCommandOptions {
  readonly seconds: number;
  /** Any unless it is given; it is printed. */
  readonly seed?: number;
  readonly clients: number;
  readonly rate: number;
  readonly redis: RedisKind;
  readonly only?: readonly FaultKind[];
  readonly mutants?: boolean;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

const PATIENCE_MS = 30_000;

/** Pushing goes on for so long after all is healed: in calm, more is promised. */
const CALM_MS = 12_000;

/** Short, dense, and not patient with what cannot heal. */
const MUTANT_DRILL = {
  redis: 'standalone',
  seconds: 12,
  clients: 200,
  pushesPerSecond: 400,
  patienceMs: 8_000,
  calmMs: 0,
} as const;
const SEEDS_PER_MUTANT = 3;

/** Returns the exit status: 0 when every promise was kept. Progress goes to standard error. */
export async function drill(options: DrillCommandOptions): Promise<number> {
  const signal = stopRequest();
  // Whoever waits listens to it, and many do at a time.
  setMaxListeners(0, signal);
  const common = {
    seed: options.seed ?? Math.floor(Math.random() * 1_000_000),
    isVerbose: options.verbose ?? false,
    signal,
    say: (line: string) =>
      console.error(`drill ${(performance.now() / 1_000).toFixed(1)} s: ${line}`),
  };
  if (options.mutants) {
    const kinds = possibleKinds(MUTANT_DRILL.redis);
    return drillMutants({ ...common, ...MUTANT_DRILL, kinds }, options.json ?? false);
  }
  const possible = possibleKinds(options.redis);
  const impossible = options.only?.filter((kind) => !possible.includes(kind)) ?? [];
  if (impossible.length > 0) {
    throw new Failure(`a ${options.redis} Redis cannot have ${impossible.join(', ')}`);
  }
  const result = await runDrill({
    ...common,
    redis: options.redis,
    seconds: options.seconds,
    clients: options.clients,
    pushesPerSecond: options.rate,
    kinds: options.only ?? possible,
    patienceMs: PATIENCE_MS,
    calmMs: CALM_MS,
  });
  const summary = summarise(result);
  if (!isClean(result)) console.error(story(result));
  console.log(options.json ? JSON.stringify(summary) : forPeople(summary));
  return isClean(result) ? 0 : 1;
}

/** Each mutant must be caught, and the same drill must find nothing in what it was made from. */
async function drillMutants(options: DrillOptions, isJson: boolean): Promise<number> {
  const { say } = options;
  say('no mutant, every fault');
  const original = await runDrill(options);
  if (!isClean(original)) console.error(story(original));
  const by: Record<string, CheckName> = {};
  for (const mutant of MUTANTS) {
    const check = await huntMutant(mutant, options);
    if (check !== undefined) by[mutant.name] = check;
    say(`${mutant.name}: ${check === undefined ? 'NOT CAUGHT' : `caught by ${check}`}`);
  }
  const caught = Object.keys(by).length;
  const summary = { mutants: MUTANTS.length, caught, by, originalIsClean: isClean(original) };
  console.log(isJson ? JSON.stringify(summary) : `caught ${caught} of ${MUTANTS.length} mutants`);
  return caught === MUTANTS.length && isClean(original) ? 0 : 1;
}

/** Returns the check that caught it; undefined when none did, with any seed. */
async function huntMutant(mutant: Mutant, options: DrillOptions): Promise<CheckName | undefined> {
  const scratch = await makeScratch();
  try {
    const root = join(scratch.path, 'mutant');
    await mutate(mutant, packageRoot, root);
    for (let i = 0; i < SEEDS_PER_MUTANT; i++) {
      const seed = options.seed + i;
      options.say(`${mutant.name}, seed ${seed}`);
      const { findings } = await runMutant({ ...options, seed, root, kinds: mutant.kinds });
      if (findings.length > 0) return caughtBy(mutant, findings);
    }
    return undefined;
  } finally {
    await scratch.remove();
  }
}

/** What a mutant cannot heal is no news; only what it broke is. */
function runMutant(options: DrillOptions): Promise<DrillResult> {
  return runDrill({ ...options, say: options.isVerbose ? options.say : () => {} });
}

/** The check that was meant to, if it did. */
function caughtBy({ check }: Mutant, findings: readonly Finding[]): CheckName {
  return findings.some((finding) => finding.check === check) ? check : findings[0]!.check;
}
