/**
 * Fuzzes the parsers in a worker thread, which can be terminated when a parser hangs.
 *
 * The worker writes each input to shared memory before it runs the parser, so that the main thread
 * can save the input of a hang.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { collectGarbage } from '../../common/process/memory/collect-garbage.js';
import { seededRandom } from '../sim/random.js';
import { loadCorpus, saveInput } from './corpus.js';
import { INPUT_BYTES_MAX, mutate, pick } from './mutate.js';
import type { Target } from './targets/target.js';
import { targets } from './targets/targets.js';

export interface ParserResult {
  readonly inputs: number;
  /** Number of different outcomes. */
  readonly outcomes: number;
  readonly failures: readonly string[];
}

/**
 * Maximum processor time of one input, of the best try: longer means that it grows faster than the
 * length. The time on a clock would include that of other processes on the machine.
 */
const SLOW_MS = 100;
const SLOW_TRIES = 10;
const HANG_MS = 10_000;
/** Time that one target runs before another is picked. */
const SLICE_MS = 100;
/** Maximum growth of the heap over a run, after a garbage collection. */
const GROWTH_BYTES_MAX = 16 * 1024 * 1024;
/** Maximum inputs per target from which new ones are mutated. */
const FOUND_MAX = 200;
const FAILURES_MAX = 10;

/** Layout of the shared memory: number of inputs so far, index of the target, length, input. */
const HEADER_INTS = 3;
const HEADER_BYTES = 4 * HEADER_INTS;

interface Job {
  readonly seed: number;
  readonly seconds: number;
  readonly shared: SharedArrayBuffer;
}

/** Resolves when the time is over or a parser hangs. */
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
      const path = saveInput(target, 'failing', input, `hangs, seed ${seed}`);
      resolve({ inputs: count, outcomes: 0, failures: [`${target} hangs: ${path}`] });
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

  /** Runs the saved inputs, whose outcomes are not new. */
  async start(): Promise<void> {
    for (const input of this.#found) {
      const outcome = await this.#try(input);
      if (outcome !== undefined) this.#outcomes.add(outcome);
    }
  }

  async step(): Promise<void> {
    const input = mutate(this.#found, this.target.dictionary, this.random);
    const outcome = await this.#try(input);
    if (outcome === undefined || this.#outcomes.has(outcome)) return;
    this.#outcomes.add(outcome);
    if (this.#found.length < FOUND_MAX) this.#found.push(Buffer.from(input));
    saveInput(this.target.name, 'new', input, outcome);
  }

  /** Returns the outcome; undefined for a failure, which has been recorded. */
  async #try(input: Buffer): Promise<string | undefined> {
    this.inputs++;
    const header = new Int32Array(this.job.shared, 0, HEADER_INTS);
    header[1] = this.index;
    header[2] = input.length;
    Buffer.from(this.job.shared, HEADER_BYTES).set(input);
    Atomics.add(header, 0, 1);
    try {
      let [outcome, bestMs] = await this.#timed(input);
      // One slow run may have compiled code or collected garbage.
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
    const before = process.cpuUsage();
    const result = this.target.run(input, this.random);
    // An await would cost more than most targets do.
    const outcome = typeof result === 'string' ? result : await result;
    const { user, system } = process.cpuUsage(before);
    // Without numbers and the part of a message that repeats the input.
    return [outcome.replace(/\d+/g, 'N').slice(0, 36), (user + system) / 1_000];
  }

  #fail(input: Buffer, message: string): void {
    if (this.failures.length >= FAILURES_MAX) return;
    const path = saveInput(this.target.name, 'failing', input, `${message}, seed ${this.job.seed}`);
    this.failures.push(`${this.target.name}: ${message}: ${path}`);
  }
}

async function run(job: Job): Promise<ParserResult> {
  // A parser that pollutes the prototype throws.
  Object.freeze(Object.prototype);
  const random = seededRandom(job.seed);
  const failures: string[] = [];
  const fuzzers = targets.map((target, index) => new Fuzzer(target, index, job, random, failures));
  for (const fuzzer of fuzzers) await fuzzer.start();
  const endMs = performance.now() + job.seconds * 1_000;
  // Compiled code and caches have been allocated after a tenth of the time.
  let before: number | undefined;
  const warmMs = performance.now() + job.seconds * 100;
  while (performance.now() < endMs) {
    const fuzzer = pick(fuzzers, random);
    const sliceEndMs = performance.now() + SLICE_MS;
    while (performance.now() < sliceEndMs) await fuzzer.step();
    if (before !== undefined || performance.now() < warmMs) continue;
    collectGarbage();
    before = process.memoryUsage().heapUsed;
  }
  collectGarbage();
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
