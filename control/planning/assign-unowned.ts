/** Immediate owners for shards whose edge has left the cluster. Pure. */
import type { Content } from '../../common/cluster/assignment.js';
import { placeUnownedShards } from '../placement/placement.js';
import { ProjectedLoads } from '../placement/projected-loads.js';
import type { PlanInputs } from './plan.js';

/**
 * Assigns unowned shards at once, without moves, because no edge serves them. Unlike balancing it
 * is limited by capacity only.
 * @param owners with NO_OWNER for each unowned shard
 */
export function assignUnowned(
  content: Content,
  owners: Uint16Array,
  inputs: Pick<PlanInputs, 'edges' | 'loads'>,
): Uint16Array {
  // An edge that should get no shards is better than none.
  const preferences = [
    (index: number) => inputs.edges[index]!.isAlive && content.edges[index]!.intent === 'none',
    (index: number) => inputs.edges[index]!.isAlive,
    () => true,
  ];
  const isEligible =
    preferences.find((test) => content.edges.some((_, index) => test(index))) ?? preferences[0]!;
  const edges = inputs.edges.map(({ id, capacity }, index) => ({
    id,
    capacity,
    isEligible: isEligible(index),
  }));
  const projected = new ProjectedLoads(edges, owners, inputs.loads);
  placeUnownedShards(projected);
  return projected.owners;
}
