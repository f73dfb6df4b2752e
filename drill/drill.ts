/** `longline drill`: injects faults and reports lost, duplicate and late pushes. */
import { setMaxListeners } from 'node:events';
import { join } from 'node:path';
import { Failure } from '../cli/terminal/failure.js';
import { stopRequest } from '../cli/terminal/stop-request.js';
import { packageRoot } from '../common/process/package-root.js';
import { type ChosenFamilies, chooseFamilies } from './faults/families.js';
import type { Family, RedisKind } from './faults/kinds/fault-kind.js';
import {
  type FaultKindName,
  familiesOf,
  parseKinds,
  possibleKinds,
  requirementOf,
} from './faults/kinds.js';
import type { CheckName, Finding } from './history/checks.js';
import { describeViolations, formatSummary, isClean, summarise } from './history/report.js';
import { failsTest } from './mutants/compiled-test.js';
import { MUTANTS, type Mutant } from './mutants/mutants.js';
import { mutate } from './mutants/mutate.js';
import { TEST_MUTANTS } from './mutants/test-mutants.js';
import { runInNamespace } from './network/namespace.js';
import { type DrillOptions, type DrillResult, runDrill } from './run.js';
import { makeTemporaryFolder } from './temporary-folder.js';

export interface DrillCommandOptions extends ChosenFamilies {
  readonly seconds: number;
  /** Random by default; the result names it. */
  readonly seed?: number;
  readonly clients: number;
  readonly rate: number;
  /** By default the one with which the chosen families have most kinds of faults. */
  readonly redis?: RedisKind;
  /** Kinds of faults, separated by commas, or `none`. */
  readonly only?: string;
  readonly mutants?: boolean;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

const RECOVERY_MS_MAX = 30_000;

/** Duration of pushing without faults after the recovery: Longline promises more in that time. */
const CALM_MS = 12_000;

/** Short and dense, with little time for what a mutant cannot recover from. */
const MUTANT_DRILL = {
  redis: 'standalone',
  part: 0,
  families: [],
  seconds: 12,
  clients: 200,
  pushesPerSecond: 400,
  recoveryMsMax: 8_000,
  calmMs: 0,
} as const;
const SEEDS_PER_MUTANT = 3;

/**
 * Returns the exit status: 0 when every promise was kept. Progress is written to standard error.
 */
export async function drill(options: DrillCommandOptions): Promise<number> {
  const signal = stopRequest();
  // Every wait adds a listener, and there are many at a time.
  setMaxListeners(0, signal);
  const common = {
    seed: options.seed ?? Math.floor(Math.random() * 1_000_000),
    isVerbose: options.verbose ?? false,
    signal,
    log: (line: string) =>
      console.error(`drill ${(performance.now() / 1_000).toFixed(1)} s: ${line}`),
  };
  if (options.mutants) {
    const kinds = possibleKinds(MUTANT_DRILL.redis);
    return drillMutants({ ...common, ...MUTANT_DRILL, kinds, events: true }, options.json ?? false);
  }
  const { families, skipped } = await chooseFamilies(options);
  if (families.includes('network')) {
    const status = await runInNamespace();
    if (status !== undefined) return status;
  }
  for (const line of skipped) common.log(line);
  const parts = partsOf(options, families);
  const results: DrillResult[] = [];
  for (const [part, { redis, kinds }] of parts.entries()) {
    const result = await runDrill({
      ...common,
      part,
      redis,
      families,
      seconds: Math.ceil(options.seconds / parts.length),
      clients: options.clients,
      pushesPerSecond: options.rate,
      kinds,
      events: common.seed % 2 === 1,
      recoveryMsMax: RECOVERY_MS_MAX,
      calmMs: CALM_MS,
    });
    if (!isClean(result)) console.error(describeViolations(result));
    results.push(result);
  }
  const summary = { ...summarise(results), ...(skipped.length > 0 && { skipped }) };
  console.log(options.json ? JSON.stringify(summary) : formatSummary(summary));
  return results.every(isClean) ? 0 : 1;
}

interface Part {
  readonly redis: RedisKind;
  readonly kinds: readonly FaultKindName[];
}

/** The kinds of Redis, one after the other, that have the chosen faults. */
function partsOf(options: DrillCommandOptions, families: readonly Family[]): Part[] {
  const { redis } = options;
  const kindsOfRedis = redis === undefined ? redisKindsOf(families) : [redis];
  const all = kindsOfRedis.map((each) => ({ redis: each, kinds: possibleKinds(each, families) }));
  if (options.only === undefined) return all;
  const only = parseKinds(options.only);
  const impossible = only.filter((kind) => all.every(({ kinds }) => !kinds.includes(kind)));
  if (impossible.length > 0) throw new Failure(impossible.map(requirementOf).join('; '));
  const chosen = all.map((part) => ({
    ...part,
    kinds: part.kinds.filter((kind) => only.includes(kind)),
  }));
  const used = chosen.filter(({ kinds }) => kinds.length > 0);
  return used.length > 0 ? used : chosen.slice(0, 1);
}

function redisKindsOf(families: readonly Family[]): readonly RedisKind[] {
  if (families.includes('redis-faults')) return ['standalone', 'cluster'];
  return families.includes('network') ? ['cluster'] : ['standalone'];
}

/**
 * Each mutant must be caught, and the same drill and tests must find nothing in the unpatched code.
 */
async function drillMutants(options: DrillOptions, isJson: boolean): Promise<number> {
  const { log } = options;
  log('no mutant, every fault');
  const original = await runDrill(options);
  if (!isClean(original)) console.error(describeViolations(original));
  const by: Record<string, string> = {};
  for (const mutant of MUTANTS) {
    const check = await catchMutant(mutant, options);
    if (check !== undefined) by[mutant.name] = check;
    log(`${mutant.name}: ${check === undefined ? 'NOT CAUGHT' : `caught by ${check}`}`);
  }
  const failing = await testMutants(by, options);
  const count = MUTANTS.length + TEST_MUTANTS.length;
  const caught = Object.keys(by).length;
  const originalIsClean = isClean(original) && failing.length === 0;
  const summary = { mutants: count, caught, by, originalIsClean };
  console.log(isJson ? JSON.stringify(summary) : `caught ${caught} of ${count} mutants`);
  return caught === count && originalIsClean ? 0 : 1;
}

/**
 * Adds the mutants to `by` that a test catches.
 * @returns the tests that fail in the unpatched code
 */
async function testMutants(
  by: Record<string, string>,
  { log, signal }: DrillOptions,
): Promise<string[]> {
  const failing: string[] = [];
  for (const test of new Set(TEST_MUTANTS.map((mutant) => mutant.test))) {
    signal.throwIfAborted();
    if (!(await failsTest(test, []))) continue;
    log(`test/${test}.test.ts fails without a mutant`);
    failing.push(test);
  }
  for (const { name, test, patches } of TEST_MUTANTS) {
    signal.throwIfAborted();
    const isCaught = await failsTest(test, patches);
    if (isCaught) by[name] = `test/${test}.test.ts`;
    log(`${name}: ${isCaught ? `caught by ${by[name]}` : 'NOT CAUGHT'}`);
  }
  return failing;
}

/** Returns the check that caught the mutant; undefined when none did, with any seed. */
async function catchMutant(mutant: Mutant, options: DrillOptions): Promise<CheckName | undefined> {
  const folder = await makeTemporaryFolder();
  try {
    const root = join(folder.path, 'mutant');
    await mutate(mutant.patches, packageRoot, root);
    // Most of the progress of a mutant is about what it cannot recover from.
    const log = options.isVerbose ? options.log : () => {};
    for (let i = 0; i < SEEDS_PER_MUTANT; i++) {
      const seed = options.seed + i;
      options.log(`${mutant.name}, seed ${seed}`);
      const { findings } = await runDrill({
        ...options,
        log,
        seed,
        root,
        kinds: mutant.kinds,
        events: mutant.events ?? false,
        families: familiesOf(mutant.kinds),
      });
      if (findings.length > 0) return checkThatCaught(mutant, findings);
    }
    return undefined;
  } finally {
    await folder.remove();
  }
}

/** The expected check, if it is among the findings. */
function checkThatCaught({ check }: Mutant, findings: readonly Finding[]): CheckName {
  return findings.some((finding) => finding.check === check) ? check : findings[0]!.check;
}
