/**
 * The edges whose session with this control has broken and that the assignment may still list.
 * Routers that watch them check such an edge before they send a device to it.
 */
import type { EdgeIdentity } from '../../common/cluster/assignment.js';
import type { EdgeRecord } from '../membership/edge-record.js';

export type EdgeProcess = Pick<EdgeIdentity, 'id' | 'incarnation'>;

type Watcher = (edges: readonly EdgeProcess[]) => void;

export class SuspectEdges {
  #current: readonly EdgeProcess[] = [];
  readonly #watchers = new Set<Watcher>();

  /** @param edges all that membership knows; empty while this control does not lead */
  update(edges: readonly EdgeRecord[]): void {
    // An edge that has had no session with this control is unknown, not suspect.
    const suspects = edges
      .filter(({ state, heardAtMs }) => state.type !== 'alive' && heardAtMs !== undefined)
      .map(({ id, incarnation }) => ({ id, incarnation }));
    if (isSame(suspects, this.#current)) return;
    this.#current = suspects;
    for (const watcher of this.#watchers) watcher(suspects);
  }

  /** Calls `onChange` with the current edges, and then at every change. */
  watch(onChange: Watcher): () => void {
    this.#watchers.add(onChange);
    onChange(this.#current);
    return () => this.#watchers.delete(onChange);
  }
}

function isSame(a: readonly EdgeProcess[], b: readonly EdgeProcess[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ id, incarnation }, i) => id === b[i]!.id && incarnation === b[i]!.incarnation)
  );
}
