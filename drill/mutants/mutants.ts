/**
 * Bugs that the drill must catch: a checker that has never failed proves nothing. Each is a change
 * of the compiled code, so production code needs no switches for it, and each is one that somebody
 * could have written in good faith. `find` must be in its file exactly once.
 */

import type { FaultKind } from '../faults/schedule.js';
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
  /** The faults under which it shows. */
  readonly kinds: readonly FaultKind[];
  /** The check that it is expected to fail; others may, too. */
  readonly check: CheckName;
}

export const MUTANTS: readonly Mutant[] = [
  {
    // The router collects pushes for a moment, and says STORED meanwhile.
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
    // Off by one: what follows the confirmed entry goes, too.
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
    // What was handed to the socket is confirmed as if the device had it.
    name: 'confirm-at-write',
    patches: [
      {
        file: 'edge/session/catch-up.js',
        find: 'async #write(connection, work, entry) {',
        replace: `confirm(connection, id) {
        const tag = this.tagOf(this.table.shardOf(connection));
        void resumeInbox(this.link, tag, this.table.clientIdOf(connection), id);
    }
    async #write(connection, work, entry) {`,
      },
      {
        file: 'edge/session/catch-up.js',
        find: 'table.markSent(connection, entry.id);',
        replace: 'table.markSent(connection, entry.id); this.confirm(connection, entry.id);',
      },
      {
        file: 'edge/session/clients.js',
        find: 'this.table.markSent(connection, id);',
        replace: '{ this.table.markSent(connection, id); this.catchUp.confirm(connection, id); }',
      },
    ],
    kinds: ['cut', 'away'],
    check: 'lost',
  },
  {
    // A subscription that Redis took away stays away.
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
    // The end of an old connection forgets the client, although a newer connection holds it.
    name: 'drop-in-takeover',
    patches: [
      {
        file: 'edge/session/clients.js',
        find: "this.#ending(older, query.clientId, 'session_replaced');",
        replace: `{ this.#ending(older, query.clientId, 'session_replaced'); setImmediate(() => this.table.remove(connection)); }`,
      },
    ],
    kinds: ['takeover'],
    check: 'falseVerdicts',
  },
  {
    // An inbox is not read in its order.
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
    // Seen in our own code: a push that is heard again, before it is known that the subscription is
    // back, moves the edge's mark past those that were missed.
    name: 'write-past-a-gap',
    patches: [
      {
        file: 'edge/session/clients.js',
        find: 'if (!this.shards.isConfirmed(shard))',
        replace: 'if (false)',
      },
    ],
    kinds: ['killRedis', 'cutSubscriber'],
    check: 'lost',
  },
  {
    // A retry is a push of its own.
    name: 'forget-the-key',
    patches: [
      {
        file: 'common/cluster/inbox.js',
        find: "if idem then redis.call('SET', idem, id,",
        replace: "if idem then redis.call('SET', idem .. id, id,",
      },
    ],
    kinds: ['killRouter', 'killRedis'],
    check: 'unexplainedDuplicates',
  },
  {
    // Whatever was asked, it was written.
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
