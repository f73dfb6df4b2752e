/**
 * What control logs about edges and moves. A dead edge is a warning. Moves are too many for a line
 * each at the level info: they are at debug, and a summary of them is at info.
 */
import type { Assignment } from '../../common/cluster/assignment.js';
import type { Logger } from '../../common/process/log.js';
import type { EdgeRecord } from '../membership/edge-record.js';
import type { Change, MoveChange } from './changes.js';

const SUMMARY_INTERVAL_MS = 10_000;

export class ClusterLogger {
  /** Since the last summary. */
  readonly #moves = new Map<MoveChange['type'], number>();
  #summarizedAtMs = Number.NEGATIVE_INFINITY;
  #dead: ReadonlySet<string> = new Set();
  #shuttingDown: ReadonlySet<string> = new Set();

  constructor(readonly log: Logger) {}

  onAssignment({ position, edges, moves }: Assignment, changes: readonly Change[]): void {
    let onlyMoves = changes.length > 0;
    for (const change of changes) {
      if (isMove(change)) {
        this.#moves.set(change.type, (this.#moves.get(change.type) ?? 0) + 1);
        this.log.debug(change, 'move');
      } else {
        onlyMoves = false;
      }
    }
    const ids = edges.map((edge) => edge.id);
    const level = onlyMoves ? 'debug' : 'info';
    this.log[level]({ position, edges: ids, moves: moves.length }, 'new assignment');
  }

  /** Must be called about once per second. */
  tick(nowMs: number, inFlight: number): void {
    if (this.#moves.size === 0 || nowMs < this.#summarizedAtMs + SUMMARY_INTERVAL_MS) return;
    this.#summarizedAtMs = nowMs;
    this.log.info({ ...Object.fromEntries(this.#moves), inFlight }, 'moves since the last summary');
    this.#moves.clear();
  }

  /** @param edges all that membership knows, after each step */
  onEdges(nowMs: number, edges: readonly EdgeRecord[]): void {
    const dead = new Set<string>();
    const shuttingDown = new Set<string>();
    for (const { id, state, counts, heardAtMs } of edges) {
      const isLeaving = counts === undefined ? this.#shuttingDown.has(id) : counts.shuttingDown;
      if (isLeaving) shuttingDown.add(id);
      if (state.type !== 'dead') continue;
      dead.add(id);
      if (this.#dead.has(id)) continue;
      if (isLeaving) {
        this.log.info({ edgeId: id }, `edge ${id} has left after its shutdown`);
        continue;
      }
      const silentMs = heardAtMs === undefined ? undefined : Math.round(nowMs - heardAtMs);
      this.log.warn({ edgeId: id, silentMs }, `edge ${id} is dead, other edges get its shards`);
    }
    this.#dead = dead;
    this.#shuttingDown = shuttingDown;
  }
}

function isMove(change: Change): change is MoveChange {
  return change.type.startsWith('move-');
}
