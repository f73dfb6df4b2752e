/** The newest pushes to a client, from the answers of all routers. */
import { expect, test } from '@jest/globals';
import type { QueryResult } from '../../../../common/cluster/shard-query.js';
import type { Rejection } from '../../../../common/process/errors.js';
import { ClientPushes } from '../../../../control/operator/clients/client-pushes.js';
import type { RecentPush } from '../../../../proto/gen/longline/v1/envelope.js';
import { AcceptLevel, FlightEvent, Verdict } from '../../../../proto/gen/longline/v1/push.js';

const push: RecentPush = {
  verdict: Verdict.VERDICT_WRITTEN,
  messageId: '7-0',
  acceptLevel: AcceptLevel.ACCEPT_LEVEL_FSYNCED,
  payloadBytes: 5,
  totalMs: 1.5,
  ageMs: 2_000,
  flightRecord: undefined,
};
const live: RecentPush = {
  ...push,
  verdict: Verdict.VERDICT_OFFLINE,
  messageId: '',
  acceptLevel: AcceptLevel.ACCEPT_LEVEL_UNSPECIFIED,
  ageMs: 1_000,
  flightRecord: {
    steps: [
      { event: FlightEvent.FLIGHT_EVENT_RECEIVED, place: 'router-2', afterUs: 0, errorUs: 0 },
    ],
  },
};

const replyOf = (routerId: string, pushes: RecentPush[], rememberedMs: number) =>
  ({ $case: 'recentPushes', value: { routerId, pushes, rememberedMs } }) as const;

function pushesOf(
  bodies: QueryResult['bodies'],
  receivers: number | undefined,
  rejected?: Rejection,
): ClientPushes {
  const result = { bodies, waits: { receivers } } as QueryResult;
  return new ClientPushes(
    { channelOf: () => 'll:{7}', queryRouters: async () => rejected ?? result },
    { nextTo: (channel) => (channel === 'll:{7}' ? 'lr:{7}:routers' : undefined) },
  );
}

test('pushes of all routers are in one order, as far back as all of them remember', async () => {
  const answers = [replyOf('router-1', [push], 60_000), replyOf('router-2', [live], 5_000)];
  expect(await pushesOf(answers, 3).list('alice')).toEqual({
    clientId: 'alice',
    rememberedMs: 5_000,
    silentRouters: 1,
    pushes: [
      {
        routerId: 'router-2',
        verdict: 'OFFLINE',
        acceptLevel: null,
        messageId: null,
        payloadBytes: 5,
        totalMs: 1.5,
        ageMs: 1_000,
        flightRecord: [{ event: 'RECEIVED', place: 'router-2', afterUs: 0, errorUs: 0 }],
      },
      {
        routerId: 'router-1',
        verdict: 'WRITTEN',
        acceptLevel: 'FSYNCED',
        messageId: '7-0',
        payloadBytes: 5,
        totalMs: 1.5,
        ageMs: 2_000,
      },
    ],
  });
});

test('without a router nothing is known', async () => {
  const none = { clientId: 'alice', pushes: [], rememberedMs: null };
  expect(await pushesOf([], 0).list('alice')).toEqual({ ...none, silentRouters: 0 });
  // They are of an earlier version.
  expect(await pushesOf([], 2).list('alice')).toEqual({ ...none, silentRouters: 2 });
});

test('what Redis or the limit of queries rejects is rejected', async () => {
  expect(await pushesOf([], undefined).list('alice')).toMatchObject({ code: 'REDIS_UNAVAILABLE' });
  const overloaded = { code: 'OVERLOADED', message: 'too many' } as const;
  expect(await pushesOf([], 0, overloaded).list('alice')).toBe(overloaded);
});
