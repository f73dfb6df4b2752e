/**
 * The version of the assignment in which each shard got its owner. The assignment itself does not
 * contain it, so a control knows only what has changed since it started. A control that does not
 * lead may skip versions; then the next version that it reads counts. Pure.
 */
import { type Assignment, type Content, NO_OWNER } from '../../common/cluster/assignment.js';
import type { Position } from '../../common/wire/position.js';

export class OwnerVersions {
  /** By shard. Undefined: it has had its owner since before this control started. */
  readonly #ownedSince: (Position | undefined)[];

  constructor(shardCount: number) {
    this.#ownedSince = new Array(shardCount).fill(undefined);
  }

  /** By shard; of a shard without an owner: the version in which it lost it. */
  get ownedSince(): readonly (Position | undefined)[] {
    return this.#ownedSince;
  }

  /**
   * To be called with each assignment but the first one, if another control has written that.
   * @param before undefined: there was none
   */
  onAssignment(before: Content | undefined, { edges, owners, position }: Assignment): void {
    const indexes = new Map(before?.edges.map(({ id }, index) => [id, index]));
    /** By index of an edge now: its index before. */
    const indexesBefore = edges.map(({ id }) => indexes.get(id));
    for (const [shard, owner] of owners.entries()) {
      const ownerBefore = before?.owners[shard];
      const isSame =
        ownerBefore !== undefined &&
        (owner === NO_OWNER ? NO_OWNER : indexesBefore[owner]) === ownerBefore;
      if (!isSame) this.#ownedSince[shard] = position;
    }
  }
}
