/** Announcements of connections with their events. Redis is real; some of its replies are lost. */
import { expect, test } from '@jest/globals';
import { ShardNames } from '../../../common/cluster/shard-names.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import { Announcements } from '../../../edge/shards/announcements.js';
import { useRedis } from '../../support/cluster/redis-link.js';
import { eventually } from '../../support/eventually.js';

const SHARD = 3;

let link: RedisLink;
useRedis((opened) => {
  link = opened;
});

test.each([
  ['ran', true],
  ['did not run', false],
])(
  'a connection is announced again when the reply to its script is lost, which %s',
  async (_, hasRun) => {
    let areRepliesLost = true;
    const execute = async (...args: Parameters<RedisLink['execute']>) => {
      const outcome = hasRun || !areRepliesLost ? await link.execute(...args) : undefined;
      // It does not know the script yet, and receives its text.
      if (outcome?.type === 'rejected') return outcome;
      return areRepliesLost ? { type: 'unknown', reason: 'Connection is closed.' } : outcome;
    };
    const names = new ShardNames(link.names, 16);
    const notEntered: string[] = [];
    const announcements = new Announcements({
      link: { ...link, execute: execute as RedisLink['execute'] },
      edgeId: 'edge-1',
      edgeIncarnation: 'life-1',
      names,
      keepDevicesS: 60,
      events: {
        bounds: { countMax: 100, keepMs: 60_000 },
        describe: () => ({ protocol: 'sse', labels: '' }),
        onNotEntered: (connection, clientId) => notEntered.push(`${clientId} ${connection}`),
      },
    });
    announcements.add(SHARD, { clientId: 'alice', connection: 1, renewed: false });
    announcements.add(SHARD, { clientId: 'bob', connection: 2, renewed: false });
    await eventually(() => expect(notEntered).toEqual(['alice 1', 'bob 2']));
    areRepliesLost = false;
    announcements.add(SHARD, { clientId: 'alice', connection: 1, renewed: true });
    const events = async () => {
      const entries = await link.commands.xrange(`${names.channelOf(SHARD)}:ev`, '-', '+');
      return entries.map(([, fields]) => `${fields[1]} ${fields[3]}`).sort();
    };
    const entered = ['client.connected alice', ...(hasRun ? ['client.connected bob'] : [])];
    await eventually(async () => expect(await events()).toEqual(entered));
    expect(notEntered).toHaveLength(2);
  },
);
