/**
 * The spans of one push in the router, with the semantic conventions of OpenTelemetry for
 * messaging: the request of the backend, and in it the sending through Redis, whose context travels
 * in the envelope.
 */
import type { SendResult } from '../../../common/cluster/shard-query.js';
import type { Rejection } from '../../../common/process/errors.js';
import type { Span, TraceContext, Tracer } from '../../../common/process/tracing/tracer.js';
import {
  type PushRequest,
  type PushResponse,
  Verdict,
} from '../../../proto/gen/longline/v1/push.js';
import type { Route } from './flight.js';

export class PushSpans {
  /** Undefined: it has ended. */
  #sending: Span | undefined;

  private constructor(
    readonly request: Span,
    sending: Span | undefined,
    /** Context of the span that sends, for the edges. */
    readonly context: TraceContext,
  ) {
    this.#sending = sending;
  }

  /**
   * Undefined: the push is not sampled.
   * @param parent span of the backend; undefined: it has none
   */
  static begin(
    tracer: Tracer,
    { clientId, payload }: PushRequest,
    parent: TraceContext | undefined,
    routeOf: () => Pick<Route, 'master'>,
    startedMs: number,
    isDurable: boolean,
  ): PushSpans | undefined {
    const attributes = {
      'messaging.system': 'longline',
      'messaging.destination.name': clientId,
      'messaging.destination.template': '{clientId}',
      'messaging.message.body.size': payload.length,
    };
    const request = tracer.start({
      name: 'push {clientId}',
      kind: 'server',
      parent,
      startedMs,
      attributes: { ...attributes, 'messaging.operation.name': 'push' },
    });
    if (request === undefined) return undefined;
    const { context } = request;
    const { master } = routeOf();
    const at = master.lastIndexOf(':');
    const sending = tracer.start({
      name: 'send {clientId}',
      kind: 'producer',
      parent: context,
      startedMs: performance.now(),
      attributes: {
        ...attributes,
        'messaging.operation.name': 'send',
        'messaging.operation.type': 'send',
        'db.system.name': 'redis',
        'db.operation.name': isDurable ? 'EVALSHA' : 'SPUBLISH',
        ...(at > 0 && {
          'server.address': master.slice(0, at),
          'server.port': Number(master.slice(at + 1)),
        }),
      },
    });
    return new PushSpans(request, sending, sending?.context ?? context);
  }

  onSent({ type }: SendResult): void {
    this.#endSending(type === 'rejected' || type === 'unknown' ? type : undefined);
  }

  onAnswered(answer: PushResponse | Rejection): void {
    if ('code' in answer) return this.#end(answer.code);
    const { verdict, messageId } = answer;
    const name = Verdict[verdict]!.replace('VERDICT_', '');
    this.request.set({
      'longline.verdict': name,
      ...(messageId !== '' && { 'messaging.message.id': messageId }),
    });
    this.#end(verdict === Verdict.VERDICT_UNKNOWN ? name : undefined);
  }

  #end(error: string | undefined): void {
    // It has not ended if Redis did not reply.
    this.#endSending(error);
    this.request.end(error);
  }

  #endSending(error: string | undefined): void {
    this.#sending?.end(error);
    this.#sending = undefined;
  }
}
