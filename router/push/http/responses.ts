/** Schemas of response bodies, and how the operations' responses become them. */
import { z } from 'zod';
import { flightRecord, flightRecordOf } from '../../../common/http/flight-steps.js';
import type { Rejection } from '../../../common/process/errors.js';
import {
  AcceptLevel,
  type PushManyResponse,
  type PushResponse,
  type PushUserResponse,
  Verdict,
  type VerdictCount,
} from '../../../proto/gen/longline/v1/push.js';
import type { StreamResult } from '../push-stream.js';

const VERDICTS = [
  'WRITTEN',
  'OFFLINE',
  'SLOW',
  'UNKNOWN',
  'STORED',
  'DUPLICATE',
  'ACKED',
  'SKIPPED',
  'REPLACED',
  'DROPPED',
] as const;

type VerdictName = (typeof VERDICTS)[number];

export const count = z.int().min(0);
const verdict = z.enum(VERDICTS).describe('What became of the push.');
const messageId = z
  .string()
  .nullable()
  .describe(
    'The id sent to the device. Null: the push is live-only, or Redis did not reply in time.',
  );
const acceptLevel = z
  .enum(['accepted', 'fsynced', 'replicated'])
  .nullable()
  .describe(
    'The confirmed level of a durable push; never higher than requested. Null: not stored.',
  );
const replacedId = z
  .string()
  .optional()
  .describe('The stored push that this one has replaced. Absent: none.');
const complete = z
  .boolean()
  .describe('False if not every edge that could have the client replied in time.');

export const error = z
  .object({ code: z.string(), message: z.string() })
  .describe('The code is stable; the message is for people and may change.');

export const errorResponse = z.object({ error }).describe('Body of every error.');

export const pushResponse = z.object({
  verdict,
  messageId,
  acceptLevel,
  replacedId,
  flightRecord,
});

export const counts = z
  .partialRecord(z.enum(VERDICTS), count)
  .describe('Number of clients by verdict, for each verdict that occurred.');

export const pushManyResponse = z.object({
  counts,
  failed: count.describe('Number of all failed pushes.'),
  failures: z
    .array(z.object({ clientId: z.string(), error }))
    .describe('At most 100 of the failed pushes.'),
  unknownClientIds: z
    .array(z.string())
    .describe('The clients whose verdict is UNKNOWN, all of them, in no particular order.'),
});

export const pushUserResponse = z.object({
  counts,
  failed: count.describe('Number of devices whose push was rejected.'),
  devices: z
    .array(
      z.object({
        clientId: z.string(),
        ...pushResponse.partial().shape,
        error: error.optional().describe('Instead of the verdict: the push was rejected.'),
      }),
    )
    .describe('Every device, if asked for; else only those whose push was rejected.'),
});

export const broadcastResponse = z.object({
  written: count,
  slow: count.describe('Clients whose send buffer was full; their connections were closed.'),
  dropped: count.describe(
    'Clients whose send buffer was full and whose connections stay, with `whenSlow` drop.',
  ),
  shardsUnknown: count.describe(
    'Shards of which not every edge replied in time: their clients may or may not have got the push.',
  ),
  shardsNotSent: count.describe('Shards to which nothing was sent.'),
  notSelected: count.describe('Clients whose labels do not match the selector.'),
  labelsUnknown: count.describe(
    'Clients that did not get the push because their edge does not know their labels.',
  ),
});

export const presenceResponse = z.object({
  connections: z
    .array(
      z.object({
        clientId: z.string(),
        edgeId: z.string(),
        connectedAtMs: z.int().describe("Unix time in milliseconds, by the edge's clock."),
        protocol: z.string().describe('Such as "sse".'),
        remoteAddress: z.string().describe('The device\'s address, such as "192.0.2.7:51324".'),
        guest: z.boolean().describe("True if the edge does not own the client's shard."),
        labels: z
          .string()
          .describe('Such as "app=ios,version=5.2". Empty: none, or the edge does not know them.'),
        connectedForMs: z.int(),
      }),
    )
    .describe('Empty: the client is not connected.'),
  complete,
});

export const disconnectResponse = z.object({
  closed: count.describe('Number of closed connections.'),
  complete,
});

export const streamResult = z.object({
  correlationId: z
    .string()
    .nullable()
    .describe('Null: the line has none that could be read, or the error ends the stream.'),
  verdict: verdict.optional(),
  messageId: messageId.optional(),
  acceptLevel: acceptLevel.optional(),
  replacedId,
  flightRecord,
  error: error.optional().describe('Instead of the verdict: the push was rejected.'),
});

const VERDICT_NAMES = new Map<Verdict, VerdictName>(
  VERDICTS.map((name) => [Verdict[`VERDICT_${name}`], name]),
);

const ACCEPT_LEVEL_NAMES = new Map<AcceptLevel, z.infer<typeof acceptLevel>>([
  [AcceptLevel.ACCEPT_LEVEL_ACCEPTED, 'accepted'],
  [AcceptLevel.ACCEPT_LEVEL_FSYNCED, 'fsynced'],
  [AcceptLevel.ACCEPT_LEVEL_REPLICATED, 'replicated'],
]);

export function fromPushResponse(response: PushResponse): z.infer<typeof pushResponse> {
  return {
    verdict: VERDICT_NAMES.get(response.verdict)!,
    messageId: response.messageId || null,
    acceptLevel: ACCEPT_LEVEL_NAMES.get(response.acceptLevel) ?? null,
    ...(response.replacedId !== '' && { replacedId: response.replacedId }),
    ...flightRecordOf(response.flightRecord),
  };
}

export function fromPushManyResponse(response: PushManyResponse): z.infer<typeof pushManyResponse> {
  const { counts, failed, failures, unknownClientIds } = response;
  return {
    counts: countsOf(counts),
    failed,
    failures: failures.map(({ clientId, failure }) => ({ clientId, error: errorOf(failure!) })),
    unknownClientIds,
  };
}

export function fromPushUserResponse(response: PushUserResponse): z.infer<typeof pushUserResponse> {
  const { counts, failed, devices } = response;
  return {
    counts: countsOf(counts),
    failed,
    devices: devices.map(({ clientId, outcome }) =>
      outcome!.$case === 'push'
        ? { clientId, ...fromPushResponse(outcome!.value) }
        : { clientId, error: errorOf(outcome!.value) },
    ),
  };
}

export function fromStreamResult({
  correlationId,
  response,
}: StreamResult): z.infer<typeof streamResult> {
  const id = correlationId || null;
  if ('code' in response) return { correlationId: id, error: errorOf(response) };
  return { correlationId: id, ...fromPushResponse(response) };
}

export function countsOf(of: readonly VerdictCount[]): z.infer<typeof counts> {
  return Object.fromEntries(of.map((each) => [VERDICT_NAMES.get(each.verdict)!, each.count]));
}

export function errorOf({ code, message }: Pick<Rejection, 'message'> & { readonly code: string }) {
  return { code, message };
}
