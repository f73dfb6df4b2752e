/**
 * Bugs that no fault of the drill shows within a minute: a test must fail. Like the other mutants,
 * each is a patch of the compiled code, and the tests run compiled as well.
 */
import type { Patch } from './mutants.js';

export interface TestMutant {
  readonly name: string;
  readonly patches: readonly Patch[];
  /** The test that must fail, without `.test.ts`; below test/. */
  readonly test: string;
}

export const TEST_MUTANTS: readonly TestMutant[] = [
  {
    // A push that has expired has an event again when it leaves the inbox.
    name: 'expire-twice',
    patches: [
      {
        file: 'common/cluster/events/push-events.js',
        find: 'elseif isNoted then',
        replace: 'else',
      },
    ],
    test: 'common/cluster/events/events',
  },
  {
    // A client that moves looks offline for a moment.
    name: 'a-move-is-an-end',
    patches: [
      {
        file: 'common/cluster/events/client-events.js',
        find: "if isKnown and ARGV[i + 2] == 'goaway' then",
        replace: 'if false then',
      },
    ],
    test: 'common/cluster/events/events',
  },
  {
    // Consumers do not learn that Redis has lost events.
    name: 'lost-events-unsaid',
    patches: [
      {
        file: 'common/cluster/events/lost-events.js',
        find: "event(channel, 'events_lost', '', 'r', 'redis')",
        replace: '',
      },
    ],
    test: 'edge/shards/events/lost-events',
  },
  {
    // Another server makes ids of its clock alone: those of lost pushes, or lower ones.
    name: 'another-server-is-the-same',
    patches: [
      {
        file: 'common/redis/identity/id-floor.js',
        find: 'if (isOther &&',
        replace: 'if (!isOther &&',
      },
    ],
    test: 'common/redis/identity/id-floor',
  },
  {
    // The floor of new ids is known, and not kept.
    name: 'ids-below-the-floor',
    patches: [
      {
        file: 'common/cluster/inbox/push.js',
        find: "and number(string.match(id, '^%d+')) <",
        replace: 'and 0 >',
      },
    ],
    test: 'common/cluster/inbox',
  },
  {
    // A device whose newest pushes were lost, and whose cursor is older, learns nothing of it.
    name: 'resume-over-a-mark',
    patches: [
      {
        file: 'common/cluster/inbox.js',
        find: 'if not isMark and untoldMark(ack, KEYS[3], cursor) then return -1 end',
        replace: '',
      },
    ],
    test: 'common/cluster/history/lost-history',
  },
  {
    // The mark of an earlier loss stands for the next one, too.
    name: 'keep-the-first-mark',
    patches: [
      {
        file: 'common/cluster/history/lost-history.js',
        find: "if isNewer or string.match(mark, ' (.*)$') == ARGV[1] then return 0 end",
        replace: 'if mark then return 0 end',
      },
    ],
    test: 'common/cluster/history/lost-history',
  },
  {
    // The owner of a shard does not know which other edges may have clients of it.
    name: 'forget-the-other-edges',
    patches: [
      {
        file: 'edge/shards/standing.js',
        find: 'owner ? otherEdges.countOf(shard) : 0',
        replace: '0',
      },
    ],
    test: 'cluster/moves/placement',
  },
  {
    // One dead Redis master of several makes every role unready.
    name: 'unready-with-one-dead-master',
    patches: [
      {
        file: 'common/cluster/private-channels.js',
        find: 'return unusable.length < masters.length',
        replace: 'return unusable.length === 0',
      },
    ],
    test: 'cluster/failures/redis-masters',
  },
  {
    // A role starts on a Redis that may evict stored pushes, and says nothing.
    name: 'accept-every-eviction-policy',
    patches: [
      {
        file: 'common/redis/requirements.js',
        find: "policy === 'noeviction' || policy === accepted",
        replace: 'true',
      },
    ],
    test: 'common/redis/requirements',
  },
  {
    // After CONFIG RESETSTAT, evictions are missed until there are as many as before it.
    name: 'miss-evictions-after-resetstat',
    patches: [
      {
        file: 'common/redis/requirements-watch.js',
        find: 'evictedKeys < before ? evictedKeys : evictedKeys - before',
        replace: 'Math.max(0, evictedKeys - before)',
      },
    ],
    test: 'common/redis/requirements',
  },
  {
    // One answer of a closed port counts as proof: a listen queue may have overflowed.
    name: 'one-closed-port-is-enough',
    patches: [
      {
        file: 'control/membership/port-probes.js',
        find: 'const CLOSED_MIN = 3;',
        replace: 'const CLOSED_MIN = 1;',
      },
    ],
    test: 'control/membership/membership',
  },
  {
    // An unreachable address is taken for a dead process: a cut cable makes its shards move.
    name: 'silence-is-a-closed-port',
    patches: [
      {
        file: 'common/net/closed-port.js',
        find: "code === 'ECONNREFUSED'",
        replace: "code !== ''",
      },
    ],
    test: 'common/net/closed-port',
  },
  {
    // A stored push is delivered as it is, even if its checksum is wrong.
    name: 'deliver-corrupt-entries',
    patches: [
      {
        file: 'common/cluster/history/checksums.js',
        find: 'return checksum + numbers + offset === Number(sum);',
        replace: 'return Number.isFinite(checksum + numbers);',
      },
    ],
    test: 'common/cluster/history/checksums',
  },
  {
    // An envelope in which a bit was flipped on its way through Redis reaches the device.
    name: 'deliver-corrupt-envelopes',
    patches: [
      {
        file: 'common/wire/sealed-message.js',
        find: 'return crc32(bytes.subarray(SEAL_BYTES, end)) === bytes.readUInt32LE(CRC_AT);',
        replace: 'return true;',
      },
    ],
    test: 'common/wire/push-envelope',
  },
  {
    // A router goes on with the members that it knows although others have joined.
    name: 'keep-the-members',
    patches: [
      {
        file: 'router/push/groups/group-clients.js',
        find: 'each?.version === versions[i]',
        replace: 'each !== undefined',
      },
    ],
    test: 'router/push/groups/group-histories',
  },
];
