/**
 * Bugs that the drill must catch: a checker that has never failed proves nothing. Each is a patch
 * of the compiled code, so that production code needs no switches for it, and each is a mistake
 * that a developer could make. `find` must occur in its file exactly once.
 */
import type { FaultKindName } from '../faults/kinds.js';
import type { CheckName } from '../history/checks.js';

export interface Patch {
  /** Below dist/. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

export interface Mutant {
  readonly name: string;
  readonly patches: readonly Patch[];
  /** Faults under which the bug has an effect. */
  readonly kinds: readonly FaultKindName[];
  /** Whether the bug is one of events. */
  readonly events?: true;
  /** The check that is expected to catch it; others may, too. */
  readonly check: CheckName;
}

export const MUTANTS: readonly Mutant[] = [
  {
    // The parts of a growing message that a device has missed are joined in the wrong order.
    name: 'join-backwards',
    patches: [
      {
        file: 'edge/session/join-parts.js',
        find: 'Buffer.concat(run.map((part) => part.payload))',
        replace: 'Buffer.concat(run.map((part) => part.payload).reverse())',
      },
    ],
    kinds: ['cut', 'away'],
    check: 'outOfOrder',
  },
  {
    // A push replaces the newest one with a collapse key, whichever it is.
    name: 'collapse-across-keys',
    patches: [
      {
        file: 'common/cluster/inbox/combine.js',
        find: "local field = (kind == 'c' and 'c' or 'a') .. key",
        replace: "local field = kind == 'c' and 'c' or ('a' .. key)",
      },
    ],
    kinds: ['cut', 'away'],
    check: 'falseVerdicts',
  },
  {
    // The router answers STORED and stores the push 100 ms later.
    name: 'acknowledge-before-xadd',
    patches: [
      {
        file: 'router/push/pusher.js',
        find: 'this.#batches.store(push, onStored);',
        replace: `setTimeout(() => this.#batches.store(push, () => {}), 100);
        const stored = { type: 'stored', id: '', receivers: 0, dropped: 0 };
        queueMicrotask(() => onStored({ type: 'stored', stored, isConfirmed: true }));`,
      },
      {
        file: 'router/push/pusher.js',
        find: "return { type: 'published', receivers: stored.receivers };",
        replace: "return { type: 'decided' };",
      },
    ],
    kinds: ['killRouter', 'killRedis'],
    check: 'lost',
  },
  {
    // An edge compares the expiry of a push, a time of Redis, with its own clock.
    name: 'expire-by-the-edge',
    patches: [
      {
        file: 'common/cluster/history/inbox-read.js',
        find: 'ttlMs: Number(expiresAtMs) - redisMs,',
        replace: 'ttlMs: Number(expiresAtMs) - Date.now(),',
      },
    ],
    kinds: ['stepAllClocks', 'away'],
    check: 'lost',
  },
  {
    // Off by one: the entry after the confirmed one is deleted, too.
    name: 'trim-early',
    patches: [
      {
        file: 'common/cluster/inbox.js',
        find: "return redis.call('XTRIM', inbox, 'MINID', string.format('%.0f-%.0f', ms, n + 1))",
        replace: `local count = redis.call('XTRIM', inbox, 'MINID', string.format('%.0f-%.0f', ms, n + 1))
local following = first(inbox)
if following then redis.call('XDEL', inbox, following[1]) end
return count`,
      },
    ],
    kinds: ['cut', 'away'],
    check: 'lost',
  },
  {
    // A push is confirmed when it is written to the socket, before the device has received it.
    name: 'confirm-at-write',
    patches: [
      {
        file: 'edge/session/catch-up.js',
        find: 'async #write(connection, progress, entry) {',
        replace: `confirm(connection, id) {
        const { table, link, names } = this.options;
        const channel = names.channelOf(table.shardOf(connection));
        void resumeInbox(link, channel, table.clientIdOf(connection), id);
    }
    async #write(connection, progress, entry) {`,
      },
      {
        file: 'edge/session/catch-up.js',
        find: 'table.markSent(connection, entry.id);',
        replace: 'table.markSent(connection, entry.id); this.confirm(connection, entry.id);',
      },
      {
        file: 'edge/session/clients.js',
        find: 'table.markSent(connection, id);',
        replace: '{ table.markSent(connection, id); catchUp.confirm(connection, id); }',
      },
    ],
    kinds: ['cut', 'away'],
    check: 'lost',
  },
  {
    // Without an answer of the edge that has the client, the verdict is OFFLINE.
    name: 'offline-without-proof',
    patches: [
      {
        file: 'common/cluster/push-outcomes.js',
        find: 'answers.complete ? Verdict.VERDICT_OFFLINE : Verdict.VERDICT_UNKNOWN',
        replace: 'Verdict.VERDICT_OFFLINE',
      },
    ],
    kinds: ['cutSubscriber', 'stallSubscriber'],
    check: 'falseVerdicts',
  },
  {
    // The edge does not resubscribe after Redis has dropped a subscription.
    name: 'forget-to-resubscribe',
    patches: [
      {
        file: 'common/redis/shard-subscriber.js',
        find: 'this.lost.inc();',
        replace: 'this.lost.inc(); this.misplaced.delete(subscription);',
      },
    ],
    kinds: ['cutSubscriber'],
    check: 'lost',
  },
  {
    // The end of an old connection removes the client, although it has a newer connection.
    name: 'drop-in-takeover',
    patches: [
      {
        file: 'edge/session/clients.js',
        find: "this.#onRemoved(older, query.clientId, 'session_replaced');",
        replace: `{ this.#onRemoved(older, query.clientId, 'session_replaced'); setImmediate(() => table.remove(connection)); }`,
      },
    ],
    kinds: ['takeover'],
    check: 'falseVerdicts',
  },
  {
    // The first two entries of an inbox are delivered in the wrong order.
    name: 'reorder-two',
    patches: [
      {
        file: 'edge/session/catch-up.js',
        find: 'for (const entry of this.#joinsParts(connection) ? joinParts(entries) : entries) {',
        replace: `if (entries.length > 1) entries.unshift(...entries.splice(1, 1));
        for (const entry of this.#joinsParts(connection) ? joinParts(entries) : entries) {`,
      },
    ],
    kinds: ['away'],
    check: 'outOfOrder',
  },
  {
    // A former bug of Longline: a push that arrives before the resubscription is confirmed moves
    // the edge's mark past the pushes that were missed.
    name: 'write-past-a-gap',
    patches: [
      {
        file: 'edge/session/clients.js',
        find: 'if (!shards.isConfirmed(shard))',
        replace: 'if (false)',
      },
    ],
    kinds: ['killRedis', 'cutSubscriber'],
    check: 'lost',
  },
  {
    // While no reply can arrive, a push is stored and published, and rejected anyway.
    name: 'reject-what-is-stored',
    patches: [
      {
        file: 'common/cluster/shard-query.js',
        find: "if (result.type === 'rejected') {",
        replace: `if (replyChannel === undefined) result = { type: 'rejected', reason: 'no reply' };
                if (result.type === 'rejected') {`,
      },
    ],
    kinds: ['killRedis'],
    check: 'falseVerdicts',
  },
  {
    // A retry with the same idempotency key is stored again.
    name: 'forget-the-key',
    patches: [
      {
        file: 'common/cluster/inbox/push.js',
        find: "if idem then call('SET', idem, id,",
        replace: "if idem then call('SET', idem .. id, id,",
      },
    ],
    kinds: ['killRouter', 'killRedis'],
    check: 'unexplainedDuplicates',
  },
  {
    // A push to several clients leaves out those of the first shard of each message.
    name: 'skip-a-member',
    patches: [
      {
        file: 'router/push/many/push-together.js',
        find: '.filter(({ clientIds }) => clientIds.length > 0)',
        replace: '.filter(({ clientIds }, i) => clientIds.length > 0 && i > 0)',
      },
    ],
    kinds: ['away'],
    check: 'lost',
  },
  {
    // A device that names one push gets the events of all that wait for it.
    name: 'event-before-its-cause',
    patches: [
      {
        file: 'common/cluster/events/push-events.js',
        find: "redis.call('XRANGE', inbox, from, id,",
        replace: "redis.call('XRANGE', inbox, from, '+',",
      },
    ],
    kinds: ['cut'],
    events: true,
    check: 'falseEvents',
  },
  {
    // A connection that is replaced by a newer one has no event of its end.
    name: 'no-event-at-takeover',
    patches: [
      {
        file: 'common/cluster/events/client-events.js',
        find: "if known and not left then ended(channel, client, known, 'session_replaced') end",
        replace: '',
      },
    ],
    kinds: ['takeover'],
    events: true,
    check: 'missingEvents',
  },
  {
    // Acknowledgements of events do not reach Redis.
    name: 'forget-acknowledged-events',
    patches: [
      {
        file: 'common/cluster/events/event-reads.js',
        find: "redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. ARGV[3])",
        replace: '',
      },
    ],
    kinds: ['cut'],
    events: true,
    check: 'repeatedEvents',
  },
  {
    // A watch of presence receives only the first of the events that one poll finds.
    name: 'one-change-of-each-poll',
    patches: [
      {
        file: 'router/events/presence/presence-feed.js',
        find: 'const delivered = eventsOf(shard, events);',
        replace: 'const delivered = eventsOf(shard, events.slice(0, 1));',
      },
    ],
    kinds: ['takeover', 'cut'],
    events: true,
    check: 'falsePresence',
  },
  {
    // A watch of presence does not receive the moves of clients.
    name: 'presence-without-moves',
    patches: [
      {
        file: 'router/events/presence/presence-watch.js',
        find: "'client.moved', ",
        replace: '',
      },
    ],
    kinds: ['killEdge'],
    events: true,
    check: 'falsePresence',
  },
  {
    // The ledger hides one push: neither accepted nor waiting.
    name: 'hide-one-push',
    patches: [
      {
        file: 'common/cluster/ledger/audit.js',
        find: 'then waiting = countWaiting(channel) end',
        replace: 'then waiting = math.max(0, countWaiting(channel) - 1) end',
      },
      {
        file: 'common/cluster/ledger/audit.js',
        find: 'local difference = waiting < 0 and 0 or accepted - known - waiting',
        replace: `local difference = 0
  accepted = known + waiting`,
      },
    ],
    kinds: ['cut'],
    check: 'falseLedger',
  },
  {
    // A push that is confirmed alone or by a cursor is not counted as such.
    name: 'confirm-without-count',
    patches: [
      {
        file: 'common/cluster/inbox.js',
        find: "countLeft(inbox, 'confirmed', count)\nif apart",
        replace: 'if apart',
      },
    ],
    kinds: ['cut', 'away'],
    check: 'falseLedger',
  },
  {
    // Every push is reported as written.
    name: 'always-written',
    patches: [
      {
        file: 'edge/session/clients.js',
        find: 'const outcome = this.#push(shard, clientId, message);',
        replace: `const outcome = this.#push(shard, clientId, message) && 'written';`,
      },
    ],
    kinds: ['away'],
    check: 'falseVerdicts',
  },
];
