/** The pushes that are watched: for a flight record, for spans, or for both. */
import type { QueryObserver, SendResult } from '../../../common/cluster/shard-query.js';
import type { Rejection } from '../../../common/process/errors.js';
import type { TraceContext, Tracer } from '../../../common/process/tracing/tracer.js';
import type { RedisLink } from '../../../common/redis/redis-link.js';
import type { Reply, TraceBody } from '../../../proto/gen/longline/v1/envelope.js';
import type { PushRequest, PushResponse } from '../../../proto/gen/longline/v1/push.js';
import { Flight, type Route } from './flight.js';
import { PushSpans } from './push-spans.js';

/** A backend that may have a trace. */
export interface Caller {
  /** Undefined: it has none. */
  readonly traceContext: TraceContext | undefined;
}

interface PushTracesOptions {
  readonly routerId: string;
  /** Share of the pushes that get a flight record without asking for it. */
  readonly flightRecordShare: number;
  /** Undefined: there is no tracing. */
  readonly tracer: Tracer | undefined;
  readonly link: {
    readonly requirements: Pick<RedisLink['requirements'], 'clockOf'>;
    readonly subscriber: Pick<RedisLink['subscriber'], 'masterOf'>;
  };
  readonly channelOf: (clientId: string) => string;
}

export class PushTraces {
  constructor(readonly options: PushTracesOptions) {}

  /** Undefined: the push is not watched. */
  begin(
    request: PushRequest,
    caller: Caller | undefined,
    startedMs: number,
    isDurable: boolean,
  ): PushTrace | undefined {
    const { tracer, flightRecordShare } = this.options;
    const isRecorded = request.flightRecord || Math.random() < flightRecordShare;
    if (!isRecorded && tracer === undefined) return undefined;
    const routeOf = () => this.#routeOf(request.clientId);
    const parent = caller?.traceContext;
    const spans = tracer && PushSpans.begin(tracer, request, parent, routeOf, startedMs, isDurable);
    if (!isRecorded && spans === undefined) return undefined;
    const flight = isRecorded ? new Flight(routeOf(), startedMs, isDurable) : undefined;
    return new PushTrace(flight, spans);
  }

  #routeOf(clientId: string): Route {
    const { routerId, link, channelOf } = this.options;
    const master = link.subscriber.masterOf(channelOf(clientId)) ?? '';
    return { routerId, master, redisClock: link.requirements.clockOf(master) };
  }
}

export class PushTrace implements QueryObserver {
  /** The part of the envelope about it. */
  readonly body: TraceBody;

  constructor(
    readonly flight: Flight | undefined,
    readonly spans: PushSpans | undefined,
  ) {
    const { traceparent = '', tracestate = '' } = spans?.context ?? {};
    this.body = { timed: flight !== undefined, traceparent, tracestate };
  }

  onSent(result: SendResult): void {
    this.flight?.onSent(result);
    this.spans?.onSent(result);
  }

  onReply(edgeId: string, reply: Reply): void {
    this.flight?.onReply(edgeId, reply);
  }

  /** Adds the flight record to a response. */
  onAnswered(answer: PushResponse | Rejection): void {
    if (!('code' in answer)) answer.flightRecord = this.flight?.record(answer);
    this.spans?.onAnswered(answer);
  }
}
