/**
 * Goal: what one push did can be seen: in its flight record, among the slowest pushes, and in the
 * spans that a collector receives. Method: a cluster of processes; backends use gRPC, HTTP and the
 * command line. The collector is a receiver of OTLP, to which the SDK of OpenTelemetry sends.
 */
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { controlApi } from '../../../cli/control/api.js';
import {
  FlightEvent,
  type PushRequest,
  type PushResponse,
  PushServiceClient,
  Verdict,
  WaitFor,
} from '../../../proto/gen/longline/v1/push.js';
import { longline } from '../../support/cluster/longline-command.js';
import { pushRequest } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { eventually } from '../../support/eventually.js';
import { OtlpReceiver, type ReceivedSpan } from '../../support/otlp-receiver.js';

/** Far above the default of a router, for a busy machine. */
const WAIT_MS = 30_000;

let collector: OtlpReceiver;
let running: RunningCluster;
let client: PushServiceClient;
let device: SseClient;

beforeAll(async () => {
  collector = await OtlpReceiver.start();
  running = await RunningCluster.start({
    edges: 1,
    env: {
      LONGLINE_ROUTER_WAIT_MS: `${WAIT_MS}`,
      LONGLINE_TRACING: 'otlp',
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_TRACES_SAMPLER: 'parentbased_always_off',
      OTEL_BSP_SCHEDULE_DELAY: '50',
    },
  });
  client = new PushServiceClient(running.cluster.routerAddress, credentials.createInsecure());
  device = await SseClient.open(running.connectUrl('alice'));
  await running.untilCaughtUp();
});

afterAll(async () => {
  device?.close();
  client?.close();
  await running?.stop();
  await collector?.stop();
});

function push(
  clientId: string,
  options: Partial<PushRequest> = {},
  traceparent?: string,
): Promise<PushResponse> {
  const metadata = new Metadata();
  if (traceparent !== undefined) metadata.set('traceparent', traceparent);
  metadata.set('tracestate', 'vendor=1');
  const request = pushRequest(clientId, 'timed', options);
  return new Promise((resolve, reject) => {
    client.push(request, metadata, (error: ServiceError | null, response) =>
      error ? reject(error) : resolve(response),
    );
  });
}

/** Names of the steps of a push. */
const eventsOf = ({ flightRecord }: PushResponse) =>
  flightRecord!.steps.map(({ event }) => FlightEvent[event]!.replace('FLIGHT_EVENT_', ''));

describe('a flight record', () => {
  test('has the steps of a durable push, within the time that the caller waited', async () => {
    const startedMs = performance.now();
    const response = await push('alice', { flightRecord: true });
    const tookMs = performance.now() - startedMs;
    expect(response.verdict).toBe(Verdict.VERDICT_WRITTEN);
    const { steps } = response.flightRecord!;
    expect(eventsOf(response).toSorted()).toEqual([
      ...['ACCEPTED', 'ANSWERED', 'HEARD', 'PUBLISHED', 'RECEIVED', 'REPLIED', 'STORED', 'WRITTEN'],
    ]);
    expect(steps[0]).toMatchObject({ place: 'router', afterUs: 0, errorUs: 0 });
    const answered = steps.at(-1)!;
    expect(answered.event).toBe(FlightEvent.FLIGHT_EVENT_ANSWERED);
    expect(answered.afterUs).toBeLessThanOrEqual(tookMs * 1_000);
    const written = steps.find(({ event }) => event === FlightEvent.FLIGHT_EVENT_WRITTEN)!;
    expect(written.place).toBe('edge-1');
    expect(written.errorUs).toBeGreaterThan(0);
    expect(written.afterUs).toBeLessThanOrEqual(answered.afterUs);
    const stored = steps.find(({ event }) => event === FlightEvent.FLIGHT_EVENT_STORED)!;
    expect(stored.place).toBe(`127.0.0.1:${running.redis.port}`);
  });

  test('of a live push to a client that is away ends at an edge', async () => {
    const events = eventsOf(await push('away', { ttlMs: 0, flightRecord: true }));
    expect(events).toContain('NOT_WRITTEN');
    expect(events).not.toContain('STORED');
  });

  test('has the confirmation of the device, where it is awaited', async () => {
    const url = running.connectUrl('acking');
    const first = await SseClient.open(url);
    const waitFor = WaitFor.WAIT_FOR_ACKED;
    const pushing = push('acking', { waitFor, waitMs: WAIT_MS, flightRecord: true });
    const { id } = await eventually(() => {
      expect(first.events).toHaveLength(1);
      return first.events[0]!;
    });
    first.close();
    const again = await SseClient.open(url, { headers: { 'last-event-id': id } });
    const acked = await pushing;
    expect(acked.verdict).toBe(Verdict.VERDICT_ACKED);
    expect(eventsOf(acked).slice(-2)).toEqual(['CONFIRMED', 'ANSWERED']);
    again.close();
  });

  test('is there only if it is asked for', async () => {
    expect(await push('alice')).toMatchObject({ flightRecord: undefined });
  });

  test('is in the answer over HTTP', async () => {
    const response = await fetch(`${running.cluster.pushUrl()}/v1/push`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ clientId: 'alice', payload: 1, flightRecord: true }),
    });
    const { flightRecord } = (await response.json()) as { flightRecord: { event: string }[] };
    expect(flightRecord[0]).toEqual({
      event: 'RECEIVED',
      place: 'router',
      afterUs: 0,
      errorUs: 0,
    });
    expect(flightRecord.at(-1)!.event).toBe('ANSWERED');
  });

  test('is printed as a table', async () => {
    const { exit, stdout } = await longline(running, 'push', 'alice', 'x', '--trace');
    expect(exit).toBe(0);
    expect(stdout).toMatch(/^WRITTEN {2}\d+-\d+\n +ms +error +step +where\n +0\.000 +received by/);
    expect(stdout).toMatch(/± +\d+\.\d{3} {2}written to the device +edge-1\n/);
    const user = await longline(running, 'push', 'alice', 'x', '--user', '--trace');
    expect(user.stdout).toMatch(/^alice {2}WRITTEN {2}\d+-\d+\n +ms +error/);
  });
});

test('the slowest pushes reach control, with what they waited for', async () => {
  const control = controlApi(running.cluster.controlUrl);
  await push('slow', { flightRecord: true });
  const found = await eventually(async () => {
    const { pushes } = await control.slowPushes({ limit: 1_000 });
    const [push] = pushes.filter(({ clientId }) => clientId === 'slow');
    expect(push).toBeDefined();
    return push!;
  });
  expect(found).toMatchObject({ routerId: 'router', verdict: 'STORED', payloadBytes: 5 });
  expect(found.flightRecord!.length).toBeGreaterThan(4);
  const { stdout } = await longline(running, 'slow-pushes', '--trace', '--limit', '1000');
  expect(stdout).toMatch(/^ *ms +Redis +edges +cause +verdict +client +bytes +router +ago\n/);
  expect(stdout).toMatch(/\n\nslow\n +ms +error +step/);
});

test('the newest pushes to a client are found at the routers, with their flight records', async () => {
  await push('looked-at');
  await push('looked-at', { ttlMs: 0, flightRecord: true });
  const control = controlApi(running.cluster.controlUrl);
  const { pushes, rememberedMs, silentRouters } = await control.clientPushes('looked-at');
  expect(pushes).toMatchObject([
    { routerId: 'router', verdict: 'OFFLINE', messageId: null, payloadBytes: 5 },
    { routerId: 'router', verdict: 'STORED', acceptLevel: 'ACCEPTED', payloadBytes: 5 },
  ]);
  expect(pushes[0]!.flightRecord!.at(-1)!.event).toBe('ANSWERED');
  expect(rememberedMs).toBeGreaterThan(pushes[1]!.ageMs);
  expect(silentRouters).toBe(0);
  const { stdout } = await longline(running, 'client-pushes', 'looked-at', '--trace');
  expect(stdout).toMatch(/^ago +verdict +ms +level +bytes +id +router\n.*OFFLINE/);
  expect(stdout).toMatch(/ ago\n +ms +error +step/);
  const none = await longline(running, 'client-pushes', 'not-pushed-to');
  expect(none.stdout).toMatch(/^no push in the last /);
  const many = { clientIds: ['looked-at', 'away'], payloadText: 'many' };
  await fetch(`${running.cluster.pushUrl()}/v1/push:many`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(many),
  });
  const [newest] = (await control.clientPushes('looked-at')).pushes;
  expect(newest).toMatchObject({ verdict: 'STORED', acceptLevel: 'ACCEPTED', payloadBytes: 4 });
});

describe('spans', () => {
  const SPAN = 'b7ad6b7169203331';
  let traces = 0;
  const newTrace = () => `${++traces}`.padStart(32, '0');
  const sampled = (traceId: string) => `00-${traceId}-${SPAN}-01`;

  /** Resolves with the spans of a trace, by name, when all of them have arrived. */
  function spansOf(traceId: string, count = 3): Promise<Record<string, ReceivedSpan>> {
    return eventually(() => {
      const spans = collector.spans.filter((span) => span.traceId === traceId);
      expect(spans).toHaveLength(count);
      return Object.fromEntries(spans.map((span) => [span.name.split(' ')[0], span]));
    });
  }

  function expectFamily({ push, send, process }: Record<string, ReceivedSpan>): void {
    expect(push).toMatchObject({ kind: 'server', parentId: SPAN, isError: false });
    expect(send).toMatchObject({ kind: 'producer', parentId: push!.spanId });
    expect(process).toMatchObject({ kind: 'consumer', parentId: send!.spanId });
    for (const span of [push!, send!, process!]) {
      expect(span.traceState).toBe('vendor=1');
      expect(span.endNs >= span.startNs).toBe(true);
      expect(span.attributes).toMatchObject({
        'messaging.system': 'longline',
        'messaging.destination.name': 'alice',
        'messaging.message.body.size': 5,
      });
    }
    expect(send!.startNs >= push!.startNs && send!.endNs <= push!.endNs).toBe(true);
    expect(push!.resource).toMatchObject({
      'service.name': 'longline-router',
      'service.instance.id': 'router',
      'telemetry.sdk.language': 'nodejs',
    });
    expect(process!.resource).toMatchObject({
      'service.name': 'longline-edge',
      'service.instance.id': 'edge-1',
    });
  }

  test('of a durable push over gRPC continue the trace of the backend, in every process', async () => {
    const traceId = newTrace();
    const { messageId } = await push('alice', {}, sampled(traceId));
    const spans = await spansOf(traceId);
    expectFamily(spans);
    expect(spans.push!.attributes).toMatchObject({
      'longline.verdict': 'WRITTEN',
      'messaging.message.id': messageId,
    });
    expect(spans.send!.attributes).toMatchObject({
      'messaging.operation.type': 'send',
      'db.system.name': 'redis',
      'server.port': running.redis.port,
    });
    expect(spans.process!.attributes).toMatchObject({
      'messaging.operation.type': 'process',
      'messaging.message.id': messageId,
      'longline.outcome': 'written',
    });
  });

  test('of a live push, over HTTP and in a stream', async () => {
    const overHttp = newTrace();
    await fetch(`${running.cluster.pushUrl()}/v1/push`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        traceparent: sampled(overHttp),
        tracestate: 'vendor=1',
      },
      body: JSON.stringify({ clientId: 'alice', payloadText: 'timed', ttlMs: 0 }),
    });
    expectFamily(await spansOf(overHttp));
    const streamed = newTrace();
    const metadata = new Metadata();
    metadata.set('traceparent', sampled(streamed));
    metadata.set('tracestate', 'vendor=1');
    const stream = client.pushStream(metadata);
    const item = { correlationId: '1', push: pushRequest('alice', 'timed') };
    stream.write({ items: [item] });
    stream.on('data', () => stream.end());
    expectFamily(await spansOf(streamed));
  });

  describe('of a call to many clients', () => {
    /** Resolves with the trace that the call belongs to. */
    async function call(path: string, body: object): Promise<string> {
      const traceId = newTrace();
      const response = await fetch(`${running.cluster.pushUrl()}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', traceparent: sampled(traceId) },
        body: JSON.stringify(body),
      });
      expect(response.status).toBe(200);
      return traceId;
    }

    const LIVE = { payloadText: 'timed', ttlMs: 0 };
    const ONE_WRITTEN = { 'messaging.batch.message_count': 1, 'longline.verdicts.written': 1 };

    function expectCall(span: ReceivedSpan | undefined, name: string, attributes: object): void {
      expect(span).toMatchObject({ name, kind: 'server', parentId: SPAN, isError: false });
      expect(span!.attributes).toMatchObject({
        'messaging.system': 'longline',
        'messaging.operation.name': name.split(' ')[0],
        'messaging.message.body.size': 5,
        ...attributes,
      });
    }

    function expectMessage({ push, process }: Record<string, ReceivedSpan>, attributes: object) {
      expect(process).toMatchObject({ name: 'process', kind: 'consumer', parentId: push!.spanId });
      expect(process!.attributes).toMatchObject(attributes);
    }

    test('PushMany: one span, and one for each message of live-only pushes', async () => {
      const live = await call('/v1/push:many', { clientIds: ['alice', 'away'], ...LIVE });
      const spans = await spansOf(live, 2);
      expectCall(spans.push, 'push many', {
        'messaging.batch.message_count': 2,
        'longline.verdicts.written': 1,
        'longline.verdicts.offline': 1,
        'longline.failed': 0,
      });
      expectMessage(spans, {
        'messaging.batch.message_count': 2,
        'longline.outcomes.written': 1,
        'longline.outcomes.absent': 1,
      });
      const clientIds = ['alice', 'away', '', 'away'];
      const durable = await call('/v1/push:many', { clientIds, payloadText: 'timed' });
      const { push } = await spansOf(durable, 1);
      expectCall(push, 'push many', {
        'messaging.batch.message_count': 4,
        'longline.verdicts.written': 1,
        'longline.verdicts.stored': 2,
        'longline.failed': 1,
      });
    });

    test('Broadcast: one span', async () => {
      const traceId = await call('/v1/broadcast', { payloadText: 'timed', clientsPerSecond: 1e6 });
      const { broadcast } = await spansOf(traceId, 1);
      expectCall(broadcast, 'broadcast', { ...ONE_WRITTEN, 'longline.shards_unknown': 0 });
    });

    test('a push to a group: the same, with the name of the group', async () => {
      await running.push.joinGroup('friends', 'alice');
      const group = { 'messaging.destination.name': 'friends' };
      const durable = await call('/v1/push:group', { group: 'friends', payloadText: 'timed' });
      expectCall((await spansOf(durable, 1)).push, 'push {group}', { ...ONE_WRITTEN, ...group });
      const live = await call('/v1/push:group', { group: 'friends', ...LIVE });
      const spans = await spansOf(live, 2);
      expectCall(spans.push, 'push {group}', { ...ONE_WRITTEN, ...group });
      expectMessage(spans, { 'longline.outcomes.written': 1 });
    });

    test('is an error if the call is rejected', async () => {
      const traceId = newTrace();
      await fetch(`${running.cluster.pushUrl()}/v1/push:group`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', traceparent: sampled(traceId) },
        body: JSON.stringify({ group: '', payloadText: 'timed' }),
      });
      const { push } = await spansOf(traceId, 1);
      expect(push).toMatchObject({ isError: true });
      expect(push!.attributes['error.type']).toBe('GROUP_INVALID');
    });
  });

  test('of a push that is not sampled are not sent, and the flight record stays', async () => {
    const traceId = newTrace();
    await push('alice', {}, `00-${traceId}-${SPAN}-00`);
    await push('alice', {}, `00-${traceId}-nonsense`);
    await push('alice');
    const last = newTrace();
    const response = await push('alice', { flightRecord: true }, sampled(last));
    expect(response.flightRecord!.steps.length).toBeGreaterThan(4);
    expectFamily(await spansOf(last));
    expect(new Set(collector.spans.map((span) => span.traceId)).size).toBe(traces - 1);
  });

  test('that the collector does not take are counted, and delay no push', async () => {
    collector.status = 400;
    const response = await push('alice', {}, sampled(newTrace()));
    expect(response.verdict).toBe(Verdict.VERDICT_WRITTEN);
    const failed = { outcome: 'failed' };
    await eventually(async () => {
      expect(await running.metric('router', 'longline_router_spans_total', failed)).toBe(2);
      expect(await running.metric('edge-1', 'longline_edge_spans_total', failed)).toBe(1);
    });
    collector.status = 200;
  });
});
