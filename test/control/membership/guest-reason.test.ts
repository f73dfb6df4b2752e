import { expect, test } from '@jest/globals';
import type { EdgeRecord } from '../../../control/membership/edge-record.js';
import { guestReason } from '../../../control/membership/guest-reason.js';

const owner: EdgeRecord = {
  id: 'edge-2',
  incarnation: 'i1',
  advertisedUrl: '',
  state: { type: 'alive', session: 1, leaseEndsAtMs: 9_000 },
  capacity: 1,
  zone: '',
  counts: { connections: 0, guests: 0, shardsSubscribed: 0, ready: true, shards: [] },
  heardAtMs: 1_000,
};
const move = (from: string, to: string) => ({ shard: 1, from, to, phase: 'handing-over' }) as const;
const guestOf = { owner: 'edge-2', ownerRecord: owner, move: undefined, ownedForMs: undefined };
const suspect = { type: 'suspect', vanishedAtMs: 1, leaseEndsAtMs: 9_000 } as const;

test.each([
  ['no-owner', { owner: undefined, ownerRecord: undefined }],
  ['moving-away', { move: move('edge-1', 'edge-2') }],
  ['moving-here', { move: move('edge-2', 'edge-1') }],
  ['other-owner', { move: move('edge-2', 'edge-3') }],
  ['assignment-late', { owner: 'edge-1' }],
  ['owner-unavailable', { ownerRecord: { ...owner, state: suspect } }],
  ['owner-unavailable', { ownerRecord: { ...owner, counts: { ...owner.counts!, ready: false } } }],
  ['connected-before-move', { ownedForMs: 4_999 }],
  ['connected-after-move', { ownedForMs: 5_000 }],
  ['other-owner', { ownerRecord: undefined }],
] as const)('%s: %j', (reason, change) => {
  expect(guestReason('edge-1', 5_000, { ...guestOf, ...change })).toBe(reason);
});
