/** The pushes of backends, over gRPC and HTTP, during the shutdown of their router. */
import { request as httpRequest } from 'node:http';
import { credentials, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { freePort } from '../../../cli/local/ports.js';
import {
  PushServiceClient,
  type PushStreamResponse,
  Verdict,
} from '../../../proto/gen/longline/v1/push.js';
import { metricOf } from '../../support/cluster/metric.js';
import { pushRequest } from '../../support/cluster/push-client.js';
import { startRedis, type TestRedis } from '../../support/cluster/redis.js';
import { type Role, startRole } from '../../support/cluster/role.js';
import { eventually } from '../../support/eventually.js';

let redis: TestRedis;
let router: Role;
const backends: PushServiceClient[] = [];

beforeEach(async () => {
  redis = await startRedis();
  router = await startRole('router', {
    LONGLINE_REDIS_URL: redis.url,
    LONGLINE_CONTROL_ADDRESS: `127.0.0.1:${await freePort()}`,
    LONGLINE_ROUTER_HTTP_PORT: '0',
    LONGLINE_ROUTER_GRPC_PORT: '0',
    LONGLINE_ROUTER_PUSH_HTTP_PORT: '0',
  });
});
afterEach(async () => {
  for (const backend of backends.splice(0)) backend.close();
  await router?.stop();
  await redis?.stop();
});

/** Each has a connection of its own. */
function openBackend(): PushServiceClient {
  const backend = new PushServiceClient(
    `127.0.0.1:${router.ports.grpc}`,
    credentials.createInsecure(),
    { 'grpc.use_local_subchannel_pool': 1 },
  );
  backends.push(backend);
  return backend;
}

test('the router answers the pushes that it has read, ends the stream and exits', async () => {
  const stream = openBackend().pushStream();
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
  await eventually(() => answered.length === 1);

  const lines = [10, 2_000].map(
    (waitMs) => `{"correlationId":"${waitMs}","clientId":"bob","payload":1,"waitMs":${waitMs}}\n`,
  );
  const http = openHttpStream(router.ports.pushHttp!);
  http.request.write(lines.join(''));
  await eventually(() => http.text().includes('"10"'));

  router.signal('SIGTERM');
  const error = await ended;
  expect(answered).toHaveLength(2);
  expect(error.code).toBe(status.UNAVAILABLE);
  expect(error.details).toMatch(/^NOT_READY: the router is shutting down/);
  await http.ended;
  const results = http
    .text()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(results).toMatchObject([
    // UNKNOWN where the machine is too busy for 10 ms.
    { correlationId: '10', verdict: expect.stringMatching(/^(STORED|UNKNOWN)$/) },
    { correlationId: '2000', verdict: 'STORED' },
    { correlationId: null, error: { code: 'NOT_READY' } },
  ]);
  expect(await router.exited).toBe(0);
});

/** grpc-js reports a connection that breaks while it writes as INTERNAL, not as UNAVAILABLE. */
function outcomeOf({ code, details }: ServiceError): string {
  if (code !== status.INTERNAL) return status[code]!;
  return details.endsWith('internal client error: write EPIPE') ? 'UNAVAILABLE' : details;
}

test('each of 2,500 unary pushes in flight has one outcome, and none hangs', async () => {
  // As many as a client on a busy machine reads in the seconds of a stop.
  const [count, connections] = [2_500, 4];
  const clients = Array.from({ length: connections }, openBackend);
  const outcomes = new Map<string, number>();
  let calledBack = 0;
  const pushAll = Array.from({ length: count }, (_, i) => {
    // Without an edge, each is stored and waits until its timeout.
    const request = pushRequest(`client-${i}`, 'hello', { waitMs: 60_000 });
    return new Promise<void>((resolve) => {
      clients[i % connections]!.push(request, (error, response) => {
        const outcome = error === null ? Verdict[response.verdict]! : outcomeOf(error);
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
        calledBack++;
        resolve();
      });
    });
  });
  const calls = () =>
    metricOf(`http://127.0.0.1:${router.ports.http}`, 'longline_router_grpc_calls');
  await eventually(async () => (await calls()) === count);

  router.signal('SIGTERM');
  await Promise.all(pushAll);
  expect(await router.exited).toBe(0);
  expect(calledBack).toBe(count);
  // UNAVAILABLE and UNKNOWN where the machine is too busy to answer all of them in time.
  const possible = ['VERDICT_STORED', 'VERDICT_UNKNOWN', 'UNAVAILABLE'];
  expect([...outcomes.keys()].filter((outcome) => !possible.includes(outcome))).toEqual([]);
  expect(outcomes.get('VERDICT_STORED')).toBeGreaterThan(0);
});

function openHttpStream(port: number) {
  const request = httpRequest({
    ...{ port, host: '127.0.0.1', method: 'POST', path: '/v1/push:stream' },
    headers: { 'content-type': 'application/x-ndjson' },
  });
  let text = '';
  const ended = new Promise<void>((resolve, reject) => {
    request.on('error', reject);
    request.on('response', (response) => {
      response.on('data', (bytes) => {
        text += bytes;
      });
      response.on('end', resolve);
    });
  });
  return { request, ended, text: () => text };
}
