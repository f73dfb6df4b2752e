/**
 * Whether an edge has settled since its process began: it has got its share of the shards, and nothing
 * is on its way to it or from it. Whoever replaces edges one after the other waits for that before the
 * next one, so that no client has to move twice for nothing. Pure.
 *
 * It is said once and then holds for the life of the process: later moves are everyday business. And it
 * is not waited for when nothing moves at all: moves are paused, or no control is there to make them.
 */
import { type Assignment, shardsOf } from '../../common/cluster/assignment.js';

/** By then control has planned anew and begun to move what an edge that has come is to have. */
const QUIET_MS = 30_000;

export class Convergence {
  #hasConverged = false;
  #quietSinceMs: number | undefined;

  /** @param incarnation of this process */
  constructor(
    readonly edgeId: string,
    readonly incarnation: string,
  ) {}

  /** Why the edge has not settled; undefined: it has. To be asked again and again. */
  notConvergedBecause(nowMs: number, assignment: Assignment | undefined): string | undefined {
    if (this.#hasConverged) return undefined;
    const reason = this.#reason(nowMs, assignment);
    this.#hasConverged = reason === undefined;
    return reason;
  }

  #reason(nowMs: number, assignment: Assignment | undefined): string | undefined {
    const me = assignment?.edges.find(({ id }) => id === this.edgeId);
    if (assignment === undefined || me === undefined) return 'no assignment knows the edge yet';
    // Nothing comes to an edge that operators keep empty. The process before this one may have ended
    // a moment ago, and that it was to be emptied says nothing of this one.
    if (me.intent !== 'none' && me.incarnation === this.incarnation) return undefined;
    const moving = assignment.moves.filter((move) =>
      [move.from, move.to].includes(this.edgeId),
    ).length;
    if (moving > 0) {
      this.#quietSinceMs = undefined;
      return `${moving} shards are moving to the edge or away from it`;
    }
    const owned = shardsOf(assignment, this.edgeId).length;
    const sharing = assignment.edges.filter(({ intent }) => intent === 'none').length;
    const half = assignment.owners.length / sharing / 2;
    if (owned >= half) return undefined;
    this.#quietSinceMs ??= nowMs;
    if (nowMs - this.#quietSinceMs >= QUIET_MS) return undefined;
    return `the edge owns ${owned} shards, and more are to come`;
  }
}
