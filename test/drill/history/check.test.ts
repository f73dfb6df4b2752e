import { expect, test } from '@jest/globals';
import { check } from '../../../drill/history/check.js';
import type { CheckName } from '../../../drill/history/checks.js';
import type { History, Loss } from '../../../drill/history/history.js';
import {
  absence,
  attempt,
  connection,
  disturbance,
  history,
  live,
  push,
  receipt,
} from './history-builder.js';

const LOSS: Loss = { levels: ['accepted', 'fsynced'], fromMs: 10_000, toMs: 15_000 };
const failover = { ...disturbance(10_100, 15_000), loss: LOSS };

type Case = [title: string, parts: Partial<History>];

function checksOf(parts: Partial<History>): CheckName[] {
  return [...new Set(check(history(parts)).map((finding) => finding.check))];
}

const allowed: Case[] = [
  ['an empty history', {}],
  [
    'a push that is written and received',
    {
      pushes: [push(1, [attempt('WRITTEN', '5-0')])],
      connections: [connection([receipt(1, '5-0')])],
    },
  ],
  [
    'an unacknowledged push, received or not',
    {
      pushes: [push(1, [attempt('UNKNOWN')]), push(2, [attempt('UNANSWERED')])],
      connections: [connection([receipt(2, '5-0')])],
    },
  ],
  [
    'a push that was received, lost, stored again and then replaced',
    {
      pushes: [
        push(1, [attempt('UNKNOWN', '5-0'), attempt('STORED', '8-0', 16_000)], {
          collapseKey: 'k',
        }),
        push(2, [{ ...attempt('STORED', '9-0', 17_000), replacedId: '8-0' }], { collapseKey: 'k' }),
      ],
      connections: [
        connection([receipt(1, '5-0')], { closedAtMs: 15_900 }),
        connection([receipt(2, '9-0', 18_010)], {
          ...{ cursor: '5-0', requestedAtMs: 18_000, openedAtMs: 18_000 },
          resetsAtMs: [18_005],
        }),
      ],
      disturbances: [failover],
    },
  ],
  ['a push that is rejected and not received', { pushes: [push(1, [attempt('REJECTED')])] }],
  [
    'a retry that finds the push of an unanswered attempt stored',
    {
      pushes: [push(1, [attempt('UNANSWERED'), attempt('DUPLICATE', '5-0', 11_000)])],
      connections: [connection([receipt(1, '5-0')])],
    },
  ],
  [
    'the same id again on a later connection with an older cursor',
    {
      pushes: [push(1, [attempt('STORED', '5-0')])],
      connections: [
        connection([receipt(1, '5-0', 11_000)], { closedAtMs: 12_000 }),
        connection([receipt(1, '5-0', 13_000)], { openedAtMs: 12_500, cursor: '4-0' }),
      ],
    },
  ],
  [
    'WRITTEN to a device that gave up just after the answer of the edge',
    {
      pushes: [push(1, [attempt('WRITTEN', '5-0')])],
      connections: [connection([receipt(1, '5-0', 20_000)], { openedAtMs: 19_000 })],
      unansweredRequests: [{ clientId: 'alice', cursor: '', fromMs: 9_000, toMs: 13_000 }],
    },
  ],
  [
    'an id after the cursor of the device',
    {
      pushes: [push(1, [attempt('STORED', '10-0')])],
      connections: [connection([receipt(1, '10-0', 11_000)], { cursor: '9-7' })],
    },
  ],
  [
    'ids of one millisecond, and ids with different numbers of digits',
    {
      pushes: [1, 2, 3].map((number) => push(number, [attempt('UNKNOWN')])),
      connections: [connection([receipt(1, '9-2'), receipt(2, '9-10'), receipt(3, '10-0')])],
    },
  ],
  [
    'a live-only push on both connections during a takeover',
    {
      pushes: [live(1, [attempt('WRITTEN')])],
      connections: [
        connection([receipt(1, '')], { closedAtMs: 10_100 }),
        connection([receipt(1, '')], { openedAtMs: 9_900 }),
      ],
    },
  ],
  [
    'a reset for a device whose cursor was never accepted',
    {
      pushes: [push(1, [attempt('UNKNOWN')])],
      connections: [connection([], { cursor: '5-0', resetsAtMs: [10_000] })],
    },
  ],
  [
    'all stored pushes after such a reset',
    {
      pushes: [push(1, [attempt('STORED', '5-0')])],
      connections: [connection([receipt(1, '5-0')], { cursor: '6-0', resetsAtMs: [10_000] })],
    },
  ],
  [
    'a retry that is stored again because a failover lost the first attempt',
    {
      pushes: [push(1, [attempt('UNKNOWN'), attempt('STORED', '6-0', 16_000)])],
      connections: [connection([receipt(1, '5-0'), receipt(1, '6-0', 16_010)])],
      disturbances: [failover],
    },
  ],
  [
    'the same when the second copy was lost as well',
    {
      pushes: [push(1, [attempt('UNKNOWN'), attempt('STORED', '6-0', 14_000)])],
      connections: [connection([receipt(1, '5-0')])],
      disturbances: [failover],
    },
  ],
  [
    'a loss of what was accepted at a level that does not survive the fault',
    { pushes: [push(1, [attempt('STORED', '5-0')])], disturbances: [failover] },
  ],
  [
    'a reset after a loss, and everything that is stored after it',
    {
      pushes: [push(1, [attempt('STORED', '5-0')]), push(2, [attempt('STORED', '6-0', 10_100)])],
      connections: [
        connection([receipt(1, '5-0'), receipt(2, '6-0', 10_200), receipt(1, '5-0', 16_000)], {
          resetsAtMs: [15_500],
        }),
      ],
      disturbances: [failover],
    },
  ],
  ['OFFLINE for a disconnected device', { pushes: [live(1, [attempt('OFFLINE')])] }],
  [
    'OFFLINE for a device that has just connected',
    {
      pushes: [live(1, [attempt('OFFLINE')])],
      connections: [connection([], { openedAtMs: 9_000 })],
    },
  ],
  [
    'OFFLINE shortly after a fault that may isolate the edge of the device',
    {
      pushes: [live(1, [attempt('OFFLINE')])],
      connections: [connection([])],
      disturbances: [{ ...disturbance(1_000, 5_000), isolates: true }],
    },
  ],
  [
    'WRITTEN, live-only, to a connection that is cut afterwards',
    {
      pushes: [live(1, [attempt('WRITTEN')])],
      connections: [connection([], { closedAtMs: 10_100 })],
    },
  ],
  [
    'SLOW for a device that does not read',
    {
      pushes: [live(1, [attempt('SLOW')])],
      connections: [connection([])],
      absences: [absence(9_000, 12_000)],
    },
  ],
  [
    'a late receipt by a device that was disconnected',
    {
      pushes: [push(1, [attempt('STORED', '5-0')])],
      connections: [connection([receipt(1, '5-0', 40_000)], { openedAtMs: 39_000 })],
    },
  ],
  [
    'a late receipt after a fault',
    {
      pushes: [push(1, [attempt('STORED', '5-0')])],
      connections: [connection([receipt(1, '5-0', 40_000)])],
      disturbances: [disturbance(12_000, 30_000)],
    },
  ],
];

test.each(allowed)('allows %s', (_, parts) => {
  expect(check(history(parts))).toEqual([]);
});

const caught: [check: CheckName, ...Case][] = [
  [
    'lost',
    'a loss of what was accepted at a level that survives the fault',
    {
      pushes: [push(1, [attempt('STORED', '5-0')], { level: 'replicated' })],
      disturbances: [failover],
    },
  ],
  [
    'lost',
    'a loss of what was accepted before or after the fault',
    {
      pushes: [
        push(1, [attempt('STORED', '5-0', 9_000)]),
        push(2, [attempt('STORED', '6-0', 15_100)]),
      ],
      disturbances: [failover],
    },
  ],
  [
    'falseVerdicts',
    'a reset before any loss',
    {
      pushes: [push(1, [attempt('STORED', '5-0', 8_000)])],
      connections: [connection([receipt(1, '5-0', 8_010)], { resetsAtMs: [9_000] })],
      disturbances: [failover],
    },
  ],
  ['lost', 'STORED and never received', { pushes: [push(1, [attempt('STORED', '5-0')])] }],
  [
    'lost',
    'WRITTEN and never received, although the connection ended',
    {
      pushes: [push(1, [attempt('WRITTEN', '5-0')])],
      connections: [connection([], { closedAtMs: 10_006 })],
    },
  ],
  [
    'lost',
    'accepted at the second attempt and never received',
    { pushes: [push(1, [attempt('UNKNOWN'), attempt('DUPLICATE', '5-0', 11_000)])] },
  ],
  [
    'lost',
    'received only by another client',
    {
      pushes: [push(1, [attempt('STORED', '5-0')])],
      connections: [connection([receipt(1, '5-0')], { clientId: 'bob' })],
    },
  ],
  [
    'outOfOrder',
    'a decreasing id on one connection',
    {
      pushes: [push(1, [attempt('UNKNOWN')]), push(2, [attempt('UNKNOWN')])],
      connections: [connection([receipt(2, '6-0'), receipt(1, '5-0')])],
    },
  ],
  [
    'outOfOrder',
    'a first receipt of an older push on a later connection',
    {
      pushes: [push(1, [attempt('UNKNOWN')]), push(2, [attempt('UNKNOWN')])],
      connections: [
        connection([receipt(2, '6-0', 11_000)], { closedAtMs: 12_000 }),
        connection([receipt(1, '5-0', 13_000), receipt(2, '6-0', 13_001)], { openedAtMs: 12_500 }),
      ],
    },
  ],
  [
    'outOfOrder',
    'a stored push whose id is greater than that of a push sent later',
    {
      pushes: [
        push(1, [attempt('STORED', '6-0', 10_000)]),
        push(2, [attempt('STORED', '5-0', 20_000)]),
      ],
      connections: [connection([receipt(2, '5-0', 20_010), receipt(1, '6-0', 20_020)])],
    },
  ],
  [
    'unexplainedDuplicates',
    'one id twice on one connection',
    {
      pushes: [push(1, [attempt('WRITTEN', '5-0')])],
      connections: [connection([receipt(1, '5-0'), receipt(1, '5-0')])],
    },
  ],
  [
    'unexplainedDuplicates',
    'an id that is the cursor of the device',
    {
      pushes: [push(1, [attempt('WRITTEN', '5-0')])],
      connections: [connection([receipt(1, '5-0')], { cursor: '5-0' })],
    },
  ],
  [
    'unexplainedDuplicates',
    'one push under two ids',
    {
      pushes: [push(1, [attempt('UNANSWERED'), attempt('STORED', '6-0', 11_000)])],
      connections: [connection([receipt(1, '5-0'), receipt(1, '6-0')])],
    },
  ],
  [
    'unexplainedDuplicates',
    'a live-only push twice on one connection',
    {
      pushes: [live(1, [attempt('WRITTEN')])],
      connections: [connection([receipt(1, ''), receipt(1, '')])],
    },
  ],
  [
    'unexplainedDuplicates',
    'a live-only push again on a later connection',
    {
      pushes: [live(1, [attempt('WRITTEN')])],
      connections: [
        connection([receipt(1, '')], { closedAtMs: 11_000 }),
        connection([receipt(1, '', 16_000)], { openedAtMs: 15_000 }),
      ],
    },
  ],
  [
    'falseVerdicts',
    'DUPLICATE at the first attempt',
    {
      pushes: [push(1, [attempt('DUPLICATE', '5-0')])],
      connections: [connection([receipt(1, '5-0')])],
    },
  ],
  [
    'falseVerdicts',
    'DUPLICATE after rejections only',
    {
      pushes: [push(1, [attempt('REJECTED'), attempt('DUPLICATE', '5-0', 11_000)])],
      connections: [connection([receipt(1, '5-0')])],
    },
  ],
  [
    'falseVerdicts',
    'an id other than the device received',
    {
      pushes: [push(1, [attempt('WRITTEN', '6-0')])],
      connections: [connection([receipt(1, '5-0')])],
    },
  ],
  [
    'falseVerdicts',
    'OFFLINE for a steady device',
    { pushes: [live(1, [attempt('OFFLINE')])], connections: [connection([])] },
  ],
  [
    'falseVerdicts',
    'OFFLINE for a steady device during another fault',
    {
      pushes: [live(1, [attempt('OFFLINE')])],
      connections: [connection([])],
      disturbances: [disturbance(1_000, 15_000)],
    },
  ],
  [
    'falseVerdicts',
    'WRITTEN, live-only, on a connection that stays open and never receives it',
    { pushes: [live(1, [attempt('WRITTEN')])], connections: [connection([])] },
  ],
  [
    'falseVerdicts',
    'WRITTEN while no device was connected',
    {
      pushes: [push(1, [attempt('WRITTEN', '5-0')])],
      connections: [connection([receipt(1, '5-0', 20_000)], { openedAtMs: 19_000 })],
    },
  ],
  ['falseVerdicts', 'OFFLINE for a durable push', { pushes: [push(1, [attempt('OFFLINE')])] }],
  ['falseVerdicts', 'STORED for a live-only push', { pushes: [live(1, [attempt('STORED')])] }],
  [
    'falseVerdicts',
    'a reset for a device whose cursor was accepted',
    {
      pushes: [push(1, [attempt('STORED', '5-0')])],
      connections: [
        connection([receipt(1, '5-0')], { closedAtMs: 11_000 }),
        connection([], { cursor: '5-0', openedAtMs: 12_000, resetsAtMs: [12_001] }),
      ],
    },
  ],
  [
    'late',
    'a receipt more than ten seconds later in calm',
    {
      pushes: [push(1, [attempt('STORED', '5-0')])],
      connections: [connection([receipt(1, '5-0', 40_000)])],
    },
  ],
  ['phantoms', 'a push that was never sent', { connections: [connection([receipt(9, '5-0')])] }],
  [
    'phantoms',
    'a push that was rejected at every attempt',
    {
      pushes: [push(1, [attempt('REJECTED'), attempt('REJECTED')])],
      connections: [connection([receipt(1, '5-0')])],
    },
  ],
  [
    'misdelivered',
    'a push for another client',
    {
      pushes: [push(1, [attempt('UNKNOWN')])],
      connections: [connection([receipt(1, '5-0')], { clientId: 'bob' })],
    },
  ],
  [
    'corrupted',
    'other bytes',
    {
      pushes: [push(1, [attempt('UNKNOWN')], { digest: 7 })],
      connections: [connection([receipt(1, '5-0')])],
    },
  ],
  [
    'corrupted',
    'a payload that cannot be parsed',
    { connections: [connection([{ ...receipt(1, '5-0'), pushNumber: undefined }])] },
  ],
  [
    'corrupted',
    'a durable push without an id',
    { pushes: [push(1, [attempt('UNKNOWN')])], connections: [connection([receipt(1, '')])] },
  ],
];

test.each(caught)('%s: catches %s', (name, _, parts) => {
  expect(checksOf(parts)).toContain(name);
});

test('a finding names the push and the client', () => {
  const pushes = [push(1, [attempt('STORED', '5-0')])];
  expect(check(history({ pushes }))).toEqual([
    { check: 'lost', clientId: 'alice', pushNumber: 1, message: 'STORED, and never received' },
  ]);
});
