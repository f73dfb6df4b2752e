/**
 * Fuzzes the parsers, in a thread of its own: one that does not come back can be ended there.
 *
 * The thread writes each input into memory that it shares with the main thread before it runs it. So
 * it is known what it hangs on.
 */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { seededRandom } from '../sim/random.js';
import { keep, loadCorpus } from './corpus.js';
import { INPUT_BYTES_MAX, mutate, pick } from './mutate.js';
import type { Target } from './targets/target.js';
import { targets } from './targets/targets.js';

export interface ParserResult {
  readonly inputs: number;
  /** Different things that became of inputs. */
  readonly outcomes: number;
  readonly failures: readonly string[];
}

/** Of one input, the best of three: above it, its time grows faster than its length. */
const SLOW_MS = 100;
const SLOW_TRIES = 10;
const HANG_MS = 10_000;
/** A target gets its turn for so long. */
const SLICE_MS = 100;
/** Of the heap, without garbage, over all inputs of a run. */
const GROWTH_BYTES_MAX = 16 * 1024 * 1024;
/** Inputs are also made of those that led to something new, up to so many per target. */
const FOUND_MAX = 200;
const FAILURES_MAX = 10;

/** What is shared: a counter of inputs, the index of the target, the length, then the input. */
const HEADER_INTS = 3;
const HEADER_BYTES = 4 * HEADER_INTS;

interface Job {
  readonly seed: number;
  readonly seconds: number;
  readonly shared: SharedArrayBuffer;
}

/** Resolves when the time is over, or something hangs. */
export function fuzzParsers(seed: number, seconds: number): Promise<ParserResult> {
  const shared = new SharedArrayBuffer(HEADER_BYTES + INPUT_BYTES_MAX);
  const header = new Int32Array(shared, 0, HEADER_INTS);
  const job: Job = { seed, seconds, shared };
  const worker = new Worker(new URL(import.meta.url), { workerData: job });
  return new Promise((resolve, reject) => {
    let seen = -1;
    const watch = setInterval(() => {
      const count = Atomics.load(header, 0);
      if (count !== seen) {
        seen = count;
        return;
      }
      clearInterval(watch);
      void worker.terminate();
      const target = targets[header[1]!]!.name;
      const input = Buffer.from(Buffer.from(shared, HEADER_BYTES, header[2]!));
      const path = keep(target, 'failing', input, `does not come back, seed ${seed}`);
      resolve({ inputs: count, outcomes: 0, failures: [`${target} does not come back: ${path}`] });
    }, HANG_MS);
    worker.on('message', resolve);
    worker.on('error', reject);
    worker.on('exit', () => clearInterval(watch));
  });
}

class Fuzzer {
  readonly #found: Buffer[];
  readonly #outcomes = new Set<string>();
  inputs = 0;

  constructor(
    readonly target: Target,
    readonly index: number,
    readonly job: Job,
    readonly random: () => number,
    readonly failures: string[],
  ) {
    this.#found = [...target.inputs, ...loadCorpus(target.name)];
  }

  get outcomes(): number {
    return this.#outcomes.size;
  }

  /** Plays what is there already: what becomes of that is not new. */
  async begin(): Promise<void> {
    for (const input of this.#found) {
      const outcome = await this.#try(input);
      if (outcome !== undefined) this.#outcomes.add(outcome);
    }
  }

  async step(): Promise<void> {
    const input = mutate(this.#found, this.target.words, this.random);
    const outcome = await this.#try(input);
    if (outcome === undefined || this.#outcomes.has(outcome)) return;
    this.#outcomes.add(outcome);
    if (this.#found.length < FOUND_MAX) this.#found.push(Buffer.from(input));
    keep(this.target.name, 'new', input, outcome);
  }

  /** Returns what became of it; undefined: it is a failure, and was kept. */
  async #try(input: Buffer): Promise<string | undefined> {
    this.inputs++;
    const header = new Int32Array(this.job.shared, 0, HEADER_INTS);
    header[1] = this.index;
    header[2] = input.length;
    Buffer.from(this.job.shared, HEADER_BYTES).set(input);
    Atomics.add(header, 0, 1);
    try {
      let [outcome, bestMs] = await this.#timed(input);
      // What is slow once was perhaps only kept waiting by others on the machine.
      for (let i = 0; i < SLOW_TRIES && bestMs >= SLOW_MS; i++) {
        bestMs = Math.min(bestMs, (await this.#timed(input))[1]);
      }
      if (bestMs >= SLOW_MS) this.#fail(input, `takes ${Math.round(bestMs)} ms`);
      return outcome;
    } catch (error) {
      this.#fail(input, String(error));
      return undefined;
    }
  }

  async #timed(input: Buffer): Promise<[outcome: string, ms: number]> {
    const startedMs = performance.now();
    // What a message repeats of the input is no news.
    const result = this.target.run(input, this.random);
    // Waiting costs more than most of them take.
    const outcome = typeof result === 'string' ? result : await result;
    return [outcome.replace(/\d+/g, 'N').slice(0, 36), performance.now() - startedMs];
  }

  #fail(input: Buffer, why: string): void {
    if (this.failures.length >= FAILURES_MAX) return;
    const path = keep(this.target.name, 'failing', input, `${why}, seed ${this.job.seed}`);
    this.failures.push(`${this.target.name}: ${why}: ${path}`);
  }
}

async function run(job: Job): Promise<ParserResult> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  // Nothing that is read may change what everything is made of.
  Object.freeze(Object.prototype);
  const random = seededRandom(job.seed);
  const failures: string[] = [];
  const fuzzers = targets.map((target, index) => new Fuzzer(target, index, job, random, failures));
  for (const fuzzer of fuzzers) await fuzzer.begin();
  const endMs = performance.now() + job.seconds * 1_000;
  // What compiled code and caches take is there after a tenth of the time.
  let before: number | undefined;
  const warmMs = performance.now() + job.seconds * 100;
  while (performance.now() < endMs) {
    const fuzzer = pick(fuzzers, random);
    const sliceEndMs = performance.now() + SLICE_MS;
    while (performance.now() < sliceEndMs) await fuzzer.step();
    if (before !== undefined || performance.now() < warmMs) continue;
    collect();
    before = process.memoryUsage().heapUsed;
  }
  collect();
  const grownBytes = process.memoryUsage().heapUsed - (before ?? 0);
  if (before !== undefined && grownBytes > GROWTH_BYTES_MAX) {
    failures.push(`parsers: the heap has grown by ${grownBytes} bytes`);
  }
  const sum = (of: (fuzzer: Fuzzer) => number) => fuzzers.reduce((all, each) => all + of(each), 0);
  return {
    inputs: sum(({ inputs }) => inputs),
    outcomes: sum(({ outcomes }) => outcomes),
    failures,
  };
}

if (!isMainThread) parentPort!.postMessage(await run(workerData as Job));
