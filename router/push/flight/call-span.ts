/**
 * The span of one call to many clients: PushMany, Broadcast, or a push to a group. The pushes of
 * the call have no spans of their own, because there may be any number of them. It has their number
 * by verdict.
 */
import type { Rejection } from '../../../common/process/errors.js';
import type { Attributes, Tracer } from '../../../common/process/tracing/tracer.js';
import type { TraceBody } from '../../../proto/gen/longline/v1/envelope.js';
import type { PushGroupResponse } from '../../../proto/gen/longline/v1/group.js';
import {
  type BroadcastResponse,
  type PushManyResponse,
  Verdict,
} from '../../../proto/gen/longline/v1/push.js';
import type { Caller } from './push-trace.js';

type ManyResponse = PushManyResponse | PushGroupResponse | BroadcastResponse;

interface CallToMany {
  readonly operation: 'push' | 'broadcast';
  /** Stands for the clients in the name of the span; empty: they are all. */
  readonly template: '' | 'many' | '{group}';
  readonly attributes: Attributes;
}

/**
 * Resolves with the answer of `run`, whose argument is what messages of the call say about the
 * span. It is undefined if the call is not sampled.
 */
export async function withSpan<Response extends ManyResponse>(
  tracer: Tracer | undefined,
  caller: Caller,
  { operation, template, attributes }: CallToMany,
  payload: Uint8Array,
  run: (trace: TraceBody | undefined) => Promise<Response | Rejection>,
): Promise<Response | Rejection> {
  const span = tracer?.start({
    name: `${operation} ${template}`.trim(),
    kind: 'server',
    parent: caller.traceContext,
    startedMs: performance.now(),
    attributes: {
      'messaging.system': 'longline',
      'messaging.operation.name': operation,
      'messaging.message.body.size': payload.length,
      ...attributes,
    },
  });
  if (span === undefined) return run(undefined);
  const answer = await run({ timed: false, ...span.context });
  if ('code' in answer) span.end(answer.code as string);
  else {
    span.set(attributesOf(answer));
    span.end('stopped' in answer ? answer.stopped?.code : undefined);
  }
  return answer;
}

function attributesOf(response: ManyResponse): Attributes {
  if ('counts' in response) {
    const { counts, failed } = response;
    const verdicts = counts.map(({ verdict, count }) => {
      return [Verdict[verdict]!.replace('VERDICT_', '').toLowerCase(), count] as const;
    });
    return { ...verdictsOf(verdicts, failed), 'longline.failed': failed };
  }
  const { written, slow, dropped, shardsUnknown, shardsNotSent } = response;
  return {
    ...verdictsOf(Object.entries({ written, slow, dropped }), 0),
    'longline.shards_unknown': shardsUnknown,
    'longline.shards_not_sent': shardsNotSent,
  };
}

function verdictsOf(
  verdicts: readonly (readonly [name: string, count: number])[],
  failed: number,
): Attributes {
  return {
    ...Object.fromEntries(verdicts.map(([name, count]) => [`longline.verdicts.${name}`, count])),
    'messaging.batch.message_count': verdicts.reduce((sum, [, count]) => sum + count, failed),
  };
}
