/** The pushes that one script stores, with a Redis that the test fakes. */
import { setImmediate as turnEnd } from 'node:timers/promises';
import { expect, test } from '@jest/globals';
import type { StorePush } from '../../../../common/cluster/inbox/push.js';
import type { Outcome } from '../../../../common/redis/execute.js';
import { IdFloor } from '../../../../common/redis/identity/id-floor.js';
import type { StoreOutcome } from '../../../../router/push/store/accept-level-writer.js';
import { StoreBatches } from '../../../../router/push/store/store-batches.js';

const BOUNDS = { countMax: 100, bytesMax: 1_000_000 };

function pushTo(tag: number, clientId: string, bytes = 1): StorePush {
  const payload = Buffer.alloc(bytes, 'p');
  const rest = { contentType: '', ttlMs: 60_000, idempotencyKey: '' };
  return { channel: `ll:{${tag}}`, clientId, envelope: payload, payload, ...rest };
}

/** `scripts` has the clients of each script. */
function fakeLink(isCluster: boolean, outcome?: Outcome<never>) {
  const scripts: string[][] = [];
  const execute = async (_name: string, args: readonly (string | number | Buffer)[]) => {
    const keys = args.slice(2, 2 + Number(args[1])).map(String);
    const clients = keys.flatMap((key) => /:in:(.*)$/.exec(key)?.[1] ?? []);
    scripts.push(clients);
    const reply = clients.map((clientId) => `${clientId} 1 0`).join('\n');
    return outcome ?? { type: 'done', reply };
  };
  return { link: { isCluster, execute, idFloor: new IdFloor() } as never, scripts };
}

const storedAs = (id: string) => ({
  type: 'stored',
  stored: { type: 'stored', id, receivers: 1, dropped: 0 },
  isConfirmed: true,
});

const store = (batches: StoreBatches, push: StorePush) =>
  new Promise<StoreOutcome>((resolve) => batches.store(push, resolve));

test('one script stores the pushes of a turn, to all shards of a standalone Redis', async () => {
  const { link, scripts } = fakeLink(false);
  const batches = new StoreBatches(link, BOUNDS);
  const storing = ['a', 'b', 'c'].map((clientId, i) => store(batches, pushTo(i, clientId)));
  expect(await Promise.all(storing)).toEqual(['a', 'b', 'c'].map(storedAs));
  await store(batches, pushTo(1, 'd'));
  expect(scripts).toEqual([['a', 'b', 'c'], ['d']]);
});

test('in a Redis Cluster, a script stores only pushes to one shard', async () => {
  const { link, scripts } = fakeLink(true);
  const batches = new StoreBatches(link, BOUNDS);
  await Promise.all([
    store(batches, pushTo(1, 'a')),
    store(batches, pushTo(2, 'b')),
    store(batches, pushTo(1, 'c')),
  ]);
  expect(scripts).toEqual([['a', 'c'], ['b']]);
});

test('a script has at most 32 pushes, and no more after 64 KB', async () => {
  const { link, scripts } = fakeLink(false);
  const batches = new StoreBatches(link, BOUNDS);
  await Promise.all(Array.from({ length: 70 }, (_, i) => store(batches, pushTo(i, `${i}`))));
  await Promise.all(Array.from({ length: 5 }, (_, i) => store(batches, pushTo(i, `${i}`, 30_000))));
  expect(scripts.map(({ length }) => length)).toEqual([32, 32, 6, 3, 2]);
});

test('pushes to a channel are sent before another message on it, and others wait', async () => {
  const { link, scripts } = fakeLink(false);
  const batches = new StoreBatches(link, BOUNDS);
  const storing = [store(batches, pushTo(1, 'a')), store(batches, pushTo(2, 'b'))];
  batches.sendBefore('ll:{3}');
  expect(scripts).toEqual([]);
  batches.sendBefore('ll:{2}');
  expect(scripts).toEqual([['a', 'b']]);
  expect(batches.areSent).toBe(true);
  await Promise.all(storing);
  await turnEnd();
  expect(scripts).toHaveLength(1);
});

test('what becomes of a script becomes of each of its pushes', async () => {
  const lost: Outcome<never> = { type: 'unknown', reason: 'Connection is closed.' };
  const batches = new StoreBatches(fakeLink(false, lost).link, BOUNDS);
  const storing = [store(batches, pushTo(1, 'a')), store(batches, pushTo(2, 'b'))];
  expect(await Promise.all(storing)).toEqual([lost, lost]);
});
