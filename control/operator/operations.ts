/**
 * Operations on moves for the operator API: adapts the leader's `Operations` to the responses of
 * the API. HTTP and gRPC share it, and authorise the caller before.
 */
import type { z } from 'zod';
import type { Intent } from '../../common/cluster/assignment.js';
import type { Rejection } from '../../common/process/errors.js';
import { unixMs } from '../../common/process/time/clock.js';
import type {
  Audit,
  LoggedEvent,
  MovesInfo,
  Operations,
  PlanInfo,
} from '../leadership/operations.js';
import type { ReturnedClients } from '../pace/drain-progress.js';
import type { EventInfo, MovesResponse, PlanResponse } from './operation-responses.js';
import type { cordonBody, drainBody, rebalanceBody } from './request-bodies.js';

/** Operations without parameters, by their HTTP path. */
const METHODS = {
  pause: 'pause',
  resume: 'resume',
  abort: 'abort',
  'confirm-lost-edges': 'confirmLostEdges',
} as const;

/** Clocks of controls differ, and the ids of a burst of events run ahead of the time. */
const FUTURE_MS = 60_000;

export type SimpleOperation = keyof typeof METHODS;

export class OperationsApi {
  constructor(readonly operations: Operations) {}

  moves(): MovesResponse {
    return describeMoves(this.operations.moves());
  }

  plan(): PlanResponse | Rejection {
    return describePlan(this.operations.plan());
  }

  rebalance(
    { on, reason }: z.infer<typeof rebalanceBody>,
    actor: string,
  ): PlanResponse | Rejection {
    return describePlan(this.operations.rebalance(on, { actor, reason }));
  }

  /** Returns the moves after the operation. */
  perform(operation: SimpleOperation, by: Audit): MovesResponse | Rejection {
    return this.operations[METHODS[operation]](by) ?? this.moves();
  }

  setIntent(
    edgeId: string,
    intent: Intent,
    {
      rate,
      deadlineMs,
      force,
      reason,
    }: Partial<z.infer<typeof drainBody>> & z.infer<typeof cordonBody>,
    actor: string,
  ): { edgeId: string; intent: Intent } | Rejection {
    const options = { perSecondMax: rate, deadlineMs, isForced: force };
    return (
      this.operations.setIntent(edgeId, intent, options, { actor, reason }) ?? { edgeId, intent }
    );
  }

  /**
   * Returns the stored events after an id. An id that lies in the future is from the log of another
   * cluster or of a control with a wrong clock: then all events are new.
   */
  eventsAfter(after: number): EventInfo[] {
    return this.operations.eventsAfter(this.#knownId(after)).map(describeEvent);
  }

  /**
   * Calls `onEvent` for the stored events after an id and for every later event.
   * @returns the function that ends it
   */
  followEvents(after: number, onEvent: (event: EventInfo) => void): () => void {
    const known = this.#knownId(after);
    for (const event of this.eventsAfter(known)) onEvent(event);
    return this.operations.watchEvents((event) => {
      // A control that follows the leader may be behind the one that the caller used before.
      if (event.id > known) onEvent(describeEvent(event));
    });
  }

  /** Ids are Unix times in ms, or slightly above. */
  #knownId(after: number): number {
    const newest = this.operations.eventsAfter(0).at(-1)?.id ?? 0;
    return after > Math.max(newest, unixMs()) + FUTURE_MS ? 0 : after;
  }
}

function describeMoves(moves: MovesInfo): MovesResponse {
  const { isPaused, inFlight, drains, frozenRemainingMs, ...info } = moves;
  const remainingMs = frozenRemainingMs === undefined ? null : Math.round(frozenRemainingMs);
  return {
    ...info,
    paused: isPaused,
    frozenUntilMs: remainingMs === null ? null : unixMs() + remainingMs,
    frozenRemainingMs: remainingMs,
    secondsRemaining: finiteOrNull(info.secondsRemaining),
    inFlight: inFlight.map((move) => ({
      ...move,
      clientsRemaining: move.clientsRemaining ?? null,
    })),
    drains: drains.map(({ isFinished, ...drain }) => ({
      ...drain,
      clientsRemaining: drain.clientsRemaining ?? null,
      delayedBy: drain.delayedBy ?? null,
      waitingFor: drain.waitingFor ? copyOf(drain.waitingFor) : null,
      secondsRemaining: finiteOrNull(drain.secondsRemaining),
      finished: isFinished,
    })),
  };
}

function describePlan(plan: PlanInfo | Rejection): PlanResponse | Rejection {
  if ('code' in plan) return plan;
  return {
    ...plan,
    transfers: plan.transfers.map((transfer) => ({ ...transfer, shards: [...transfer.shards] })),
    irreducible: [...plan.irreducible],
    secondsRemaining: finiteOrNull(plan.secondsRemaining),
  };
}

function describeEvent({ entry, ...event }: LoggedEvent): EventInfo {
  return { ...event, ...entry };
}

function copyOf({ clients, clientIds }: ReturnedClients) {
  return { clients, clientIds: [...clientIds] };
}

/** At a pace of 0 the estimate is infinite, which JSON cannot express. */
function finiteOrNull(seconds: number | undefined): number | null {
  return seconds !== undefined && Number.isFinite(seconds) ? seconds : null;
}
