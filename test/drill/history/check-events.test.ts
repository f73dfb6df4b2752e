/** By default, one watch lasts until END_MS, and `alice` is connected for all the time. */
import { expect, test } from '@jest/globals';
import { align } from '../../../drill/history/align.js';
import { check } from '../../../drill/history/check.js';
import type { Disturbance, History, ReceivedEvent } from '../../../drill/history/history.js';
import {
  attempt,
  connection,
  disturbance,
  END_MS,
  history,
  push,
  receipt,
} from './history-builder.js';

const watch = { openedAtMs: 0, endedAtMs: END_MS };

/** An event that is received a millisecond after it was written, and acknowledged at once. */
function event(type: string, ms: number, parts: Partial<ReceivedEvent> = {}): ReceivedEvent {
  const id = `7-${ms}-0`;
  const common = {
    watch,
    id,
    type,
    clientId: 'alice',
    messageId: '',
    fromEdge: '',
    reason: '',
    lost: 0,
  };
  const edge = type.startsWith('client.') ? 'edge-1' : '';
  const atMs = parts.atMs ?? ms + 1;
  return { ...common, edge, atMs, ackedAtMs: atMs + 1, ...parts };
}

const began = (ms: number, parts?: Partial<ReceivedEvent>) => event('client.connected', ms, parts);
const ended = (ms: number, parts?: Partial<ReceivedEvent>) =>
  event('client.disconnected', ms, parts);
const confirmed = (ms: number, messageId: string) => event('push.confirmed', ms, { messageId });

const loss: Disturbance = {
  ...disturbance(40_000, 45_000),
  loss: { levels: ['accepted'], fromMs: 39_000, toMs: 45_000 },
};

/** Two connections after one another. */
const two = [
  connection([receipt(1, '5-0', 20_000)], { closedAtMs: 50_000 }),
  connection([receipt(2, '6-0', 61_000)], {
    cursor: '5-0',
    requestedAtMs: 60_000,
    openedAtMs: 60_000,
  }),
];
const ofTwo = [began(0), ended(50_000), began(60_001)];
const pushes = [
  push(1, [attempt('STORED', '5-0', 10_000)]),
  push(2, [attempt('STORED', '6-0', 60_900)]),
];

type Case = readonly [title: string, parts: Partial<History>];

const found = (parts: Partial<History>) => {
  const findings = check(history({ watches: [watch], ...parts }));
  return [...new Set(findings.map((finding) => finding.check))];
};

const allowed: Case[] = [
  ['a connection with its beginning', { connections: [connection([])], events: [began(0)] }],
  [
    'two connections, and a push that the second one confirms',
    { pushes, connections: two, events: [...ofTwo, confirmed(60_002, '5-0')] },
  ],
  ['no events while they are off', { pushes, connections: two, watches: [] }],
  [
    'an event again before it was acknowledged, and soon after it',
    {
      connections: [connection([])],
      events: [
        began(0, { ackedAtMs: Number.POSITIVE_INFINITY }),
        began(0, { atMs: 9_000, ackedAtMs: 9_100 }),
        began(0, { atMs: 9_900, ackedAtMs: 9_950 }),
      ],
    },
  ],
  [
    'an event again if its watch ended just after the acknowledgement',
    {
      connections: [connection([])],
      events: [began(0, { watch: { ...watch, endedAtMs: 100 } }), began(0, { atMs: 20_000 })],
    },
  ],
  [
    'a beginning of a request that the device gave up',
    {
      unansweredRequests: [{ clientId: 'alice', cursor: '', fromMs: 9_000, toMs: 13_000 }],
      events: [began(11_000, { edge: 'edge-2' }), ended(13_500, { edge: 'edge-2' })],
    },
  ],
  [
    'a short connection in a fault without events',
    {
      connections: [connection([], { openedAtMs: 10_000, closedAtMs: 10_500 })],
      disturbances: [disturbance(9_000, 12_000)],
    },
  ],
  [
    'a late end of a connection before the present one',
    {
      connections: [
        connection([], { closedAtMs: 20_000 }),
        connection([], { openedAtMs: 20_500, requestedAtMs: 20_500 }),
      ],
      events: [began(0), ended(20_400, { atMs: 30_000 }), began(20_600, { atMs: 30_000 })],
    },
  ],
  [
    'a second beginning after a loss',
    {
      connections: [connection([])],
      events: [began(0), began(47_000)],
      disturbances: [loss],
    },
  ],
  [
    'a move to another edge',
    {
      connections: [
        connection([], { closedAtMs: 50_000 }),
        connection([], { edge: 'edge-2', requestedAtMs: 50_500, openedAtMs: 50_500 }),
      ],
      events: [began(0), event('client.moved', 50_600, { edge: 'edge-2', fromEdge: 'edge-1' })],
    },
  ],
  [
    'a lost confirmation',
    {
      pushes,
      connections: two,
      events: [began(0), ended(50_000), began(60_001)],
      disturbances: [{ ...loss, fromMs: 60_000, toMs: 62_000 }],
    },
  ],
  [
    'a push that was replaced after it was received',
    {
      pushes: [
        push(1, [attempt('STORED', '5-0', 10_000)], { collapseKey: 'k' }),
        push(2, [{ ...attempt('STORED', '6-0', 60_900), replacedId: '5-0' }], { collapseKey: 'k' }),
      ],
      connections: two,
      events: ofTwo,
    },
  ],
];

test.each(allowed)('allows %s', (_, parts) => {
  expect(found(parts)).toEqual([]);
});

const violations: readonly (readonly [string, string, Partial<History>])[] = [
  ['missingEvents', 'a connection without an event', { connections: [connection([])] }],
  [
    'missingEvents',
    'a short connection in calm without an event',
    { connections: [connection([], { openedAtMs: 20_000, closedAtMs: 20_010 })] },
  ],
  [
    'missingEvents',
    'a takeover without an end',
    { connections: two, pushes, events: [began(0), began(60_001), confirmed(60_002, '5-0')] },
  ],
  [
    'missingEvents',
    'a client that is connected and whose newest event is an end',
    { connections: [connection([])], events: [began(0), ended(50_000)] },
  ],
  [
    'missingEvents',
    'a client that is connected to another edge than its newest event says, after a fault',
    {
      connections: [
        connection([], { closedAtMs: 20_000 }),
        connection([], { edge: 'edge-2', requestedAtMs: 21_000, openedAtMs: 21_000 }),
      ],
      events: [began(0)],
      disturbances: [disturbance(19_000, 22_000)],
    },
  ],
  [
    'missingEvents',
    'a confirmed push without an event',
    { pushes, connections: two, events: ofTwo },
  ],
  [
    'missingEvents',
    'events that were removed unread',
    { events: [event('events_lost', 5, { clientId: '', lost: 3 })] },
  ],
  ['falseEvents', 'the beginning of no connection', { events: [began(5), ended(6)] }],
  [
    'falseEvents',
    'a beginning before the device has asked for it',
    {
      connections: [connection([], { requestedAtMs: 20_000, openedAtMs: 20_000 })],
      events: [began(19_000)],
    },
  ],
  [
    'falseEvents',
    'the beginning of a connection at another edge',
    { connections: [connection([])], events: [began(0, { edge: 'edge-2' })] },
  ],
  ['falseEvents', 'an end without a beginning', { events: [ended(5)] }],
  [
    'falseEvents',
    'an end at another edge than the beginning',
    {
      connections: [connection([], { closedAtMs: 20_000 })],
      events: [began(0), ended(20_000, { edge: 'edge-2' })],
    },
  ],
  [
    'falseEvents',
    'an end of a connection that lasts',
    { connections: [connection([])], events: [began(0), ended(50_000), began(50_001)] },
  ],
  [
    'falseEvents',
    'a confirmation before the device has named the push',
    {
      pushes,
      connections: two,
      events: [began(0), confirmed(30_000, '5-0'), ended(50_000), began(60_001)],
    },
  ],
  [
    'falseEvents',
    'two confirmations of a push',
    {
      pushes,
      connections: two,
      events: [...ofTwo, confirmed(60_002, '5-0'), confirmed(60_003, '5-0')],
    },
  ],
  [
    'falseEvents',
    'a move of a client that was not connected there',
    {
      connections: [connection([], { edge: 'edge-2' })],
      events: [event('client.moved', 1, { edge: 'edge-2', fromEdge: 'edge-1' })],
    },
  ],
  [
    'falseEvents',
    'a push that has expired and is confirmed',
    {
      pushes,
      connections: two,
      events: [
        ...ofTwo,
        confirmed(60_002, '5-0'),
        event('push.expired', 60_003, { messageId: '5-0' }),
      ],
    },
  ],
  [
    'misorderedEvents',
    'a later event before an earlier one',
    {
      connections: [connection([], { closedAtMs: 20_000 })],
      events: [began(0, { id: '7-30-0' }), ended(20_000, { id: '7-20-0' })],
    },
  ],
  [
    'repeatedEvents',
    'an event long after its acknowledgement',
    { connections: [connection([])], events: [began(0), began(0, { atMs: 20_000 })] },
  ],
  [
    'repeatedEvents',
    'an event that is repeated for ever, although faults may excuse some of it',
    {
      connections: [connection([])],
      events: [1, 2, 3, 4, 5, 6].map((n) => began(0, { atMs: n, ackedAtMs: n })),
      disturbances: [disturbance(0, 20_000)],
    },
  ],
];

test.each(violations)('%s: %s', (name, _, parts) => {
  expect(found(parts)).toContain(name);
});

test('pairs as many as possible in order', () => {
  const rules = { matches: (a: string, b: string) => a === b, mayMissA: (a: string) => a > 'm' };
  const aligned = align([...'axbyc'], [...'bxcd'], rules);
  expect(aligned).toEqual({ unmatchedA: ['a'], unmatchedB: ['x', 'd'] });
  const crossed = align([...'ab'], [...'ba'], rules);
  expect(crossed.unmatchedA).toHaveLength(1);
  expect(crossed.unmatchedB).toHaveLength(1);
});
