/** The gRPC service of events, with short times, against a real Redis. */
import { Server, ServerCredentials, status } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ShardNames } from '../../../common/cluster/shard-names.js';
import { Metrics } from '../../../common/process/metrics.js';
import { EventServiceService } from '../../../proto/gen/longline/v1/events.js';
import { WatchService } from '../../../router/events/watch-service.js';
import type { PushApi } from '../../../router/push/operations.js';
import { EventWatch } from '../../support/cluster/event-watch.js';
import { type LinkedRedis, startLinkedRedis } from '../../support/cluster/redis-link.js';
import { eventually } from '../../support/eventually.js';

const MS_MAX = 20_000;

let linked: LinkedRedis;
let service: WatchService;
let address: string;
let names: ShardNames;
const server = new Server();

beforeAll(async () => {
  linked = await startLinkedRedis();
  names = new ShardNames(linked.link.names, 8);
  service = new WatchService({
    api: { authorize: () => ({}) } as unknown as PushApi,
    presence: { close: () => {} } as never,
    link: linked.link,
    names,
    keepMs: 60_000,
    connections: { onRetired: () => () => {} },
    stalledMs: 600,
    metrics: new Metrics(),
  });
  server.addService(EventServiceService, service.implementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  address = `127.0.0.1:${port}`;
});

afterAll(async () => {
  await service?.close();
  server.forceShutdown();
  await linked?.stop();
});

test('a consumer that does not acknowledge ends, and another gets its events', async () => {
  const open = { group: 'g', start: 'oldest' };
  await linked.link.commands.xadd(`${names.channelOf(1)}:ev`, '*', 't', 'push.unread', 'c', 'ann');
  const silent = new EventWatch(address, { ...open, consumer: 'silent', acks: false });
  expect(await silent.ended).toMatchObject({
    code: status.DEADLINE_EXCEEDED,
    details: expect.stringContaining('CONSUMER_STALLED'),
  });
  expect(silent.of('ann')).toEqual(['push.unread']);
  const other = new EventWatch(address, { ...open, consumer: 'other' });
  await eventually(() => expect(other.of('ann')).toEqual(['push.unread']), MS_MAX);
  other.close();
  silent.close();
});
