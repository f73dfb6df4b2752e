/**
 * A push that one script stores for several clients, beside the same pushes stored alone, on a real
 * Redis.
 */
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { readInbox } from '../../../../common/cluster/history/inbox-read.js';
import { storePush } from '../../../../common/cluster/inbox/push.js';
import { storeTogether } from '../../../../common/cluster/inbox/push-together.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { isIntactAppendix, withNumber } from '../../../../common/wire/push-envelope.js';
import { seal, unseal } from '../../../../common/wire/sealed-message.js';
import { ShardEnvelope } from '../../../../proto/gen/longline/v1/envelope.js';
import { replyOf, useRedis } from '../../../support/cluster/redis-link.js';
import { eventually } from '../../../support/eventually.js';

const [FIRST, SECOND, THIRD] = ['ll:{7}', 'll:{11}', 'll:{13}'];
const BOUNDS = { countMax: 3, bytesMax: 1_000_000 };
const TTL_MS = 3_600_000;

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

const common = { contentType: 'text/plain', ttlMs: TTL_MS };

type Parts = readonly (readonly [channel: string, clientIds: readonly string[]])[];

const bodyOf = (parts: Parts, payload: Buffer) => ({
  ...common,
  clientIds: parts.flatMap(([, clientIds]) => clientIds),
  firstIndex: 0,
  shards: parts.map((_, i) => i),
  clientCounts: parts.map(([, clientIds]) => clientIds.length),
  whenSlow: 0,
  payload,
});

function envelopeOf(parts: Parts, payload: Buffer): Buffer {
  const value = bodyOf(parts, payload);
  const body = { $case: 'storedPush', value } as const;
  const rest = { queryId: 0, replyChannel: '', clientId: '', id: '', seq: '', appendOffset: '' };
  return seal(ShardEnvelope.encode({ ...rest, body }).finish());
}

/** Stores with one message for all of the parts. */
async function store(text: string, parts: Parts, idempotencyKey = '') {
  const payload = Buffer.from(text);
  const shards = parts.map(([channel, clientIds]) => ({ channel, clientIds }));
  const messages = [{ envelope: envelopeOf(parts, payload), shards }];
  const push = { ...common, payload, idempotencyKey, messages };
  return replyOf(await storeTogether(link, push, BOUNDS));
}

async function storeAlone(clientId: string, text: string, idempotencyKey = '') {
  const payload = Buffer.from(text);
  const push = { ...common, channel: FIRST!, clientId, payload, envelope: payload, idempotencyKey };
  return replyOf(await storePush(link, push, BOUNDS));
}

async function inboxOf(channel: string, clientId: string) {
  const { entries } = replyOf(await readInbox(link, channel, clientId, '', 100));
  return entries.map(({ id, payload, isCorrupt }) => ({ id, text: `${payload}`, isCorrupt }));
}

test('each client has the push in its inbox, with an id of its own', async () => {
  await storeAlone('bob', 'before');
  const { outcomes } = await store('hello', [
    [FIRST!, ['alice', 'bob']],
    [SECOND!, ['carol']],
  ]);
  const stored = outcomes.map(replyOf);
  for (const [i, [channel, clientId]] of [
    [FIRST!, 'alice'],
    [FIRST!, 'bob'],
    [SECOND!, 'carol'],
  ].entries()) {
    const [last] = (await inboxOf(channel!, clientId!)).slice(-1);
    const { id } = stored[i] as { id: string };
    expect(last).toEqual({ id, text: 'hello', isCorrupt: false });
  }
  expect(await inboxOf(FIRST!, 'bob')).toMatchObject([{ text: 'before' }, { text: 'hello' }]);
});

test('a key holds for each client, also beside pushes to it alone', async () => {
  const first = await storeAlone('alice', 'x', 'key');
  const { outcomes } = await store('x', [[FIRST!, ['alice', 'bob']]], 'key');
  const [alice, bob] = outcomes.map(replyOf);
  expect(alice).toEqual({ type: 'duplicate', firstId: (first as { id: string }).id });
  const { id } = bob as { id: string };
  expect(await storeAlone('bob', 'x', 'key')).toEqual({ type: 'duplicate', firstId: id });
  expect(await inboxOf(FIRST!, 'alice')).toHaveLength(1);
});

test('a full inbox drops its oldest push, as for a push to it alone', async () => {
  for (const text of ['1', '2', '3']) await storeAlone('full', text);
  const { outcomes } = await store('4', [[FIRST!, ['empty', 'full']]]);
  expect(outcomes.map(replyOf)).toMatchObject([{ dropped: 0 }, { dropped: 1 }]);
  expect((await inboxOf(FIRST!, 'full')).map(({ text }) => text)).toEqual(['2', '3', '4']);
});

test('a client whose keys are unusable fails alone', async () => {
  await link.commands.set(`${FIRST}:in:broken`, 'no stream');
  const { outcomes } = await store('x', [[FIRST!, ['alice', 'broken', 'carol']]]);
  expect(outcomes.map(({ type }) => type)).toEqual(['done', 'unknown', 'done']);
  expect(await inboxOf(FIRST!, 'carol')).toMatchObject([{ text: 'x' }]);
});

describe('the message', () => {
  let subscribers: Redis[];
  let messages: { readonly to: number; readonly channel: string; readonly bytes: Buffer }[];

  beforeEach(() => {
    subscribers = [];
    messages = [];
  });

  afterEach(() => {
    for (const each of subscribers) each.disconnect();
  });

  async function subscribe(...channels: string[]): Promise<void> {
    const subscriber = (link.commands as Redis).duplicate({ enableOfflineQueue: true });
    const to = subscribers.push(subscriber) - 1;
    subscriber.on('smessageBuffer', (channel, bytes) => {
      messages.push({ to, channel: `${channel}`, bytes });
    });
    await subscriber.ssubscribe(...channels);
  }

  async function received(count: number) {
    await eventually(() => expect(messages).toHaveLength(count));
    const found = messages.map(({ to, channel, bytes }) => {
      const unsealed = unseal(bytes);
      if (unsealed.type !== 'intact') throw new Error(unsealed.type);
      expect(isIntactAppendix(unsealed.appended, 0)).toBe(true);
      return {
        to,
        channel,
        appended: unsealed.appended,
        ...ShardEnvelope.decode(unsealed.content),
      };
    });
    messages = [];
    return found;
  }

  test('has all ids and one number of a shard; without new pushes there is none', async () => {
    await subscribe(FIRST!);
    // So many that the length of their ids takes several bytes.
    const clientIds = Array.from({ length: 30 }, (_, i) => `client-${i}`);
    await storeAlone('client-7', 'payload', 'key');
    const { outcomes, receivers } = await store('payload', [[FIRST!, clientIds]], 'key');
    expect(receivers).toBe(1);
    const again = await store('payload', [[FIRST!, clientIds]], 'key');
    expect(again).toMatchObject({ receivers: 0, numbers: ['-'] });
    await eventually(() => expect(messages).toHaveLength(2));
    messages.shift();
    const [message] = await received(1);
    const { id, seq, body, appended } = message!;
    expect(seq).toBe('2');
    expect(body).toEqual({
      $case: 'storedPush',
      value: bodyOf([[FIRST!, clientIds]], Buffer.from('payload')),
    });
    const ids = outcomes.map((outcome) => {
      const reply = replyOf(outcome);
      return reply.type === 'stored' ? reply.id : '-';
    });
    expect(id).toBe(ids.join(' '));
    expect(ids[7]).toBe('-');
    for (let at = 0; at < appended.length; at += 50) {
      const flipped = Buffer.from(appended);
      flipped[at]! ^= 1;
      expect(isIntactAppendix(flipped, 0)).toBe(false);
    }
    // A router appends the same.
    const sealed = envelopeOf([[FIRST!, clientIds]], Buffer.from('payload'));
    const whole = withNumber(sealed, id, seq);
    expect(whole.subarray(sealed.length)).toEqual(appended);
  });

  test('of several shards goes out once for those with one subscriber, and to each other', async () => {
    const parts = [
      [FIRST!, ['alice']],
      [SECOND!, ['bob', 'bill']],
      [THIRD!, ['carol']],
    ] as const;
    expect(await store('x', parts)).toMatchObject({ receivers: 0, numbers: ['-', '-', '-'] });
    await subscribe(FIRST!, SECOND!, THIRD!);
    const all = await store('x', parts);
    expect(all).toMatchObject({ receivers: 1, numbers: ['2', '2', '2'] });
    expect(await received(1)).toMatchObject([{ channel: FIRST, seq: '2 2 2' }]);
    await subscribe(SECOND!);
    const some = await store('x', parts);
    expect(some).toMatchObject({ receivers: 3, numbers: ['3', '-', '3'] });
    const sent = await received(3);
    for (const { id } of sent) expect(id.split(' ')).toHaveLength(4);
    expect(sent.map(({ to, channel, seq }) => [to, channel, seq]).sort()).toEqual(
      [
        [0, FIRST, '3 - 3'],
        [0, SECOND, '- 3 -'],
        [1, SECOND, '- 3 -'],
      ].sort(),
    );
    // Nothing new in the first one, whose channel carries the message else.
    await store('y', parts.slice(0, 1), 'key');
    await received(1);
    expect(await store('y', parts, 'key')).toMatchObject({ numbers: ['-', '-', '4'] });
    expect(await received(3)).toMatchObject([
      { channel: SECOND },
      { channel: SECOND },
      { channel: THIRD },
    ]);
  });
});

test('an empty payload is stored, too', async () => {
  await store('', [[FIRST!, ['alice']]]);
  expect(await inboxOf(FIRST!, 'alice')).toMatchObject([{ text: '', isCorrupt: false }]);
});
