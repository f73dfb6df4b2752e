/**
 * Simulation of the pure parts of control: rounds of chaos in which invariants are checked after
 * every step, and the cost and result of balancing. Prints one line of JSON with `--json`.
 */
import { chaosRound } from './chaos.js';
import {
  efficiency,
  leaderDeaths,
  movesWhenStationary,
  planMs,
  rollingRestartChurn,
} from './measurements.js';

/** Failed rounds that are printed; the seed reproduces them. */
const FAILURES_SHOWN = 5;

const rounds = numberOf('--rounds', 200);
const seed = numberOf('--seed', 1);

const evenness: number[] = [];
let violations = 0;
let failures = 0;
for (let round = seed; round < seed + rounds; round++) {
  const result = chaosRound(round);
  evenness.push(result.maxOverReachable);
  violations += result.violations.length;
  if (result.violations.length === 0 || ++failures > FAILURES_SHOWN) continue;
  console.error(`seed ${round}: ${result.violations.slice(0, 3).join('; ')}`);
}

const samples = Array.from({ length: 50 }, (_, index) => efficiency(seed + index));
const meanOf = (name: 'uniform' | 'skewed' | 'join' | 'leave') =>
  rounded(samples.reduce((sum, sample) => sum + sample[name], 0) / samples.length);
const planned = samples.flatMap((sample) => sample.maxOverReachable);

const survived = Array.from({ length: 20 }, (_, index) => leaderDeaths(seed + index));

const result = {
  violations,
  maxOverMean: { p50: quantile(evenness, 0.5), p95: quantile(evenness, 0.95) },
  maxOverMeanPlanned: { p50: quantile(planned, 0.5), p95: quantile(planned, 0.95) },
  movedOverLowerBound: {
    uniform: meanOf('uniform'),
    skewed: meanOf('skewed'),
    join: meanOf('join'),
    leave: meanOf('leave'),
  },
  maxOverMeanLeaderDies: { p50: quantile(survived, 0.5), max: quantile(survived, 1) },
  movesWhenStationary: movesWhenStationary(seed),
  rollingRestartBalancingChurn: rounded(rollingRestartChurn(seed)),
  planMs: {
    '4096x64': rounded(planMs(4096, 64)),
    '16384x1000': rounded(planMs(16_384, 1_000)),
  },
};

if (process.argv.includes('--json')) {
  console.log(JSON.stringify(result));
} else {
  console.log(`${rounds} rounds of chaos from seed ${seed}, ${violations} violations`);
  console.log(JSON.stringify(result, null, 2));
}
process.exitCode = violations === 0 ? 0 : 1;

function numberOf(option: string, otherwise: number): number {
  const index = process.argv.indexOf(option);
  const value = index < 0 ? otherwise : Number(process.argv[index + 1]);
  if (!Number.isSafeInteger(value) || value < 0)
    throw new Error(`${option} must be followed by a whole number`);
  return value;
}

function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return rounded(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]!);
}

function rounded(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}
