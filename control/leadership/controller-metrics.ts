/** Metrics of a control about the assignment, its leadership and the edges. */
import type { Metrics } from '../../common/process/metrics.js';
import type { EdgeRecord } from '../membership/edge-record.js';
import { edgesDesired } from '../membership/edges-desired.js';
import type { Controller } from './controller.js';
import { countBuilds, differingSettings, membersOf } from './members.js';
import { isSilent, type Replica } from './replicas.js';

export function addControllerGauges(
  metrics: Metrics,
  controller: Controller,
  shardCount: number,
  controls: () => readonly Replica[],
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
  metrics.gauge('longline_control_moves_paused', '1 while moves are paused, else 0', () =>
    Number(controller.term?.planner.isPaused ?? false),
  );
  addEdgeGauges(metrics, controller);
  addMemberGauges(metrics, controller, controls);
}

/** Only the leader knows them: 0 on the others. */
function addMemberGauges(
  metrics: Metrics,
  controller: Controller,
  controls: () => readonly Replica[],
): void {
  const members = () => {
    if (controller.term === undefined) return [];
    const { edges, history } = controller;
    return membersOf({ edges, routers: history.routers, controls: controls() });
  };
  metrics.gauge(
    'longline_control_settings_differing',
    'Settings that are not alike in all processes, only on the leader',
    () => differingSettings(members()).length,
  );
  metrics.gauge(
    'longline_control_builds',
    'Builds of Longline among all processes, only on the leader',
    () => countBuilds(members()),
  );
  metrics.gauge(
    'longline_control_silent_controls',
    'Controls that have not noted themselves in Redis for 15 seconds, for a minute',
    () => controls().filter(isSilent).length,
  );
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
  const countEdges = (is: (edge: EdgeRecord) => boolean) => controller.edges.filter(is).length;
  metrics.gauge('longline_control_edges_unready', 'Edges that are alive and not ready', () =>
    countEdges(({ state, counts }) => state.type === 'alive' && counts?.ready === false),
  );
  metrics.gauge(
    'longline_control_edges_degraded',
    'Edges on which something does not work, as their reasons say',
    () => countEdges(({ counts }) => (counts?.reasons?.length ?? 0) > 0),
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
