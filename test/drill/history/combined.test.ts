/** The checks of pushes that replace or extend one another. */
import { expect, test } from '@jest/globals';
import { check } from '../../../drill/history/check.js';
import type { CheckName } from '../../../drill/history/checks.js';
import type { History, Loss } from '../../../drill/history/history.js';
import {
  attempt,
  connection,
  disturbance,
  history,
  part,
  push,
  receipt,
} from './history-builder.js';

const LOSS: Loss = { levels: ['accepted'], fromMs: 10_000, toMs: 15_000 };
const failover = { ...disturbance(10_100, 15_000), loss: LOSS };

/** Pushes of one message that were accepted under these ids. */
const parts = (...ids: string[]) =>
  ids.map((id, i) => push(i + 1, [attempt('STORED', id, 10_000 + i)], { appendTo: 'm' }));
/** A push with a collapse key that has replaced the one with the id. */
const collapsing = (number: number, id: string, replacedId = '', collapseKey = 'k') =>
  push(number, [{ ...attempt('STORED', id), replacedId }], { collapseKey });

function checksOf(parts: Partial<History>): CheckName[] {
  return [...new Set(check(history(parts)).map((finding) => finding.check))];
}

const allowed: [title: string, parts: Partial<History>][] = [
  [
    'a push that a later one has replaced, and was not received',
    {
      pushes: [collapsing(1, '5-0'), collapsing(2, '6-0', '5-0'), collapsing(3, '7-0', '6-0')],
      connections: [connection([receipt(3, '7-0')])],
    },
  ],
  [
    'a push that may have been replaced by one whose first answer is not known',
    {
      pushes: [
        collapsing(1, '5-0'),
        push(2, [attempt('UNANSWERED'), attempt('DUPLICATE', '6-0', 11_000)], { collapseKey: 'k' }),
      ],
      connections: [connection([receipt(2, '6-0', 11_000)])],
    },
  ],
  [
    'parts of a message that are received alone, and again together with later ones',
    {
      pushes: parts('5-0', '6-0', '7-0'),
      connections: [
        connection([part(1, '5-0', 0), part(2, '6-0', 10)], { closedAtMs: 12_000 }),
        connection([part(2, '7-0', 10, true), part(3, '7-0', 20)], {
          openedAtMs: 12_500,
          cursor: '5-0',
        }),
      ],
    },
  ],
  [
    'parts of a message that are received together, and again alone on an older connection',
    {
      pushes: parts('5-0', '6-0'),
      connections: [
        connection([{ ...part(1, '5-0', 0), atMs: 12_600 }], { closedAtMs: 13_000 }),
        connection(
          [part(1, '6-0', 0, true), part(2, '6-0', 10)].map((each) => ({ ...each, atMs: 12_500 })),
          { openedAtMs: 12_400 },
        ),
      ],
    },
  ],
  [
    'a message that begins again after a loss of writes, whose first parts are not received',
    {
      disturbances: [failover],
      pushes: [
        push(1, [attempt('STORED', '5-0', 1_000)], { appendTo: 'm' }),
        push(2, [attempt('STORED', '6-0', 30_000)], { appendTo: 'm' }),
      ],
      connections: [
        connection([part(1, '5-0', 30), part(2, '6-0', 10)], { openedAtMs: 0, closedAtMs: 40_000 }),
      ],
    },
  ],
];

test.each(allowed)('allows %s', (_, parts) => {
  expect(checksOf(parts)).toEqual([]);
});

const caught: [check: CheckName, title: string, parts: Partial<History>][] = [
  [
    'lost',
    'replaced by a push with another key, and never received',
    {
      pushes: [collapsing(1, '5-0'), collapsing(2, '6-0', '5-0', 'other')],
      connections: [connection([receipt(2, '6-0')])],
    },
  ],
  [
    'falseVerdicts',
    'the replacement of a push with another key',
    {
      pushes: [collapsing(1, '5-0'), collapsing(2, '6-0', '5-0', 'other')],
      connections: [connection([receipt(1, '5-0'), receipt(2, '6-0')])],
    },
  ],
  [
    'lost',
    'the last of the pushes with a key, which nothing has replaced',
    { pushes: [collapsing(1, '5-0'), collapsing(2, '6-0', '5-0')] },
  ],
  [
    'outOfOrder',
    'parts that are joined in the wrong order',
    {
      pushes: parts('5-0', '6-0'),
      connections: [connection([part(2, '6-0', 0, true), part(1, '6-0', 10)])],
    },
  ],
  [
    'corrupted',
    'a part at two places of its message',
    {
      pushes: parts('5-0', '6-0'),
      connections: [
        connection([part(1, '5-0', 0), part(2, '6-0', 10)], { closedAtMs: 12_000 }),
        connection([part(2, '6-0', 20)], { openedAtMs: 12_500, cursor: '5-0' }),
      ],
    },
  ],
  [
    'lost',
    'a part that is missing',
    { pushes: parts('5-0', '6-0'), connections: [connection([part(1, '5-0', 0)])] },
  ],
  [
    'corrupted',
    'a part of another message',
    {
      pushes: [push(1, [attempt('STORED', '5-0')], { appendTo: 'other' })],
      connections: [connection([part(1, '5-0', 0)])],
    },
  ],
];

test.each(caught)('%s: catches %s', (name, _, parts) => {
  expect(checksOf(parts)).toContain(name);
});
