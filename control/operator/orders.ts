/**
 * What operators see and do of moves, in the words of their API. Served over HTTP and gRPC alike;
 * who may is decided there.
 */
import type { z } from 'zod';
import type { Intent } from '../../common/cluster/assignment.js';
import type { Refusal } from '../../common/process/errors.js';
import type { EventInfo, MovesAnswer, PlanAnswer } from './operation-answers.js';
import type { Audit, LoggedEvent, MovesInfo, PlanInfo, Steering } from './operations.js';
import type { cordonBody, drainBody, rebalanceBody } from './requests.js';

export class OperatorOrders {
  constructor(readonly steering: Steering) {}

  moves(): MovesAnswer {
    return describeMoves(this.steering.moves());
  }

  plan(): PlanAnswer | Refusal {
    return describePlan(this.steering.plan());
  }

  rebalance({ on, reason }: z.infer<typeof rebalanceBody>, who: string): PlanAnswer | Refusal {
    return describePlan(this.steering.rebalance(on, { who, reason }));
  }

  /** What moves then. */
  tell(order: 'pause' | 'resume' | 'abort' | 'believe', by: Audit): MovesAnswer | Refusal {
    return this.steering[order](by) ?? this.moves();
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
    who: string,
  ): { edgeId: string; intent: Intent } | Refusal {
    const options = { perSecondMax: rate, deadlineMs, isForced: force };
    return this.steering.setIntent(edgeId, intent, options, { who, reason }) ?? { edgeId, intent };
  }

  /**
   * The events after one. An id that has not been given yet is from the log of another control, or
   * of another life of this one: all is new then.
   */
  eventsAfter(after: number): EventInfo[] {
    const kept = this.steering.eventsAfter(0);
    const newest = kept.at(-1)?.id ?? 0;
    return kept.filter(({ id }) => after > newest || id > after).map(describeEvent);
  }

  /** Hears the events after one that are still kept, and each later one until it is called off. */
  followEvents(after: number, onEvent: (event: EventInfo) => void): () => void {
    for (const event of this.eventsAfter(after)) onEvent(event);
    return this.steering.watchEvents((event) => onEvent(describeEvent(event)));
  }
}

function describeMoves({ isPaused, inFlight, drains, ...info }: MovesInfo): MovesAnswer {
  return {
    ...info,
    paused: isPaused,
    frozenUntilMs: info.frozenUntilMs ?? null,
    secondsLeft: finite(info.secondsLeft),
    inFlight: inFlight.map((move) => ({ ...move, clientsLeft: move.clientsLeft ?? null })),
    drains: drains.map(({ isFinished, ...drain }) => ({
      ...drain,
      clientsLeft: drain.clientsLeft ?? null,
      secondsLeft: finite(drain.secondsLeft),
      finished: isFinished,
    })),
  };
}

function describePlan(plan: PlanInfo | Refusal): PlanAnswer | Refusal {
  if ('code' in plan) return plan;
  return {
    ...plan,
    transfers: plan.transfers.map((transfer) => ({ ...transfer, shards: [...transfer.shards] })),
    irreducible: [...plan.irreducible],
    secondsLeft: finite(plan.secondsLeft),
  };
}

function describeEvent({ entry, ...event }: LoggedEvent): EventInfo {
  return { ...event, ...entry };
}

/** At a pace of nothing it takes for ever, which no number says. */
function finite(seconds: number | undefined): number | null {
  return seconds !== undefined && Number.isFinite(seconds) ? seconds : null;
}
