/** An edge in the model: what it subscribes to, whom it holds, what it says. */
import { type Assignment, comparePositions, ORIGIN } from '../../common/cluster/assignment.js';
import type { LoadReport, ShardReport } from '../../control/placement/loads.js';
import type { MoveReport } from '../../control/planning/moves.js';

const LINGER_MS = 3_000;

export type Lie = 'none' | 'zero' | 'tenfold' | 'frozen' | 'garbage';

export class SimEdge {
  incarnation = 1;
  isUp = true;
  /** When its present process began, unless it is the first. */
  startedAtMs = Number.NEGATIVE_INFINITY;
  /** What it knows of the table; it never goes back. */
  table: Assignment | undefined;
  lie: Lie = 'none';
  /** It is cut from Redis only: control is heard, and hears it say so. */
  startsUnsubscribed = false;
  /** Shard → when its subscription is proven. */
  readonly subscribed = new Map<number, number>();
  /** Shard → since when it is not wanted any more. */
  readonly #unwanted = new Map<number, number>();
  readonly clients: Float64Array;
  #frozenLoads: LoadReport | undefined;

  constructor(
    readonly id: string,
    readonly shardCount: number,
    /** How long the next subscription takes to be proven. */
    readonly proofMs: () => number,
    /** Called before it lets go of a shard. */
    readonly onUnsubscribe: (shard: number) => void,
  ) {
    this.clients = new Float64Array(shardCount);
  }

  learn(table: Assignment | undefined): void {
    if (table === undefined) return;
    if (comparePositions(table.position, this.table?.position ?? ORIGIN) > 0) this.table = table;
  }

  isSubscribed(nowMs: number, shard: number): boolean {
    return (
      this.isUp &&
      !this.startsUnsubscribed &&
      nowMs >= (this.subscribed.get(shard) ?? Number.POSITIVE_INFINITY)
    );
  }

  /** Makes its subscriptions what the table and its clients call for. */
  tick(nowMs: number): void {
    const { table } = this;
    if (!this.isUp || table === undefined) return;
    const coming = new Set(table.moves.flatMap(({ shard, to }) => (to === this.id ? [shard] : [])));
    const index = table.edges.findIndex(({ id }) => id === this.id);
    for (let shard = 0; shard < this.shardCount; shard++) {
      const isWanted =
        table.owners[shard] === index || coming.has(shard) || this.clients[shard]! > 0;
      if (isWanted) {
        this.#unwanted.delete(shard);
        if (!this.subscribed.has(shard)) this.subscribed.set(shard, nowMs + this.proofMs());
      } else if (this.subscribed.has(shard)) {
        if (!this.#unwanted.has(shard)) this.#unwanted.set(shard, nowMs);
        if (nowMs < this.#unwanted.get(shard)! + LINGER_MS) continue;
        this.onUnsubscribe(shard);
        this.subscribed.delete(shard);
        this.#unwanted.delete(shard);
      }
    }
  }

  moveReport(nowMs: number): MoveReport {
    const moves = this.table?.moves ?? [];
    return {
      edgeId: this.id,
      under: this.table?.position ?? ORIGIN,
      acquired: moves.flatMap(({ shard, to, phase }) =>
        to === this.id && phase === 'acquiring' && this.isSubscribed(nowMs, shard) ? [shard] : [],
      ),
      released: moves.flatMap(({ shard, from, phase }) =>
        from === this.id && phase === 'handing-over' && !this.subscribed.has(shard) ? [shard] : [],
      ),
    };
  }

  loadReport(): LoadReport {
    const factor = this.lie === 'zero' ? 0 : this.lie === 'tenfold' ? 10 : 1;
    const shards: ShardReport[] = [];
    let connections = 0;
    for (let shard = 0; shard < this.shardCount; shard++) {
      const count = this.clients[shard]! * factor;
      if (count === 0) continue;
      shards.push({ shard, connections: count, messagesPerSecond: 0 });
      connections += count;
    }
    const under = this.table?.position ?? ORIGIN;
    const truth = { under, connections, shards };
    if (this.lie === 'garbage') return { ...truth, connections: Number.NaN };
    if (this.lie !== 'frozen') this.#frozenLoads = undefined;
    this.#frozenLoads ??= truth;
    return { ...(this.lie === 'frozen' ? this.#frozenLoads : truth), under };
  }

  /** The process ends; whoever was connected is not any more. Returns them, by shard. */
  die(): Float64Array {
    const lost = Float64Array.from(this.clients);
    this.isUp = false;
    this.table = undefined;
    this.subscribed.clear();
    this.#unwanted.clear();
    this.clients.fill(0);
    return lost;
  }

  start(nowMs: number): void {
    this.isUp = true;
    this.incarnation++;
    this.startedAtMs = nowMs;
  }
}
