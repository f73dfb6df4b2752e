/** An edge in the model: its subscriptions, clients and reports. */

import type { Assignment } from '../../common/cluster/assignment.js';
import { comparePositions, ORIGIN } from '../../common/wire/position.js';
import type { LoadReport, ShardReport } from '../../control/placement/load-report.js';
import type { MoveReport } from '../../control/planning/moves.js';

const LINGER_MS = 3_000;

/** How the load reports of an edge are wrong. */
export type ReportFault = 'none' | 'zero' | 'tenfold' | 'frozen' | 'garbage';

export class SimEdge {
  incarnation = 1;
  isUp = true;
  /** Start of the current process; -Infinity for the first one. */
  startedAtMs = Number.NEGATIVE_INFINITY;
  /** The newest assignment that it has. */
  assignment: Assignment | undefined;
  reportFault: ReportFault = 'none';
  /** It cannot reach Redis, but reports to control that it is not ready. */
  isCutFromRedis = false;
  /** A firewall between control and the edge answers connects with a reset. */
  rejectsControl = false;
  /** By shard: when its subscription is proven. */
  readonly subscribed = new Map<number, number>();
  /** By shard: since when its subscription is not needed. */
  readonly #unneeded = new Map<number, number>();
  readonly clients: Float64Array;
  #frozenLoads: LoadReport | undefined;

  constructor(
    readonly id: string,
    readonly shardCount: number,
    /** Time until the next subscription is proven, in milliseconds. */
    readonly proofMs: () => number,
    /** Called before it unsubscribes from a shard. */
    readonly onUnsubscribe: (shard: number) => void,
  ) {
    this.clients = new Float64Array(shardCount);
  }

  receive(assignment: Assignment | undefined): void {
    if (assignment === undefined) return;
    if (comparePositions(assignment.position, this.assignment?.position ?? ORIGIN) > 0)
      this.assignment = assignment;
  }

  isSubscribed(nowMs: number, shard: number): boolean {
    return (
      this.isUp &&
      !this.isCutFromRedis &&
      nowMs >= (this.subscribed.get(shard) ?? Number.POSITIVE_INFINITY)
    );
  }

  /** Subscribes and unsubscribes as the assignment and its clients require. */
  updateSubscriptions(nowMs: number): void {
    const { assignment } = this;
    if (!this.isUp || assignment === undefined) return;
    const arriving = new Set(
      assignment.moves.flatMap(({ shard, to }) => (to === this.id ? [shard] : [])),
    );
    const index = assignment.edges.findIndex(({ id }) => id === this.id);
    for (let shard = 0; shard < this.shardCount; shard++) {
      const isNeeded =
        assignment.owners[shard] === index || arriving.has(shard) || this.clients[shard]! > 0;
      if (isNeeded) {
        this.#unneeded.delete(shard);
        if (!this.subscribed.has(shard)) this.subscribed.set(shard, nowMs + this.proofMs());
      } else if (this.subscribed.has(shard)) {
        if (!this.#unneeded.has(shard)) this.#unneeded.set(shard, nowMs);
        if (nowMs < this.#unneeded.get(shard)! + LINGER_MS) continue;
        this.onUnsubscribe(shard);
        this.subscribed.delete(shard);
        this.#unneeded.delete(shard);
      }
    }
  }

  moveReport(nowMs: number): MoveReport {
    const moves = this.assignment?.moves ?? [];
    return {
      edgeId: this.id,
      under: this.assignment?.position ?? ORIGIN,
      acquired: moves.flatMap(({ shard, to, phase }) =>
        to === this.id && phase === 'acquiring' && this.isSubscribed(nowMs, shard) ? [shard] : [],
      ),
      released: moves.flatMap(({ shard, from, phase }) =>
        from === this.id && phase === 'handing-over' && !this.subscribed.has(shard) ? [shard] : [],
      ),
    };
  }

  loadReport(): LoadReport {
    const factor = this.reportFault === 'zero' ? 0 : this.reportFault === 'tenfold' ? 10 : 1;
    const shards: ShardReport[] = [];
    let connections = 0;
    for (let shard = 0; shard < this.shardCount; shard++) {
      const count = this.clients[shard]! * factor;
      if (count === 0) continue;
      shards.push({ shard, connections: count, messagesPerSecond: 0 });
      connections += count;
    }
    const under = this.assignment?.position ?? ORIGIN;
    const truth = { under, connections, shards };
    if (this.reportFault === 'garbage') return { ...truth, connections: Number.NaN };
    if (this.reportFault !== 'frozen') this.#frozenLoads = undefined;
    this.#frozenLoads ??= truth;
    return { ...(this.reportFault === 'frozen' ? this.#frozenLoads : truth), under };
  }

  /** Ends the process. Returns the clients that were connected, by shard. */
  die(): Float64Array {
    const lost = Float64Array.from(this.clients);
    this.isUp = false;
    this.assignment = undefined;
    this.subscribed.clear();
    this.#unneeded.clear();
    this.clients.fill(0);
    return lost;
  }

  start(nowMs: number): void {
    this.isUp = true;
    this.incarnation++;
    this.startedAtMs = nowMs;
  }
}
