/**
 * Whether an edge has converged since its process started: it has its share of the shards, and none
 * are moving to it or away from it. A rolling replacement of edges waits for that before the next
 * edge, so that no client has to move twice. Pure.
 *
 * Once reached, it holds for the life of the process: later moves are normal operation. It is not
 * waited for when nothing moves at all, because moves are paused or no control is there to start
 * them.
 */
import { type Assignment, shardsOf } from '../../common/cluster/assignment.js';

/** By then control has made a new plan and started to move shards to an edge that has joined. */
const QUIET_MS = 30_000;

export class Convergence {
  #hasConverged = false;
  #quietSinceMs: number | undefined;

  /** @param incarnation of this process */
  constructor(
    readonly edgeId: string,
    readonly incarnation: string,
  ) {}

  /** Why the edge has not converged; empty when it has. To be called repeatedly. */
  notConvergedReasons(nowMs: number, assignment: Assignment | undefined): readonly string[] {
    if (this.#hasConverged) return [];
    const reason = this.#reason(nowMs, assignment);
    this.#hasConverged = reason === undefined;
    return reason === undefined ? [] : [reason];
  }

  #reason(nowMs: number, assignment: Assignment | undefined): string | undefined {
    const own = assignment?.edges.find(({ id }) => id === this.edgeId);
    if (assignment === undefined || own === undefined) {
      return 'the edge is not part of an assignment yet';
    }
    // An edge that operators cordon or drain receives no shards. The intent may still be that of
    // the previous process, which has ended a moment ago; it does not apply to this one.
    if (own.intent !== 'none' && own.incarnation === this.incarnation) return undefined;
    const moving = assignment.moves.filter((move) =>
      [move.from, move.to].includes(this.edgeId),
    ).length;
    if (moving > 0) {
      this.#quietSinceMs = undefined;
      return `${moving} shards are moving to or from the edge`;
    }
    const owned = shardsOf(assignment, this.edgeId).length;
    const sharing = assignment.edges.filter(({ intent }) => intent === 'none').length;
    const half = assignment.owners.length / sharing / 2;
    if (owned >= half) return undefined;
    this.#quietSinceMs ??= nowMs;
    if (nowMs - this.#quietSinceMs >= QUIET_MS) return undefined;
    return `the edge owns ${owned} shards and waits for more`;
  }
}
