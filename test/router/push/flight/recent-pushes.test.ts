import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { seal, unseal } from '../../../../common/wire/sealed-message.js';
import { PrivateEnvelope, ShardEnvelope } from '../../../../proto/gen/longline/v1/envelope.js';
import { AcceptLevel, type PushResponse, Verdict } from '../../../../proto/gen/longline/v1/push.js';
import {
  ANSWERED_MAX,
  RECENT_PUSHES_MAX,
  RecentPushes,
} from '../../../../router/push/flight/recent-pushes.js';
import { answersAbout } from '../../../../router/push/flight/recent-pushes-answers.js';

const response = (messageId: string): PushResponse => ({
  verdict: Verdict.VERDICT_WRITTEN,
  messageId,
  acceptLevel: AcceptLevel.ACCEPT_LEVEL_ACCEPTED,
  replacedId: '',
  flightRecord: undefined,
});
const pushTo = (clientId: string) => ({ clientId, payloadBytes: 5 });

test('the newest pushes to each client are exact, newest first', () => {
  const pushes = fc.array(fc.record({ client: fc.nat(3), waitMs: fc.nat(2_000) }), {
    maxLength: 300,
  });
  fc.assert(
    fc.property(pushes, fc.nat(1_000), (list, restMs) => {
      const recent = new RecentPushes(1_000);
      const all: { id: string; client: number; atMs: number }[] = [];
      let nowMs = 1_000;
      for (const [i, { client, waitMs }] of list.entries()) {
        nowMs += waitMs;
        recent.onVerdict(pushTo(`c${client}`), response(`${i}-0`), nowMs - 7, nowMs);
        all.unshift({ id: `${i}-0`, client, atMs: nowMs });
      }
      nowMs += restMs;
      for (let client = 0; client < 4; client++) {
        const expected = all.filter((push) => push.client === client).slice(0, ANSWERED_MAX);
        const found = recent.of(`c${client}`, nowMs);
        expect(found.rememberedMs).toBe(nowMs - 1_000);
        expect(found.pushes.map(({ messageId, ageMs }) => [messageId, ageMs])).toEqual(
          expected.map(({ id, atMs }) => [id, nowMs - atMs]),
        );
      }
    }),
  );
});

test('it remembers a bounded number, and says since when', () => {
  const recent = new RecentPushes(0);
  for (let i = 0; i <= RECENT_PUSHES_MAX; i++)
    recent.onVerdict(pushTo(i < 2 ? 'early' : 'other'), response(`${i}-0`), i, i + 10);
  const nowMs = RECENT_PUSHES_MAX + 20;
  const { pushes, rememberedMs } = recent.of('early', nowMs);
  // The first one is forgotten.
  expect(pushes).toEqual([
    {
      verdict: Verdict.VERDICT_WRITTEN,
      messageId: '1-0',
      acceptLevel: AcceptLevel.ACCEPT_LEVEL_ACCEPTED,
      payloadBytes: 5,
      totalMs: 10,
      ageMs: nowMs - 11,
      flightRecord: undefined,
    },
  ]);
  expect(rememberedMs).toBe(nowMs - 11);
  expect(recent.of('other', nowMs).pushes).toHaveLength(ANSWERED_MAX);
});

test('a question is answered on the channel that it names; anything else is ignored', () => {
  const recent = new RecentPushes(0);
  recent.onVerdict(pushTo('alice'), response('7-0'), 1, 2);
  const sent: [string, Buffer][] = [];
  const publish = async (channel: string, message: Buffer) => {
    sent.push([channel, message]);
    return { type: 'published', receivers: 1 } as const;
  };
  const onMessage = answersAbout(recent, 'router-1', { publish } as never);
  const envelope = (body: ShardEnvelope['body']): ShardEnvelope => ({
    queryId: 3,
    replyChannel: 'lr:{0}:control',
    clientId: 'alice',
    body,
    id: '',
    seq: '',
    appendOffset: '',
  });
  const encode = (body: ShardEnvelope['body']) => ShardEnvelope.encode(envelope(body)).finish();
  const asked = encode({ $case: 'recentPushes', value: {} });
  const flipped = seal(asked);
  flipped[flipped.length - 1]! ^= 1;
  for (const message of [
    flipped,
    Buffer.from(asked),
    seal(encode({ $case: 'presence', value: {} })),
    seal(Buffer.from([0xff, 0xff])),
    Buffer.alloc(0),
  ]) {
    onMessage(message);
  }
  expect(sent).toEqual([]);
  onMessage(seal(asked));
  expect(sent).toHaveLength(1);
  const [channel, message] = sent[0]!;
  expect(channel).toBe('lr:{0}:control');
  const unsealed = unseal(message);
  const { body } = PrivateEnvelope.decode(unsealed.type === 'intact' ? unsealed.content : message);
  expect(body).toMatchObject({
    value: {
      edgeId: 'router-1',
      replies: [
        {
          queryId: 3,
          body: {
            $case: 'recentPushes',
            value: { routerId: 'router-1', pushes: [{ messageId: '7-0' }] },
          },
        },
      ],
    },
  });
});
