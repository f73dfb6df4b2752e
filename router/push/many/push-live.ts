/**
 * One live-only push to several clients with one message to the edge that owns their shards
 * (shard-groups.ts). A push to a client whose shard has more or fewer subscribers than one, or that
 * the edge has not processed, because it does not own the shard or is of an earlier version, is
 * sent alone. One that an edge may have processed is not sent again.
 */
import type { Rejection } from '../../../common/process/errors.js';
import type { Pusher } from '../pusher.js';
import { LiveVerdicts } from './live-verdicts.js';
import type { ManyPush } from './many-push.js';
import type { ClientsOfShard } from './packed.js';
import type { ShardGroups } from './shard-groups.js';
import { Tally } from './tally.js';

/** Fields of a live-only push, which has no keys. */
const LIVE = { ttlMs: 0, appendTo: '', appendEnd: false, collapsible: false };

export class LivePusher {
  constructor(
    readonly pusher: Pusher,
    readonly shardGroups: Pick<ShardGroups, 'withOneSubscriber'>,
    readonly push: Omit<ManyPush, 'isRemembered'>,
  ) {}

  /** @param parts of shards of one owner, with `CLIENTS_PER_MESSAGE` clients at most */
  async send(parts: readonly ClientsOfShard[]): Promise<void> {
    const single = await this.shardGroups.withOneSubscriber(parts.map(({ shard }) => shard));
    const alone = parts.filter(({ shard }) => !single.has(shard));
    await Promise.all([
      this.#sendTogether(parts.filter(({ shard }) => single.has(shard))),
      ...alone.flatMap(({ clientIds }) => clientIds.map((each) => this.#pushAlone(each, true))),
    ]);
  }

  async #sendTogether(parts: readonly ClientsOfShard[]): Promise<void> {
    const { pusher } = this;
    const { common, answerByMs, tally, trace } = this.push;
    const startedMs = performance.now();
    const allowed = parts
      .map(({ shard, clientIds }) => {
        const withinRate = clientIds.filter((clientId) => {
          const rejected = pusher.rejectRate(clientId, startedMs);
          if (rejected !== undefined) tally.onFailure(clientId, pusher.rejected(rejected));
          return rejected === undefined;
        });
        return { shard, clientIds: withinRate };
      })
      .filter(({ clientIds }) => clientIds.length > 0);
    const clientIds = allowed.flatMap((part) => part.clientIds);
    if (clientIds.length === 0) return;
    const waitMs = pusher.admit({ ...common, clientId: '-' }, startedMs, answerByMs, false);
    if (typeof waitMs !== 'number') return this.#failAll(clientIds, waitMs);
    const { payload, contentType, whenSlow } = common;
    const shards = allowed.map(({ shard }) => shard);
    const clientCounts = allowed.map((part) => part.clientIds.length);
    const clients = { clientIds, shards, clientCounts };
    const value = { ...LIVE, ...clients, payload, contentType, whenSlow, trace };
    const body = { $case: 'push', value } as const;
    const answers = await pusher.shardQueries.queryShard(shards[0]!, body, waitMs, false);
    if ('code' in answers) return this.#failAll(clientIds, answers);
    const verdicts = new LiveVerdicts(answers);
    const found = new Tally(tally.namesUnknown);
    const left = clientIds.filter((clientId, i) => {
      const verdict = verdicts.of(i, i < clientCounts[0]!);
      if (verdict !== undefined) found.onVerdictOf(clientId, verdict);
      return verdict === undefined;
    });
    for (const { verdict, count } of found.counts) pusher.onVerdict(verdict, startedMs, count);
    tally.add(found);
    await Promise.all(left.map((each) => this.#pushAlone(each, false)));
  }

  /** @param isCounted whether it has yet to count against the rate of its client */
  async #pushAlone(clientId: string, isCounted: boolean): Promise<void> {
    const { common, answerByMs, tally } = this.push;
    const result = await this.pusher.push({ ...common, clientId }, answerByMs, isCounted);
    if ('code' in result) tally.onFailure(clientId, result);
    else tally.onVerdictOf(clientId, result.verdict);
  }

  #failAll(clientIds: readonly string[], rejected: Rejection): void {
    for (const each of clientIds) this.push.tally.onFailure(each, this.pusher.rejected(rejected));
  }
}
