/** The shards as lists: owners, connections and rates. */
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { shardMapResponse, shardsResponse } from '../../../control/operator/cluster-responses.js';
import type { ListShardsResponse } from '../../../proto/gen/longline/v1/operator.js';
import { ask, call, type OperatedControl, startOperatedControl } from './operated-control.js';

let control: OperatedControl;
beforeEach(async () => {
  control = await startOperatedControl();
});
afterEach(() => control.stop());

const map = async () =>
  shardMapResponse.strict().parse((await ask(`${control.url}/v1/shard-map`)).body);

test('connections and rates are known for shards whose owner reports', async () => {
  const { snapshot } = control.state;
  const [reporting, silent] = snapshot.edges;
  const counts = { connections: 5, guests: 1, shardsSubscribed: 2, ready: true };
  const shards = [
    { shard: 0, connections: 4, messagesPerSecond: 0.12345 },
    { shard: 2, connections: 1, messagesPerSecond: 1 },
  ];
  const edges = [{ ...reporting!, counts: { ...counts, shards } }, silent!];
  const masters = new Map([
    [0, 'redis-b:6379'],
    [2, 'redis-a:6379'],
    [3, 'redis-b:6379'],
  ]);
  const masterOf = (channel: string) =>
    [...masters].find(([shard]) => channel === control.channelOf(shard))?.[1];
  control.state.snapshot = { ...snapshot, edges, masterOf };
  expect(await map()).toEqual({
    edges: ['edge-1', 'edge-2'],
    owners: [0, 0, 1, 1],
    connections: [4, 0, null, null],
    pushesPerSecond: [0.123, 0, null, null],
    masters: ['redis-a:6379', 'redis-b:6379'],
    masterOf: [1, -1, 0, 1],
    versions: [],
    ownedSince: [-1, -1, -1, -1],
  });
});

test('the version in which a shard got its owner is known if it was seen', async () => {
  const [first, second] = [
    { incarnation: 1, epoch: 3 },
    { incarnation: 1, epoch: 7 },
  ];
  const ownedSince = [second, undefined, first, second];
  control.state.snapshot = { ...control.state.snapshot, ownedSince };
  expect(await map()).toMatchObject({ versions: [first, second], ownedSince: [1, -1, 0, 1] });
  const { body } = await ask(`${control.url}/v1/shards`);
  const { shards } = shardsResponse.strict().parse(body);
  expect(shards.map(({ ownedSince }) => ownedSince)).toEqual([second, null, first, second]);
  const answer = await call<ListShardsResponse>((done) => control.grpc.listShards({}, done));
  const inProto = answer.shards.map(({ ownedSince }) => ownedSince);
  expect(inProto).toEqual([second, undefined, first, second]);
});

test('before the first assignment no shard has an owner', async () => {
  control.state.snapshot = { assignment: undefined, edges: [] };
  expect(await map()).toMatchObject({ edges: [], owners: [-1, -1, -1, -1] });
});
