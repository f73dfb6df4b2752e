/** Responses of the operator API as protobuf messages. */
import type { Intent, Move } from '../../common/cluster/assignment.js';
import {
  EdgeIntent,
  MovePhase,
  type Move as WireMove,
} from '../../proto/gen/longline/v1/assignment.js';
import {
  type Edge,
  EdgeState,
  type Event,
  type Inbox,
  type LocateClientResponse,
  type Moves,
  type RebalancePlan,
} from '../../proto/gen/longline/v1/operator.js';
import type { ClientResponse, EdgeInfo, InboxResponse } from './cluster-responses.js';
import type { EventInfo, MovesResponse, PlanResponse } from './operation-responses.js';

const STATES = {
  alive: EdgeState.EDGE_STATE_ALIVE,
  suspect: EdgeState.EDGE_STATE_SUSPECT,
  dead: EdgeState.EDGE_STATE_DEAD,
};

export const INTENTS: Readonly<Record<Intent, EdgeIntent>> = {
  none: EdgeIntent.EDGE_INTENT_UNSPECIFIED,
  cordoned: EdgeIntent.EDGE_INTENT_CORDONED,
  draining: EdgeIntent.EDGE_INTENT_DRAINING,
};

const PHASES = {
  acquiring: MovePhase.MOVE_PHASE_ACQUIRING,
  'handing-over': MovePhase.MOVE_PHASE_HANDING_OVER,
};

/** Returns undefined for an unknown value. */
export function intentOf(wire: EdgeIntent): Intent | undefined {
  return (Object.keys(INTENTS) as Intent[]).find((intent) => INTENTS[intent] === wire);
}

/** Version 1 of the protobuf messages cannot express unknown counts of an edge: they are 0. */
export function edgeToWire(edge: EdgeInfo): Edge {
  return {
    ...edge,
    state: STATES[edge.state],
    intent: INTENTS[edge.intent ?? 'none'],
    capacity: edge.capacity ?? 0,
    shardsSubscribed: edge.shardsSubscribed ?? 0,
    connections: edge.connections ?? 0,
    guests: edge.guests ?? 0,
    ready: edge.ready ?? false,
    lastReportAtMs: edge.lastReportAtMs ?? 0,
    lastReportAgeMs: edge.lastReportAgeMs ?? undefined,
    eventLoopLagMs: edge.eventLoopLagMs ?? undefined,
    memoryBytes: edge.memoryBytes ?? undefined,
    gaps: edge.gaps ?? undefined,
    version: edge.version ?? '',
    commit: edge.commit ?? '',
  };
}

function inboxToWire(inbox: InboxResponse): Inbox {
  return {
    count: inbox.count,
    bytes: inbox.bytes,
    oldestId: inbox.oldestId ?? '',
    oldestAgeMs: inbox.oldestAgeMs ?? undefined,
    oldestTtlMs: inbox.oldestTtlMs ?? undefined,
    newestId: inbox.newestId ?? '',
    confirmedId: inbox.confirmedId ?? '',
    goneId: inbox.goneId ?? '',
    ttlMs: inbox.ttlMs ?? undefined,
  };
}

export function clientToWire(client: ClientResponse): LocateClientResponse {
  const { owner, ownerUrl, move, inbox } = client;
  return {
    ...client,
    owner: owner ?? '',
    ownerUrl: ownerUrl ?? '',
    move: move === null ? undefined : moveToWire(move),
    inbox: inbox === null ? undefined : inboxToWire(inbox),
  };
}

function moveToWire({ shard, from, to, phase }: Move): WireMove {
  return { shard, from, to, phase: PHASES[phase] };
}

export function movesToWire(moves: MovesResponse): Moves {
  return {
    ...moves,
    frozenUntilMs: moves.frozenUntilMs ?? undefined,
    frozenRemainingMs: moves.frozenRemainingMs ?? undefined,
    secondsRemaining: moves.secondsRemaining ?? undefined,
    inFlight: moves.inFlight.map((move) => ({
      move: moveToWire(move),
      clientsRemaining: move.clientsRemaining ?? undefined,
    })),
    drains: moves.drains.map((drain) => ({
      ...drain,
      clientsRemaining: drain.clientsRemaining ?? undefined,
      delayedBy: drain.delayedBy ?? '',
      waitingFor: drain.waitingFor ?? undefined,
      secondsRemaining: drain.secondsRemaining ?? undefined,
    })),
  };
}

export function planToWire({ maxOverMean, ...plan }: PlanResponse): RebalancePlan {
  return {
    ...plan,
    maxOverMeanBefore: maxOverMean.before,
    maxOverMeanAfter: maxOverMean.after,
    secondsRemaining: plan.secondsRemaining ?? undefined,
  };
}

export function eventToWire({ intent, ...event }: EventInfo): Event {
  const { edgeId = '', from = '', to = '', action = '', actor = '', reason = '' } = event;
  const { controlId = '', clientId = '', messageId = '', detail = '' } = event;
  const texts = { edgeId, from, to, action, actor, reason, controlId, clientId, messageId, detail };
  return { ...event, ...texts, intent: intent && INTENTS[intent] };
}
