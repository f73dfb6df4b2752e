import { expect, test } from '@jest/globals';
import {
  announceWithEvents,
  endOfDeadEdges,
} from '../../../../common/cluster/events/client-events.js';
import type { RedisLink } from '../../../../common/redis/redis-link.js';
import { useRedis } from '../../../support/cluster/redis-link.js';
import { CHANNEL } from '../../../support/cluster/stored-push.js';
import { eventually } from '../../../support/eventually.js';

const BOUNDS = { countMax: 100, keepMs: 60_000 };

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

test('the edges of a shard are told when connections were ended, and only then', async () => {
  const received: string[] = [];
  link.subscriber.subscribe(CHANNEL, {
    onMessage: (_channel, payload) => void received.push(payload.toString()),
    onConfirmed: () => void received.push('subscribed'),
    onLost: () => {},
  });
  await eventually(() => expect(received).toEqual(['subscribed']));
  const alice = { clientId: 'alice', connection: 1, renewed: false, protocol: 'sse', labels: '' };
  const edge = { edgeId: 'edge-1', incarnation: 'life-1' };
  const noted = { devices: [], keepS: 1 };
  await announceWithEvents(link, CHANNEL, edge, [alice], noted, Buffer.from('alice'), BOUNDS);
  const search = async (living: string[], notice: string) => {
    const dead = { living, ageMsMin: 0, notice: Buffer.from(notice) };
    await endOfDeadEdges(link, CHANNEL, '0', dead, BOUNDS);
  };
  await search(['life-1'], 'lives');
  await search(['life-2'], 'is dead');
  await search(['life-2'], 'has ended');
  await link.publish(CHANNEL, Buffer.from('last'));
  await eventually(() => expect(received.at(-1)).toBe('last'));
  expect(received).toEqual(['subscribed', 'alice', 'is dead', 'last']);
});
