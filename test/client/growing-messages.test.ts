/**
 * Goal: an application that appends what it receives has a growing message whole, without a repeat,
 * also if connections end while it works, and parts that it has come again together with later
 * ones. Method: the machine in virtual time; a model of an edge joins the parts after the cursor.
 */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { ClientAction } from '../../client/events.js';
import type { Push } from '../../client/messages.js';
import { MachineHarness, WELCOME } from './machine-harness.js';

const operations = fc.array(
  fc.constantFrom('part', 'part', 'take', 'take', 'throw', 'fail', 'connect'),
  {
    maxLength: 80,
  },
);
const texts = fc.string({ maxLength: 6, unit: 'grapheme' });

class Scenario {
  readonly harness = new MachineHarness({ isSync: false });
  readonly parts: Push[] = [];
  text = '';
  #bytes = 0;
  #isConnected = false;
  #given: Push | undefined;

  constructor() {
    this.#perform(this.harness.step(null));
  }

  /** The backend sends a part. */
  part(data: string): void {
    const appended = { to: 'm', offset: this.#bytes, isEnd: false };
    this.#bytes += Buffer.byteLength(data);
    const push = { id: `1-${this.parts.length + 1}`, data, appended };
    this.parts.push(push);
    if (this.#isConnected) this.#perform(this.harness.receive({ type: 'push', push }));
  }

  take(failure?: string): void {
    const push = this.#given;
    if (push === undefined) return;
    this.#given = undefined;
    if (failure === undefined) {
      expect(push.appended!.offset).toBe(Buffer.byteLength(this.text));
      this.text += String(push.data);
    }
    this.#perform(this.harness.settle(failure));
  }

  fail(): void {
    if (this.#isConnected) this.#perform(this.harness.fail());
  }

  connect(): void {
    if (!this.#isConnected && this.harness.wakeAtMs < Number.POSITIVE_INFINITY) {
      this.#perform(this.harness.advanceToDeadline());
    }
  }

  get isDone(): boolean {
    return this.#isConnected && this.#given === undefined;
  }

  #perform(actions: readonly ClientAction[]): void {
    for (const action of actions) {
      if (action.type === 'abort' || (action.type === 'state' && action.state.type === 'waiting')) {
        this.#isConnected = false;
      }
      if (action.type === 'deliver') this.#given = action.push;
      if (action.type === 'open') this.#accept(action.lastEventId);
    }
  }

  /** Writes the parts after the cursor as one. */
  #accept(cursor: string): void {
    this.#isConnected = true;
    this.#perform(this.harness.receive(WELCOME));
    const missed = this.parts.slice(cursor === '' ? 0 : Number(cursor.slice(2)));
    const last = missed.at(-1);
    if (last === undefined) return;
    const data = missed.map((push) => push.data).join('');
    const push = { id: last.id!, data, appended: missed[0]!.appended! };
    this.#perform(this.harness.receive({ type: 'push', push }));
  }
}

test('has every byte once, in its place', () => {
  fc.assert(
    fc.property(operations, fc.infiniteStream(texts), (all, stream) => {
      const scenario = new Scenario();
      for (const operation of all) {
        if (operation === 'part') scenario.part(stream.next().value as string);
        else if (operation === 'take') scenario.take();
        else if (operation === 'throw') scenario.take('no');
        else scenario[operation]();
      }
      for (let i = 0; i < 200 && !scenario.isDone; i++) {
        scenario.take();
        scenario.connect();
      }
      expect(scenario.text).toBe(scenario.parts.map(({ data }) => data).join(''));
    }),
    { numRuns: 1_000 },
  );
});
