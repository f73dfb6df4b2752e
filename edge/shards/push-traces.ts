/** Times and spans of the pushes for which a router requests them. */
import type { PushOutcome } from '../../common/cluster/push-outcomes.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import { serverTimeAt } from '../../common/process/time/clock-offset.js';
import type { Attributes, TraceContext, Tracer } from '../../common/process/tracing/tracer.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import type { ReceivedPush } from '../../common/wire/push-envelope.js';
import type { PushBody, ReplyTimes } from '../../proto/gen/longline/v1/envelope.js';

interface PushTracesOptions {
  readonly link: {
    readonly requirements: Pick<RedisLink['requirements'], 'clockOf'>;
    readonly subscriber: Pick<RedisLink['subscriber'], 'masterOf'>;
  };
  readonly names: Pick<ShardNames, 'channelOf'>;
  /** Undefined: there is no tracing. */
  readonly tracer: Tracer | undefined;
}

export class PushTraces {
  constructor(readonly options: PushTracesOptions) {}

  /**
   * To be called with the outcome of a push with a `trace`. Returns the times for the reply, if
   * the router has requested them.
   * @param heardMs when the push was read, in ms of the monotonic clock
   */
  onPush(
    shard: number,
    push: ReceivedPush,
    outcome: PushOutcome,
    heardMs: number,
  ): ReplyTimes | undefined {
    const { timed = false, ...context } = push.trace!;
    const times = timed ? this.#timesOf(shard, heardMs, performance.now()) : undefined;
    if (context.traceparent !== '') this.#trace(push, context, outcome, heardMs);
    return times;
  }

  /** By the clock of the shard's master, because the router knows that clock, too. */
  #timesOf(shard: number, heardMs: number, nowMs: number): ReplyTimes {
    const { requirements, subscriber } = this.options.link;
    const channel = this.options.names.channelOf(shard);
    const clock = requirements.clockOf(subscriber.masterOf(channel) ?? '');
    const heard = clock && serverTimeAt(clock, heardMs);
    return {
      heardAtUs: heard === undefined ? 0 : Math.round(heard.ms * 1_000),
      errorUs: heard === undefined ? 0 : Math.ceil(heard.errorMs * 1_000),
      tookUs: Math.round((nowMs - heardMs) * 1_000),
    };
  }

  /**
   * The same for a push to several clients.
   * @param outcomes of those clients for which this edge has processed it
   */
  onPushToMany(
    { payload }: Pick<PushBody, 'payload'>,
    parent: TraceContext,
    outcomes: readonly PushOutcome[],
    heardMs: number,
  ): void {
    const counts: Record<string, number> = {};
    for (const outcome of outcomes) {
      const name = `longline.outcomes.${outcome}`;
      counts[name] = (counts[name] ?? 0) + 1;
    }
    this.#addSpan('process', payload, parent, heardMs, {
      'messaging.batch.message_count': outcomes.length,
      ...counts,
    });
  }

  #trace(
    { clientId, id, payload }: ReceivedPush,
    parent: TraceContext,
    outcome: PushOutcome,
    heardMs: number,
  ): void {
    this.#addSpan('process {clientId}', payload, parent, heardMs, {
      'messaging.destination.name': clientId,
      'messaging.destination.template': '{clientId}',
      ...(id !== '' && { 'messaging.message.id': id }),
      'longline.outcome': outcome,
    });
  }

  #addSpan(
    name: string,
    payload: Uint8Array,
    parent: TraceContext,
    startedMs: number,
    attributes: Attributes,
  ): void {
    const span = this.options.tracer?.start({
      name,
      kind: 'consumer',
      parent,
      startedMs,
      attributes: {
        'messaging.system': 'longline',
        'messaging.operation.name': 'process',
        'messaging.operation.type': 'process',
        'messaging.message.body.size': payload.length,
        ...attributes,
      },
    });
    span?.end();
  }
}
