/**
 * What operators see and do of moves, in the words of their API. Served over HTTP and gRPC alike;
 * who may is decided there.
 */
import type { z } from 'zod';
import type { Intent } from '../../common/cluster/assignment.js';
import type { Rejection } from '../../common/process/errors.js';
import type { EventInfo, MovesAnswer, PlanAnswer } from './operation-answers.js';
import type { Audit, LoggedEvent, MovesInfo, Operations, PlanInfo } from '../leadership/operations.js';
import type { cordonBody, drainBody, rebalanceBody } from './requests.js';

/** Orders by their HTTP path, with the operation that each names. */
const ORDERS = {
  pause: 'pause',
  resume: 'resume',
  abort: 'abort',
  'confirm-lost-edges': 'confirmLostEdges',
} as const;

export class OperatorOrders {
  constructor(readonly operations: Operations) {}

  moves(): MovesAnswer {
    return describeMoves(this.operations.moves());
  }

  plan(): PlanAnswer | Rejection {
    return describePlan(this.operations.plan());
  }

  rebalance({ on, reason }: z.infer<typeof rebalanceBody>, actor: string): PlanAnswer | Rejection {
    return describePlan(this.operations.rebalance(on, { actor, reason }));
  }

  /** What moves then. */
  tell(order: keyof typeof ORDERS, by: Audit): MovesAnswer | Rejection {
    return this.operations[ORDERS[order]](by) ?? this.moves();
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
   * The events after one. An id that has not been given yet is from the log of another control, or
   * of another life of this one: all is new then.
   */
  eventsAfter(after: number): EventInfo[] {
    const kept = this.operations.eventsAfter(0);
    const newest = kept.at(-1)?.id ?? 0;
    return kept.filter(({ id }) => after > newest || id > after).map(describeEvent);
  }

  /** Hears the events after one that are still kept, and each later one until it is called off. */
  followEvents(after: number, onEvent: (event: EventInfo) => void): () => void {
    for (const event of this.eventsAfter(after)) onEvent(event);
    return this.operations.watchEvents((event) => onEvent(describeEvent(event)));
  }
}

function describeMoves({ isPaused, inFlight, drains, ...info }: MovesInfo): MovesAnswer {
  return {
    ...info,
    paused: isPaused,
    frozenUntilMs: info.frozenUntilMs ?? null,
    secondsRemaining: finite(info.secondsRemaining),
    inFlight: inFlight.map((move) => ({
      ...move,
      clientsRemaining: move.clientsRemaining ?? null,
    })),
    drains: drains.map(({ isFinished, ...drain }) => ({
      ...drain,
      clientsRemaining: drain.clientsRemaining ?? null,
      secondsRemaining: finite(drain.secondsRemaining),
      finished: isFinished,
    })),
  };
}

function describePlan(plan: PlanInfo | Rejection): PlanAnswer | Rejection {
  if ('code' in plan) return plan;
  return {
    ...plan,
    transfers: plan.transfers.map((transfer) => ({ ...transfer, shards: [...transfer.shards] })),
    irreducible: [...plan.irreducible],
    secondsRemaining: finite(plan.secondsRemaining),
  };
}

function describeEvent({ entry, ...event }: LoggedEvent): EventInfo {
  return { ...event, ...entry };
}

/** At a pace of nothing it takes for ever, which no number says. */
function finite(seconds: number | undefined): number | null {
  return seconds !== undefined && Number.isFinite(seconds) ? seconds : null;
}
