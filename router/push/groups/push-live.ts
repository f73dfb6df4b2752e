/**
 * One live-only push to several clients with one message, as a call of PushMany sends it
 * (many/push-many.ts). The clients come with their shards and are known to be valid, so little is
 * done for each of them.
 */
import type { Rejection } from '../../../common/process/errors.js';
import type { TraceBody } from '../../../proto/gen/longline/v1/envelope.js';
import type { PushRequest } from '../../../proto/gen/longline/v1/push.js';
import { LiveVerdicts } from '../many/live-verdicts.js';
import type { ShardGroups } from '../many/shard-groups.js';
import { Tally } from '../many/tally.js';
import type { Pusher } from '../pusher.js';
import type { ClientsOfShard } from './packed.js';

/** Fields of a live-only push, which has no keys. */
const LIVE = { ttlMs: 0, appendTo: '', appendEnd: false, collapsible: false };

export class LivePusher {
  constructor(
    readonly pusher: Pusher,
    readonly shardGroups: Pick<ShardGroups, 'withOneSubscriber'>,
    readonly common: Omit<PushRequest, 'clientId'>,
    readonly tally: Tally,
    /** When the response must be ready, in ms of the monotonic clock. */
    readonly answerByMs: number,
    readonly trace?: TraceBody,
  ) {}

  /** @param parts of shards of one owner, with `CLIENTS_PER_MESSAGE` clients at most */
  async push(parts: readonly ClientsOfShard[]): Promise<void> {
    const single = await this.shardGroups.withOneSubscriber(parts.map(({ shard }) => shard));
    const alone = parts.filter(({ shard }) => !single.has(shard));
    await Promise.all([
      this.#pushTogether(parts.filter(({ shard }) => single.has(shard))),
      ...alone.flatMap(({ clientIds }) => clientIds.map((each) => this.#pushAlone(each, true))),
    ]);
  }

  async #pushTogether(parts: readonly ClientsOfShard[]): Promise<void> {
    const { pusher, common, tally } = this;
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
    const waitMs = pusher.admit({ ...common, clientId: '-' }, startedMs, this.answerByMs, false);
    if (typeof waitMs !== 'number') return this.#failAll(clientIds, waitMs);
    const { payload, contentType, whenSlow } = common;
    const shards = allowed.map(({ shard }) => shard);
    const clientCounts = allowed.map((part) => part.clientIds.length);
    const clients = { clientIds, shards, clientCounts };
    const value = { ...LIVE, ...clients, payload, contentType, whenSlow, trace: this.trace };
    const body = { $case: 'push', value } as const;
    const answers = await pusher.shardQueries.queryShard(shards[0]!, body, waitMs, false);
    if ('code' in answers) return this.#failAll(clientIds, answers);
    const verdicts = new LiveVerdicts(answers);
    const found = new Tally();
    const left = clientIds.filter((_, i) => {
      const verdict = verdicts.of(i, i < clientCounts[0]!);
      if (verdict !== undefined) found.onVerdict(verdict);
      return verdict === undefined;
    });
    for (const { verdict, count } of found.counts) pusher.onVerdict(verdict, startedMs, count);
    tally.add(found);
    await Promise.all(left.map((each) => this.#pushAlone(each, false)));
  }

  /** @param isCounted whether it has yet to count against the rate of its client */
  async #pushAlone(clientId: string, isCounted: boolean): Promise<void> {
    const request = { ...this.common, clientId };
    const result = await this.pusher.push(request, this.answerByMs, isCounted);
    if ('code' in result) this.tally.onFailure(clientId, result);
    else this.tally.onVerdict(result.verdict);
  }

  #failAll(clientIds: readonly string[], rejected: Rejection): void {
    for (const each of clientIds) this.tally.onFailure(each, this.pusher.rejected(rejected));
  }
}
