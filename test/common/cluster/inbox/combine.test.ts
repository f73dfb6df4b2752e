/**
 * Goal: pushes that replace or extend earlier ones neither lose another push nor move a cursor past
 * one, keep the bounds of the inbox exactly, and every cursor that a device can have stays known.
 * Method: operations drawn at random change an inbox on a real Redis, and a model tells what must
 * be in it.
 */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readInbox } from '../../../../common/cluster/history/inbox-read.js';
import {
  COMBINATION_KEYS_MAX,
  type Combination,
} from '../../../../common/cluster/inbox/combine.js';
import {
  type Stored,
  type StorePush,
  storePush,
  storePushes,
} from '../../../../common/cluster/inbox/push.js';
import {
  confirmInbox,
  isIdBefore,
  readFate,
  resumeInbox,
} from '../../../../common/cluster/inbox.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { replyOf, useRedis } from '../../../support/cluster/redis-link.js';

const ALICE = ['ll:{7}', 'alice'] as const;
const AMPLE = { countMax: 1_000, bytesMax: 1_000_000 };

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

function pushOf(
  text: string,
  combination?: Combination,
  changes: Partial<StorePush> = {},
): StorePush {
  const payload = Buffer.from(text);
  const [channel, clientId] = ALICE;
  const rest = { channel, clientId, contentType: '', ttlMs: 3_600_000, idempotencyKey: '' };
  return { ...rest, envelope: payload, payload, combination, ...changes };
}

const collapse = (key: string): Combination => ({ type: 'collapse', key });
const append = (key: string, isEnd = false): Combination => ({ type: 'append', key, isEnd });

async function store(...push: Parameters<typeof pushOf>): Promise<Stored> {
  return replyOf(await storePush(link, pushOf(...push), AMPLE));
}

async function storeId(...push: Parameters<typeof pushOf>): Promise<string> {
  const stored = await store(...push);
  if (stored.type !== 'stored') throw new Error(stored.type);
  return stored.id;
}

async function entries(after = '') {
  return replyOf(await readInbox(link, ...ALICE, after, 1_000)).entries;
}

const textsOf = async (after = '') =>
  (await entries(after)).map(({ payload }) => payload.toString());

interface Entry {
  readonly id: string;
  readonly text: string;
  readonly part?: { to: string; offset: number; isEnd: boolean } | undefined;
}

type Operation =
  | {
      readonly type: 'push';
      readonly bytes: number;
      readonly combination: Combination | undefined;
      readonly idem: string;
    }
  | { readonly type: 'confirm' | 'single' | 'resume'; readonly nth: number };

/** The inbox as it must be. */
class Model {
  entries: Entry[] = [];
  readonly ids: string[] = [];
  readonly replaced = new Set<string>();
  readonly #collapsed = new Map<string, string>();
  readonly #ends = new Map<string, number | 'end'>();
  readonly #idem = new Map<string, string>();
  gone = '';
  acked = '';

  constructor(readonly bounds: { countMax: number; bytesMax: number }) {}

  push(
    { bytes, combination, idem }: Operation & { type: 'push' },
    text: string,
    stored: Stored,
  ): void {
    const first = this.#idem.get(idem);
    if (first !== undefined) return expect(stored).toEqual({ type: 'duplicate', firstId: first });
    let replacedId: string | undefined;
    let part: Entry['part'];
    if (combination?.type === 'append') {
      const end = this.#ends.get(combination.key) ?? 0;
      if (end === 'end') return expect(stored).toEqual({ type: 'invalid', code: 'APPEND_ENDED' });
      if (end + bytes > this.bounds.bytesMax) {
        return expect(stored).toEqual({ type: 'invalid', code: 'APPEND_TOO_LARGE' });
      }
      part = { to: combination.key, offset: end, isEnd: combination.isEnd };
      this.#ends.set(combination.key, combination.isEnd ? 'end' : end + bytes);
    } else if (combination !== undefined) {
      const old = this.#collapsed.get(combination.key);
      replacedId = this.entries.find(({ id }) => id === old)?.id;
      if (replacedId !== undefined) this.replaced.add(replacedId);
      this.entries = this.entries.filter(({ id }) => id !== replacedId);
    }
    const dropped = this.#makeRoom(bytes);
    expect(stored).toMatchObject({ type: 'stored', dropped });
    if (stored.type !== 'stored') return;
    expect(stored.replacedId).toBe(replacedId);
    this.ids.push(stored.id);
    this.entries.push({ id: stored.id, text, part });
    if (combination?.type === 'collapse') this.#collapsed.set(combination.key, stored.id);
    if (idem !== '') this.#idem.set(idem, stored.id);
  }

  #makeRoom(bytes: number): number {
    let dropped = 0;
    const sum = () => this.entries.reduce((total, { text }) => total + text.length, bytes);
    for (
      ;
      this.entries.length >= this.bounds.countMax ||
      (sum() > this.bounds.bytesMax && this.entries.length > 0);
      dropped++
    ) {
      this.gone = this.entries.shift()!.id;
    }
    return dropped;
  }

  confirm(id: string): void {
    if (this.acked === '' || isIdBefore(this.acked, id)) this.acked = id;
    this.entries = this.entries.filter((entry) => isIdBefore(id, entry.id));
  }

  /** Ids that a device may name: stored ones, and those that were replaced. */
  get cursors(): string[] {
    return this.ids.filter(
      (id) =>
        this.entries.some((entry) => entry.id === id) ||
        id === this.ids.at(-1) ||
        (this.replaced.has(id) && !(this.acked !== '' && isIdBefore(id, this.acked))),
    );
  }
}

const combinations: fc.Arbitrary<Combination | undefined> = fc.oneof(
  fc.constant(undefined),
  fc.constantFrom('a', 'b').map(collapse),
  fc.record({
    type: fc.constant('append' as const),
    key: fc.constantFrom('x', 'y', 'z {}:'),
    isEnd: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  }),
);
const operations: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant('push' as const),
      bytes: fc.nat(40),
      combination: combinations,
      idem: fc.constantFrom('', '', '', 'k1', 'k2'),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constantFrom('confirm' as const, 'single' as const, 'resume' as const),
      nth: fc.nat(1_000),
    }),
  },
);

async function perform(model: Model, operation: Operation, i: number): Promise<void> {
  if (operation.type === 'push') {
    const { bytes, combination, idem } = operation;
    const text = `${i}`.padEnd(bytes, '.').slice(0, bytes);
    const push = pushOf(text, combination, { idempotencyKey: idem });
    // Alone and together, which are two ways through the script.
    const outcome =
      i % 2 === 0
        ? await storePush(link, push, model.bounds)
        : (
            await storePushes(
              link,
              [pushOf('', undefined, { clientId: 'bob' }), push],
              model.bounds,
            )
          )[1]!;
    return model.push(operation, text, replyOf(outcome));
  }
  const from = operation.type === 'resume' ? model.cursors : model.ids;
  const id = from[operation.nth % from.length];
  if (id === undefined) return;
  if (operation.type === 'confirm') {
    await confirmInbox(link, ...ALICE, id);
    model.confirm(id);
  } else if (operation.type === 'single') {
    await confirmInbox(link, ...ALICE, '', [id]);
    model.entries = model.entries.filter((entry) => entry.id !== id);
  } else {
    const isComplete = !(model.gone !== '' && isIdBefore(id, model.gone));
    expect(replyOf(await resumeInbox(link, ...ALICE, id)).isComplete).toBe(isComplete);
    if (isComplete) model.confirm(id);
  }
}

test('an inbox is what the model says, after any operations', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operations, { maxLength: 50 }), async (all) => {
      await link.commands.flushall();
      const model = new Model({ countMax: 8, bytesMax: 150 });
      for (const [i, operation] of all.entries()) {
        await perform(model, operation, i);
        const read = await entries();
        expect(read.map(({ isCorrupt }) => isCorrupt)).toEqual(read.map(() => false));
        expect(
          read.map(({ id, payload, appended: part }) => ({ id, text: payload.toString(), part })),
        ).toEqual(model.entries);
      }
      for (const id of model.replaced) {
        const isBeforeOther = (other: string) => other !== '' && !isIdBefore(other, id);
        const fate = await readFate(link, ...ALICE, id);
        if (isBeforeOther(model.acked)) expect(fate).toBe('acked');
        else expect(fate).toBe(isBeforeOther(model.gone) ? undefined : 'replaced');
      }
      for (const { id } of model.entries)
        expect(await readFate(link, ...ALICE, id)).toBeUndefined();
    }),
    { numRuns: 60 },
  );
});

test('a device that was away for many replacements receives only the newest, without a gap', async () => {
  await storeId('other');
  const received = await storeId('position 0', collapse('position'));
  for (let i = 1; i <= 150; i++) await storeId(`position ${i}`, collapse('position'));
  expect(await textsOf()).toEqual(['other', 'position 150']);
  // An edge that has written it proves the history, too.
  expect(replyOf(await readInbox(link, ...ALICE, received, 10)).isProven).toBe(true);
  expect(replyOf(await resumeInbox(link, ...ALICE, received)).isComplete).toBe(true);
  expect(await textsOf()).toEqual(['position 150']);
});

test('the ids of replaced pushes that are kept are bounded, and dropped when a later one is confirmed', async () => {
  const first = await storeId('0', collapse('k'));
  for (let i = 1; i < 400; i++) await storeId(`${i}`, collapse('k'));
  const last = await storeId('last', collapse('k'));
  const kept = async () => link.commands.hget('ll:{7}:ack:alice', 'replaced');
  expect((await kept())!.length).toBeLessThanOrEqual(4_096);
  expect(replyOf(await resumeInbox(link, ...ALICE, first)).isComplete).toBe(false);
  expect(await readFate(link, ...ALICE, first)).toBeUndefined();
  await confirmInbox(link, ...ALICE, last);
  expect(await kept()).toBeNull();
});

test('the bound on keys: only those in use count', async () => {
  for (let i = 0; i < COMBINATION_KEYS_MAX; i++) await storeId('p', collapse(`k${i}`));
  const tooMany = { type: 'invalid', code: 'PUSH_KEYS_TOO_MANY' };
  expect(await store('p', collapse('another'))).toEqual(tooMany);
  expect(await store('p', append('another'))).toEqual(tooMany);
  expect(await store('p', collapse('k7'))).toMatchObject({ type: 'stored' });
  expect(await store('p')).toMatchObject({ type: 'stored' });
  const [oldest] = await entries();
  await confirmInbox(link, ...ALICE, oldest!.id);
  await storeId('p', append('another'));
  expect(await store('p', collapse('one more'))).toEqual(tooMany);
  await storeId('p', append('another', true));
  // The end of a message is forgotten before a key is rejected.
  await storeId('p', collapse('one more'));
});

test('a key is free again when its pushes have expired', async () => {
  const soon = { ttlMs: 30 };
  await storeId('one', append('m', true), soon);
  await storeId('two', collapse('k'), soon);
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(await store('three', append('m'))).toMatchObject({ type: 'stored' });
  expect(await store('four', collapse('k'))).toMatchObject({ replacedId: undefined });
  expect((await entries()).map(({ appended }) => appended?.offset)).toEqual([0, undefined]);
});

test('a Redis that is full replaces nothing', async () => {
  await storeId('kept', collapse('k'));
  await link.commands.config('SET', 'maxmemory', '1');
  const outcome = await storePush(link, pushOf('p', collapse('k')), AMPLE);
  await link.commands.config('SET', 'maxmemory', '0');
  expect(outcome).toMatchObject({ type: 'rejected', reason: expect.stringMatching(/^OOM/) });
  expect(await textsOf()).toEqual(['kept']);
});

test('the parts of a message are read beyond the end of a page, and nothing after them', async () => {
  for (let i = 0; i < 3; i++) await storeId(`${i}`);
  for (let i = 0; i < 20; i++) await storeId(`${i} `, append('m', i === 19));
  await storeId('after');
  const page = replyOf(await readInbox(link, ...ALICE, '', 5, false, 100));
  expect(page.entries).toHaveLength(23);
  expect(page.entries.at(-1)!.appended).toEqual({ to: 'm', offset: 47, isEnd: true });
  expect(replyOf(await readInbox(link, ...ALICE, '', 5)).entries).toHaveLength(5);
  expect(replyOf(await readInbox(link, ...ALICE, '', 5, false, 12)).entries).toHaveLength(12);
});

test('a flipped bit in what is stored of a part is found', async () => {
  await storeId('text', append('m'));
  const [[, fields]] = (await link.commands.xrange('ll:{7}:in:alice', '-', '+')) as [
    [string, string[]],
  ];
  const part = Buffer.from(fields[11]!);
  for (let bit = 0; bit < 8 * part.length; bit++) {
    const flipped = Buffer.from(part);
    flipped[bit >> 3]! ^= 1 << (bit & 7);
    await link.commands.del('ll:{7}:in:alice');
    await link.commands.xadd('ll:{7}:in:alice', '*', ...fields.slice(0, 11), flipped);
    expect((await entries())[0]!.isCorrupt).toBe(true);
  }
});
