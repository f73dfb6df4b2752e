/** Metrics of a control about the assignment, its leadership and the edges. */
import type { Metrics } from '../../common/process/metrics.js';
import { edgesDesired } from '../membership/edges-desired.js';
import type { Controller } from './controller.js';

export function addControllerGauges(
  metrics: Metrics,
  controller: Controller,
  shardCount: number,
): void {
  metrics.gauge(
    'longline_control_assignment_epoch',
    'Epoch of the newest assignment',
    () => controller.current?.position.epoch ?? 0,
  );
  metrics.gauge('longline_control_shards_unowned', 'Shards without an owner', () =>
    countUnowned(controller, shardCount),
  );
  metrics.gauge('longline_control_leader', '1 while this control leads, else 0', () =>
    Number(controller.term !== undefined),
  );
  metrics.gauge(
    'longline_control_moves_in_flight',
    'Shards moving between edges',
    () => controller.current?.moves.length ?? 0,
  );
  metrics.gauge(
    'longline_control_moves_pending',
    'Planned moves that have not started',
    () => controller.term?.planner.queue.length ?? 0,
  );
  metrics.gauge(
    'longline_control_goaways_per_second',
    'GOAWAYs per second that edges may send for moves and drains',
    () => controller.pace.perSecond,
  );
  metrics.gauge(
    'longline_control_frozen',
    '1 while decisions are frozen because most edges vanished at once, else 0',
    () => Number(controller.term?.membership.frozenUntilMs !== undefined),
  );
  addEdgeGauges(metrics, controller);
}

function addEdgeGauges(metrics: Metrics, controller: Controller): void {
  metrics.gauges(
    'longline_control_edges',
    'Edges by state: alive, suspect, or dead for less than 15 minutes',
    'state',
    () => {
      const counts = new Map([
        ['alive', 0],
        ['suspect', 0],
        ['dead', 0],
      ]);
      for (const { state } of controller.edges) counts.set(state.type, counts.get(state.type)! + 1);
      return counts;
    },
  );
  metrics.gauge(
    'longline_control_edges_desired',
    'Edges needed for the connected clients, only on a leader that knows all connections',
    () => edgesDesired(controller.edges),
  );
}

function countUnowned({ current }: Controller, shardCount: number): number {
  if (current === undefined) return shardCount;
  return current.owners.filter((owner) => owner >= current.edges.length).length;
}
