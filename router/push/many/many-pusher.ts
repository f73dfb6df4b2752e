/**
 * One payload for many clients, in steps, each of which is sent at once:
 *
 * - `live`: a live-only message to several clients (push-live.ts).
 * - `together`: a script that stores a durable push for several clients (push-together.ts).
 * - `alone`: a push to one client, where neither of them can do what was asked for: one that waits
 *   for a confirmation or a higher accept level, or has a key.
 */
import { type PushRequest, WaitFor } from '../../../proto/gen/longline/v1/push.js';
import { combinationOf, requiredLevelOf } from '../push-check.js';
import type { Pusher } from '../pusher.js';
import type { ManyPush } from './many-push.js';
import { type ClientsOfShard, countOf, filled, packed, runsOf, slicesOf } from './packed.js';
import { Places, shareOfInFlight } from './places.js';
import { LivePusher } from './push-live.js';
import { clientsPerScript, type ShardStore, TogetherPusher } from './push-together.js';
import { Rounds } from './rounds.js';
import { CLIENTS_PER_MESSAGE, MESSAGES_AT_ONCE, type ShardGroups } from './shard-groups.js';

/** Pushes of one call in progress, while Redis and the edges answer. */
const CLIENTS_AT_ONCE = {
  live: MESSAGES_AT_ONCE * CLIENTS_PER_MESSAGE,
  together: 1_000,
  alone: 1_000,
};
/**
 * Clients whose scripts are made together: few enough that each owner of shards gets its part soon,
 * and enough that most scripts have one owner.
 */
const CLIENTS_PER_SORT = 512;

export interface ManyPusherOptions {
  readonly pusher: Pusher;
  readonly shardGroups: Pick<ShardGroups, 'group' | 'withOneSubscriber'>;
  readonly store: ShardStore;
}

export interface Step {
  readonly clients: number;
  readonly send: () => Promise<void>;
}

export class ManyPusher {
  readonly kind: keyof typeof CLIENTS_AT_ONCE;
  readonly #live: LivePusher;
  readonly #together: TogetherPusher;

  constructor(
    readonly options: ManyPusherOptions,
    readonly push: ManyPush,
  ) {
    this.kind = kindOf(options.pusher, push.common);
    this.#live = new LivePusher(options.pusher, options.shardGroups, push);
    this.#together = new TogetherPusher(options.pusher, options.store, push);
  }

  /** Places for the steps of one call, one for each client. */
  places(): Places {
    return new Places(
      CLIENTS_AT_ONCE[this.kind],
      shareOfInFlight(this.options.pusher.shardQueries),
    );
  }

  /** @param parts valid clientIds in the order of their shards; none is named twice */
  stepsOf(parts: readonly ClientsOfShard[]): Iterable<Step> {
    if (this.kind === 'live') return this.#messages(parts);
    return this.kind === 'together' ? this.#scripts(parts) : this.#pushes(parts);
  }

  *#messages(parts: readonly ClientsOfShard[]): Iterable<Step> {
    const messages = new Rounds(
      this.#byOwner(parts).map((own) => filled(own, CLIENTS_PER_MESSAGE)),
    );
    for (let next = messages.next(1); next !== undefined; next = messages.next(1)) {
      const message = next[0]!;
      yield { clients: sumOf(message), send: () => this.#live.send(message) };
    }
  }

  *#scripts(parts: readonly ClientsOfShard[]): Iterable<Step> {
    const max = clientsPerScript(this.push.common.payload.length);
    for (const some of packed(parts, countOf, CLIENTS_PER_SORT)) {
      const slices = this.#byOwner(some).flatMap((own, owner) =>
        own.flatMap((part) => slicesOf(part, max)).map((slice) => ({ ...slice, owner })),
      );
      for (const run of runsOf(this.options.store.link, slices, countOf, max)) {
        const owners = new Set(run.map(({ owner }) => owner));
        const messages = [...owners].map((owner) => run.filter((slice) => slice.owner === owner));
        yield { clients: sumOf(run), send: () => this.#together.send(messages) };
      }
    }
  }

  *#pushes(parts: readonly ClientsOfShard[]): Iterable<Step> {
    for (const { clientIds } of parts) {
      for (const clientId of clientIds) yield { clients: 1, send: () => this.#pushTo(clientId) };
    }
  }

  async #pushTo(clientId: string): Promise<void> {
    const { common, answerByMs, tally } = this.push;
    const result = await this.options.pusher.push({ ...common, clientId }, answerByMs);
    if ('code' in result) tally.onFailure(clientId, result);
    else tally.onVerdictOf(clientId, result.verdict);
  }

  /** For each owner of shards its clients, which can share messages. */
  #byOwner(parts: readonly ClientsOfShard[]): ClientsOfShard[][] {
    const byShard = new Map<number, string[]>();
    for (const { shard, clientIds } of parts) {
      const others = byShard.get(shard);
      if (others === undefined) byShard.set(shard, [...clientIds]);
      else others.push(...clientIds);
    }
    const shards = [...byShard.keys()];
    // If no edge answers, the router does not notice a shard that one leaves out: each goes alone.
    const owners =
      this.push.common.waitFor === WaitFor.WAIT_FOR_STORED
        ? shards.map((shard) => [shard])
        : this.options.shardGroups.group(shards);
    return owners.map((own) => own.map((shard) => ({ shard, clientIds: byShard.get(shard)! })));
  }
}

function kindOf(pusher: Pusher, common: Omit<PushRequest, 'clientId'>): ManyPusher['kind'] {
  if (pusher.ttlMsOf(common) === 0) return 'live';
  const isTogether =
    common.waitFor !== WaitFor.WAIT_FOR_ACKED &&
    combinationOf(common) === undefined &&
    common.notifyUnreadAfterMs === 0 &&
    requiredLevelOf(common, pusher.config.acceptLevel) === undefined;
  return isTogether ? 'together' : 'alone';
}

function sumOf(parts: readonly ClientsOfShard[]): number {
  return parts.reduce((sum, part) => sum + countOf(part), 0);
}
