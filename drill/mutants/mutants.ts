/**
 * Bugs that the drill must catch: a checker that has never failed proves nothing. Each is a patch
 * of the compiled code, so that production code needs no switches for it, and each is a mistake
 * that a developer could make. `find` must occur in its file exactly once.
 */
import type { FaultKindName } from '../faults/kinds.js';
import type { CheckName } from '../history/check.js';

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
  /** The check that is expected to catch it; others may, too. */
  readonly check: CheckName;
}

export const MUTANTS: readonly Mutant[] = [
  {
    // The router answers STORED and stores the push 100 ms later.
    name: 'acknowledge-before-xadd',
    patches: [
      {
        file: 'router/push/pusher.js',
        find: 'return storePush(this.#link, push, this.config.inbox).then(',
        replace: `setTimeout(() => void storePush(this.#link, push, this.config.inbox), 100);
        const stored = { type: 'stored', id: '', receivers: 0, dropped: 0 };
        return Promise.resolve({ type: 'done', reply: stored }).then(`,
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
        find: "redis.call('XTRIM', inbox, 'MINID', string.format('%.0f-%.0f', ms, n + 1))",
        replace: `redis.call('XTRIM', inbox, 'MINID', string.format('%.0f-%.0f', ms, n + 1))
local following = first(inbox)
if following then redis.call('XDEL', inbox, following[1]) end`,
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
        find: 'for (const entry of entries) {',
        replace: `if (entries.length > 1) entries.unshift(...entries.splice(1, 1));
        for (const entry of entries) {`,
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
    // While no reply can arrive, a push is stored and published, and rejected all the same.
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
