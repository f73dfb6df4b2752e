/**
 * Writes the ends of connections whose edge has died, for the shards that this edge owns. An edge
 * that was killed cannot write them itself. A shard is searched when this edge becomes its owner,
 * when an edge has left the cluster, and every ten minutes, because Redis may have returned with
 * older data.
 *
 * An edge that is partitioned from control only has left, and still has its devices. So the edges
 * of the shard are told, and one that has connections announces them again.
 */
import { endOfDeadEdges } from '../../../common/cluster/events/client-events.js';
import type { EventBounds } from '../../../common/cluster/events/event-stream.js';
import type { ShardNames } from '../../../common/cluster/shard-names.js';
import type { ScriptLink } from '../../../common/redis/script.js';
import { sealAnnounce } from '../../../common/wire/protobuf/announce-envelope.js';
import { NOTHING_TOLD } from '../announcements.js';
import type { Shards } from '../shards.js';

export const DEAD_EDGES_STEP_MS = 100;
/** Maximum number of shards in one step: a search reads every connection of a shard. */
const SHARDS_PER_STEP = 32;
/** A client that connects again within this time after its edge has gone is not reported twice. */
const GRACE_MS = 2_000;
const SEARCH_AGAIN_MS = 10 * 60 * 1_000;
/**
 * A younger connection may belong to an edge that control does not know yet: it is checked again.
 */
const AGE_MS_MIN = 5_000;
const YOUNG_AGAIN_MS = 1_000;

export interface DeadEdgesOptions {
  readonly link: ScriptLink;
  readonly edgeIncarnation: string;
  readonly names: ShardNames;
  readonly shards: Pick<Shards, 'owns'>;
  /** Incarnations of all edges of the assignment, and this one; undefined: they are unknown. */
  readonly living: () => readonly string[] | undefined;
  readonly bounds: EventBounds;
}

export class DeadEdges {
  readonly #notice: Buffer;
  /** By shard: when it was searched last, in ms of the monotonic clock. */
  readonly #searchedAtMs: Float64Array;
  #known: readonly string[] = [];
  #goneAtMs = Number.NEGATIVE_INFINITY;
  /** The shard at which the next step begins. */
  #next = 0;
  #isStepping = false;

  constructor(readonly options: DeadEdgesOptions) {
    const { edgeIncarnation } = options;
    this.#notice = sealAnnounce({ ...NOTHING_TOLD, edgeIncarnation, connectionsEnded: true });
    this.#searchedAtMs = new Float64Array(options.names.shardCount).fill(Number.NEGATIVE_INFINITY);
  }

  /** Never rejects. */
  async step(nowMs: number): Promise<void> {
    const living = this.options.living();
    if (living === undefined || this.#isStepping) return;
    if (this.#known.some((incarnation) => !living.includes(incarnation))) this.#goneAtMs = nowMs;
    this.#known = living;
    this.#isStepping = true;
    await Promise.all(this.#due(nowMs).map((shard) => this.#search(shard, living, nowMs)));
    this.#isStepping = false;
  }

  #due(nowMs: number): number[] {
    const { names, shards } = this.options;
    const graceEndMs = this.#goneAtMs + GRACE_MS;
    const againMs = nowMs - SEARCH_AGAIN_MS;
    const sinceMs = graceEndMs <= nowMs ? Math.max(againMs, graceEndMs) : againMs;
    const due: number[] = [];
    for (let i = 0; i < names.shardCount && due.length < SHARDS_PER_STEP; i++) {
      const shard = this.#next;
      this.#next = (shard + 1) % names.shardCount;
      if (!shards.owns(shard)) this.#searchedAtMs[shard] = Number.NEGATIVE_INFINITY;
      else if (this.#searchedAtMs[shard]! < sinceMs) due.push(shard);
    }
    return due;
  }

  async #search(shard: number, living: readonly string[], nowMs: number): Promise<void> {
    const { link, names, bounds } = this.options;
    const channel = names.channelOf(shard);
    let cursor = '0';
    let isAnyYoung = false;
    do {
      const dead = { living, ageMsMin: AGE_MS_MIN, notice: this.#notice };
      const next = await endOfDeadEdges(link, channel, cursor, dead, bounds);
      if (next.type !== 'done') return;
      ({ cursor } = next.reply);
      isAnyYoung ||= next.reply.young > 0;
    } while (cursor !== '0');
    this.#searchedAtMs[shard] = isAnyYoung ? nowMs - SEARCH_AGAIN_MS + YOUNG_AGAIN_MS : nowMs;
  }
}
