import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  Comparison,
  isPlausible,
  SETTLED_MS,
  SILENT_MS,
} from '../../../control/ledger/comparison.js';

const SHARD = 3;

/** A Redis that counts, processes that count what it answers, and a control that compares. */
class Model {
  readonly comparison = new Comparison(8);
  /** By incarnation. */
  readonly processes = new Map<string, { pushes: number; unanswered: number }>();
  nowMs = 0;
  counter = 1_000;
  lost = 0;
  surplus = 0;
  #reading: { counter: number; sum: number; sentAtMs: number } | undefined;
  #started = 0;

  start(pushes = 0): string {
    const name = `p${this.#started++}`;
    this.processes.set(name, { pushes, unanswered: 0 });
    return name;
  }

  nth(n: number): string | undefined {
    return [...this.processes.keys()][n % Math.max(1, this.processes.size)];
  }

  push(name: string | undefined, isAnswered = true): void {
    const process = name === undefined ? undefined : this.processes.get(name);
    if (process === undefined) return;
    this.counter++;
    if (isAnswered) process.pushes++;
    else process.unanswered++;
  }

  report(name: string | undefined): void {
    if (name === undefined) return;
    const { pushes, unanswered } = this.processes.get(name)!;
    this.comparison.onReport(name, { shards: [SHARD], pushes: [pushes], unanswered }, this.nowMs);
  }

  /** Pushes between this and `reply` are not in the counter. */
  request(): void {
    const sum = this.comparison.sumOf(SHARD);
    this.#reading ??= { counter: this.counter, sum, sentAtMs: this.nowMs };
  }

  reply(): void {
    if (this.#reading === undefined) return;
    const { counter, sum, sentAtMs } = this.#reading;
    this.lost += this.comparison.onCounter(SHARD, counter, sum, sentAtMs, this.nowMs);
    this.#reading = undefined;
  }

  pass(ms: number): void {
    this.nowMs += ms;
    for (const { pushes } of this.comparison.tick(this.nowMs)) this.surplus += pushes;
  }

  /** Everything is reported and read, and nothing happens. */
  settle(): void {
    for (let i = 0; i < 3; i++) {
      this.reply();
      this.request();
      this.reply();
      this.pass(SETTLED_MS + 1);
      for (const name of this.processes.keys()) this.report(name);
      this.pass(1);
    }
  }
}

const traffic = fc.oneof(
  { weight: 8, arbitrary: fc.record({ type: fc.constant('push' as const), nth: fc.nat(5) }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('report' as const), nth: fc.nat(5) }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('request' as const), nth: fc.nat(5) }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('reply' as const), nth: fc.nat(5) }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('pass' as const), nth: fc.nat(9_000) }) },
);
const changes = fc.record({
  type: fc.constantFrom('unanswered' as const, 'start' as const, 'kill' as const),
  nth: fc.nat(5),
});
type Step = { readonly type: string; readonly nth: number };

function perform(model: Model, { type, nth }: Step): void {
  const name = model.nth(nth);
  if (type === 'push') model.push(name);
  else if (type === 'unanswered') model.push(name, nth % 2 === 0);
  else if (type === 'start') model.start(nth);
  else if (type === 'report') model.report(name);
  else if (type === 'request') model.request();
  else if (type === 'reply') model.reply();
  else if (type === 'pass') model.pass(nth);
  else if (name !== undefined && model.processes.size > 1) model.processes.delete(name);
}

/** Two processes that report in time, as long as they live. */
function run(model: Model, steps: readonly Step[]): void {
  for (const step of steps) {
    perform(model, step);
    if (step.type !== 'pass') continue;
    for (const name of model.processes.keys()) model.report(name);
  }
}

describe('Comparison', () => {
  test('finds no difference where there is none, also when processes start, end or are late', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(traffic, changes), { maxLength: 150 }), (steps) => {
        const model = new Model();
        model.start();
        model.start(70);
        run(model, steps);
        model.settle();
        model.pass(SILENT_MS);
        model.settle();
        expect({ lost: model.lost, surplus: model.surplus }).toEqual({ lost: 0, surplus: 0 });
      }),
      { numRuns: 500 },
    );
  });

  test('finds exactly what Redis has lost, or counted without a process', () => {
    fc.assert(
      fc.property(
        fc.array(traffic, { maxLength: 60 }),
        fc.array(traffic, { maxLength: 60 }),
        fc.integer({ min: -20, max: 20 }),
        (before, after, difference) => {
          const model = new Model();
          for (let i = 0; i < 2; i++) model.report(model.start());
          run(model, before);
          model.settle();
          model.counter += difference;
          run(model, after);
          model.settle();
          const expected = { lost: Math.max(0, -difference), surplus: Math.max(0, difference) };
          expect({ lost: model.lost, surplus: model.surplus }).toEqual(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('a process that comes back after a silence is not counted twice', () => {
    const model = new Model();
    const [a, b] = [model.start(), model.start()];
    model.settle();
    for (let i = 0; i < 10; i++) model.push(a);
    model.pass(SILENT_MS - 1);
    model.report(b);
    model.pass(2);
    expect(model.comparison.processCount).toBe(1);
    model.settle();
    expect({ lost: model.lost, surplus: model.surplus }).toEqual({ lost: 0, surplus: 0 });
    model.counter -= 4;
    model.settle();
    expect(model.lost).toBe(4);
  });

  test.each([
    { shards: [1], pushes: [] },
    { shards: [8], pushes: [1] },
    { shards: [-1], pushes: [1] },
    { shards: [1], pushes: [0.5] },
    { shards: [1], pushes: [1], unanswered: -1 },
  ])('the report %j is implausible', (change) => {
    expect(isPlausible({ unanswered: 0, ...change }, 8)).toBe(false);
  });
});
