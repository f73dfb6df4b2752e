import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { get, type IncomingMessage } from 'node:http';
import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import type { LogEntry } from '../../../control/leadership/operations.js';
import { EVENT_TYPES, eventsResponse } from '../../../control/operator/operation-responses.js';
import { EdgeIntent } from '../../../proto/gen/longline/v1/assignment.js';
import type { Event, WatchEventsResponse } from '../../../proto/gen/longline/v1/operator.js';
import { eventually } from '../../support/eventually.js';
import { ask, type OperatedControl, startOperatedControl } from './operated-control.js';

let control: OperatedControl;
let streams: IncomingMessage[];

beforeEach(async () => {
  control = await startOperatedControl();
  streams = [];
});
afterEach(async () => {
  for (const stream of streams) stream.destroy();
  await control.stop();
});

const operator = {
  type: 'operator',
  action: 'drain',
  edgeId: 'edge-1',
  actor: 'ada',
  reason: 'old',
} as const;
const move = { type: 'move-started', shard: 0, from: 'edge-1', to: 'edge-2' } as const;
const entries: LogEntry[] = [
  operator,
  { type: 'intent-changed', edgeId: 'edge-1', intent: 'draining' },
  move,
];

function logAll(): void {
  for (const entry of entries) control.operations.log(entry);
}

async function openStream(query = '', headers = {}) {
  const accept = { accept: 'text/event-stream', ...headers };
  const call = get(`${control.url}/v1/events${query}`, { headers: accept, agent: false });
  const [response] = (await once(call, 'response')) as [IncomingMessage];
  streams.push(response);
  return response;
}

async function watch(query = '', headers = {}) {
  const response = await openStream(query, headers);
  const events: EventSourceMessage[] = [];
  const parser = createParser({ onEvent: (event) => events.push(event) });
  response.setEncoding('utf8').on('data', (text) => parser.feed(text));
  return { response, events, ids: () => events.map(({ id }) => Number(id)) };
}

test('the stored events, oldest first, and those after an id', async () => {
  logAll();
  const { body } = await ask(`${control.url}/v1/events`);
  const { events } = eventsResponse.strict().parse(body);
  expect(events.map(({ id }) => id)).toEqual([1, 2, 3]);
  expect(events[0]).toMatchObject({ ...operator, position: { incarnation: 1, epoch: 7 } });
  expect((await ask(`${control.url}/v1/events?after=2`)).body.events).toMatchObject([move]);
  expect((await ask(`${control.url}/v1/events?after=3`)).body.events).toEqual([]);
});

test('an id of the future is from another log: all events are returned', async () => {
  logAll();
  const future = Date.now() + 3_600_000;
  expect((await ask(`${control.url}/v1/events?after=${future}`)).body.events).toHaveLength(3);
});

test('an id slightly above the newest is from a control that is ahead: only later ones are', async () => {
  logAll();
  const { ids } = await watch('?after=4');
  await eventually(() => control.operations.watchers.size === 1);
  for (let i = 0; i < 3; i++) control.operations.log(move);
  await eventually(() => ids().length === 2);
  expect(ids()).toEqual([5, 6]);
  expect((await ask(`${control.url}/v1/events?after=7`)).body.events).toEqual([]);
});

test.each(['x', '-1', '1.5', '', '1&after=2', '9'.repeat(16)])(
  'rejects after=%j',
  async (after) => {
    const answer = await ask(`${control.url}/v1/events?after=${after}`);
    expect(answer).toMatchObject({ status: 400, body: { error: { code: 'REQUEST_MALFORMED' } } });
  },
);

test('a stream has the stored events and then new ones, and can be resumed', async () => {
  logAll();
  const first = await watch();
  expect(first.response.headers['content-type']).toBe('text/event-stream');
  await eventually(() => first.events.length === 3);
  control.operations.log({ type: 'leader-changed', controlId: 'control-2' });
  await eventually(() => first.events.length === 4);
  expect(first.ids()).toEqual([1, 2, 3, 4]);
  expect(JSON.parse(first.events[3]!.data)).toMatchObject({ id: 4, controlId: 'control-2' });
  first.response.destroy();
  await eventually(() => control.operations.watchers.size === 0);
  control.operations.log(move);
  // The header is newer than the query, which a reconnect repeats.
  const second = await watch('?after=1', { 'last-event-id': '3' });
  await eventually(() => second.events.length === 2);
  expect(second.ids()).toEqual([4, 5]);
});

test('HEAD and plain GET do not stream', async () => {
  const headers = { accept: 'text/event-stream' };
  const head = await fetch(`${control.url}/v1/events`, { method: 'HEAD', headers });
  expect([head.status, await head.text()]).toEqual([200, '']);
  expect(control.operations.watchers.size).toBe(0);
});

test('a client that does not read is disconnected', async () => {
  const response = await openStream();
  await eventually(() => control.operations.watchers.size === 1);
  response.pause();
  const reason = 'x'.repeat(10_000);
  // Kernel buffers take some megabytes first.
  for (let i = 0; i < 5_000 && control.operations.watchers.size > 0; i++) {
    control.operations.log({ ...operator, reason });
    control.operations.events.length = 1;
    if (i % 50 === 0) await new Promise(setImmediate);
  }
  expect(control.operations.watchers.size).toBe(0);
});

test('rejects a stream over the maximum until another one ends', async () => {
  for (let i = 0; i < 100; i++) expect((await openStream()).statusCode).toBe(200);
  expect((await openStream()).statusCode).toBe(503);
  streams[0]!.destroy();
  await eventually(async () => (await openStream()).statusCode === 200);
});

test('shutdown ends the streams', async () => {
  const { response, events } = await watch();
  logAll();
  await eventually(() => events.length === 3);
  const ended = once(response, 'end');
  await control.stop();
  await ended;
  control = await startOperatedControl();
});

test('gRPC watches the same events', async () => {
  logAll();
  const received: Event[] = [];
  const watching = control.grpc.watchEvents({ after: '1' });
  watching.on('data', ({ event }: WatchEventsResponse) => received.push(event!));
  watching.on('error', () => {});
  await eventually(() => received.length === 2);
  control.operations.log(operator);
  await eventually(() => received.length === 3);
  expect(received).toMatchObject([
    { id: 2, type: 'intent-changed', intent: EdgeIntent.EDGE_INTENT_DRAINING, shard: undefined },
    { id: 3, ...move },
    { id: 4, ...operator, position: { incarnation: 1, epoch: 7 } },
  ]);
  watching.cancel();
  await eventually(() => control.operations.watchers.size === 0);
});

test('gRPC disconnects a watcher that does not read', async () => {
  const watching = control.grpc.watchEvents({ after: '0' });
  watching.on('error', () => {});
  await eventually(() => control.operations.watchers.size === 1);
  for (let i = 0; i < 20_000 && control.operations.watchers.size > 0; i++) {
    control.operations.log({ ...operator, reason: 'x'.repeat(1_000) });
    control.operations.events.length = 1;
    if (i % 50 === 0) await new Promise(setImmediate);
  }
  expect(control.operations.watchers.size).toBe(0);
});

test('docs/operations.md has every type of event', () => {
  const text = readFileSync(new URL('../../../docs/operations.md', import.meta.url), 'utf8');
  const section = text.split(/^## /m).find((each) => each.startsWith('Events\n'))!;
  const documented = [...section.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, type]) => type);
  expect(documented).toEqual(Object.keys(EVENT_TYPES));
});
