/**
 * The flight record of a push: its steps, each with a time of the router's clock. Pure.
 *
 * What happened in another process is known in two ways. It happened between two moments that the
 * router has seen itself: certain, however the clocks are set. And that process has sent the time
 * of its own clock, whose difference from the clock of the router is known with an error. Where
 * both agree, each narrows the other; where they do not, a clock was set, and only the first
 * counts.
 */
import { type ClockReading, monotonicOf } from '../../../common/process/time/clock-offset.js';
import {
  FlightEvent,
  type FlightRecord,
  type FlightStep,
} from '../../../proto/gen/longline/v1/push.js';

/** A time that is known to lie between two, in ms of the monotonic clock. */
export interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/** A time by the clock of Redis. */
interface RedisTime {
  readonly ms: number;
  readonly errorMs: number;
}

export interface EdgeReply {
  readonly edgeId: string;
  readonly isWritten: boolean;
  /** When the edge had read the push. Undefined: it did not say. */
  readonly heard: RedisTime | undefined;
  /** From then until it was written, or was not. */
  readonly tookMs: number;
  /** When the reply had arrived, in ms of the monotonic clock. */
  readonly repliedMs: number;
}

/**
 * Facts that a router knows about a push. Times are of its monotonic clock, if not said otherwise.
 */
export interface FlightFacts {
  readonly routerId: string;
  /** Address of the master of Redis; empty: unknown. */
  readonly master: string;
  /** The clock of that master. Undefined: unknown. */
  readonly redisClock: ClockReading | undefined;
  readonly receivedMs: number;
  readonly isDurable: boolean;
  /** Whether Redis may have published the push: not so for a duplicate. */
  readonly isPublished: boolean;
  /** When the push was stored, in whole ms by the clock of Redis. Undefined: unknown. */
  readonly storedRedisMs: number | undefined;
  /** When Redis had replied. Undefined: it has not. */
  readonly acceptedMs: number | undefined;
  readonly replies: readonly EdgeReply[];
  /** When Redis had the confirmation of the device. Undefined: not asked for, or it has not. */
  readonly confirmed: Span | undefined;
  readonly answeredMs: number;
}

type Step = Span & Pick<FlightStep, 'event' | 'place'>;

export function flightRecordOf(facts: FlightFacts): FlightRecord {
  const { routerId, receivedMs, answeredMs, acceptedMs, confirmed } = facts;
  const at = (event: FlightEvent, ms: number): Step => {
    return { event, place: routerId, fromMs: ms, toMs: ms };
  };
  const steps = publishedSteps(facts);
  steps.push(at(FlightEvent.FLIGHT_EVENT_RECEIVED, receivedMs));
  if (acceptedMs !== undefined) steps.push(at(FlightEvent.FLIGHT_EVENT_ACCEPTED, acceptedMs));
  if (confirmed !== undefined) {
    const { fromMs, toMs } = confirmed;
    const event = FlightEvent.FLIGHT_EVENT_CONFIRMED;
    steps.push({ event, place: facts.master, fromMs, toMs });
  }
  steps.push(at(FlightEvent.FLIGHT_EVENT_ANSWERED, answeredMs));
  const middle = ({ fromMs, toMs }: Span) => (fromMs + toMs) / 2;
  steps.sort((a, b) => middle(a) - middle(b) || a.event - b.event);
  return {
    steps: steps.map((step) => ({
      event: step.event,
      place: step.place,
      afterUs: Math.max(0, Math.round((middle(step) - receivedMs) * 1_000)),
      errorUs: Math.ceil(((step.toMs - step.fromMs) / 2) * 1_000),
    })),
  };
}

/** The steps in Redis and in the edges. */
function publishedSteps(facts: FlightFacts): Step[] {
  const { master, redisClock, receivedMs, acceptedMs, answeredMs, replies } = facts;
  const isKnown = acceptedMs !== undefined || replies.length > 0;
  if (!facts.isPublished || !isKnown) return [];
  const heardBy = replies.map(({ repliedMs, tookMs }) => repliedMs - tookMs);
  const certain = {
    fromMs: receivedMs,
    toMs: Math.min(acceptedMs ?? answeredMs, ...heardBy.map((ms) => Math.max(ms, receivedMs))),
  };
  const { storedRedisMs } = facts;
  const { fromMs, toMs } = narrow(
    certain,
    redisClock,
    // Redis tells whole milliseconds.
    storedRedisMs === undefined ? undefined : { ms: storedRedisMs + 0.5, errorMs: 0.5 },
  );
  const steps: Step[] = [];
  if (facts.isDurable) {
    steps.push({ event: FlightEvent.FLIGHT_EVENT_STORED, place: master, fromMs, toMs });
  }
  steps.push({ event: FlightEvent.FLIGHT_EVENT_PUBLISHED, place: master, fromMs, toMs });
  for (const [i, { edgeId, isWritten, heard, tookMs, repliedMs }] of replies.entries()) {
    const read = narrow({ fromMs, toMs: Math.max(heardBy[i]!, fromMs) }, redisClock, heard);
    steps.push(
      {
        event: FlightEvent.FLIGHT_EVENT_HEARD,
        place: edgeId,
        fromMs: read.fromMs,
        toMs: read.toMs,
      },
      {
        event: isWritten ? FlightEvent.FLIGHT_EVENT_WRITTEN : FlightEvent.FLIGHT_EVENT_NOT_WRITTEN,
        place: edgeId,
        fromMs: read.fromMs + tookMs,
        toMs: read.toMs + tookMs,
      },
      {
        event: FlightEvent.FLIGHT_EVENT_REPLIED,
        place: facts.routerId,
        fromMs: repliedMs,
        toMs: repliedMs,
      },
    );
  }
  return steps;
}

/**
 * The part of a certain span in which a time by the clock of Redis lies; all of it if there is
 * none.
 */
function narrow(certain: Span, clock: ClockReading | undefined, time: RedisTime | undefined): Span {
  if (clock === undefined || time === undefined) return certain;
  const { ms, errorMs } = monotonicOf(clock, time.ms);
  const fromMs = Math.max(certain.fromMs, ms - errorMs - time.errorMs);
  const toMs = Math.min(certain.toMs, ms + errorMs + time.errorMs);
  return fromMs <= toMs ? { fromMs, toMs } : certain;
}
