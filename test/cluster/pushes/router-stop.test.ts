/** The push stream of a backend during the shutdown of its router. */
import { credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, expect, jest, test } from '@jest/globals';
import { freePort } from '../../../cli/local/ports.js';
import {
  PushServiceClient,
  type PushStreamResponse,
  Verdict,
} from '../../../proto/gen/longline/v1/push.js';
import { pushRequest } from '../../support/cluster/push-client.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { type Role, startRole } from '../../support/cluster/role.js';
import { eventually } from '../../support/eventually.js';

const DEADLINE_MS = 45_000;
jest.setTimeout(2 * DEADLINE_MS);

let redis: TestRedis;
let router: Role;
let backend: PushServiceClient;
afterEach(async () => {
  backend?.close();
  await router?.stop();
  await redis?.stop();
});

test('the router answers the pushes that it has read, ends the stream and exits', async () => {
  redis = await startRedis();
  router = await startRole('router', {
    LONGLINE_REDIS_URL: redis.url,
    LONGLINE_CONTROL_ADDRESS: `127.0.0.1:${await freePort()}`,
    LONGLINE_ROUTER_HTTP_PORT: '0',
    LONGLINE_ROUTER_GRPC_PORT: '0',
  });
  backend = new PushServiceClient(`127.0.0.1:${router.ports.grpc}`, credentials.createInsecure());
  const stream = backend.pushStream();
  const answered: string[] = [];
  stream.on('data', ({ results }: PushStreamResponse) => {
    for (const { correlationId, outcome } of results) {
      const verdict = outcome?.$case === 'push' ? Verdict[outcome.value.verdict] : 'failed';
      answered.push(`${correlationId} ${verdict}`);
    }
  });
  const ended = new Promise<ServiceError>((resolve) => stream.on('error', resolve));
  // Without an edge, each push is stored and waits until its timeout.
  const pushes = [10, 2_000].map((waitMs) => pushRequest('alice', 'hello', { waitMs }));
  stream.write({ items: pushes.map((push, index) => ({ correlationId: `${index}`, push })) });
  await eventually(() => answered.length === 1, DEADLINE_MS);

  router.signal('SIGTERM');
  const error = await ended;
  expect(answered).toHaveLength(2);
  expect(error.code).toBe(status.UNAVAILABLE);
  expect(error.details).toMatch(/^NOT_READY: the router is shutting down/);
  expect(await router.exited).toBe(0);
});
