/**
 * Schemas of request bodies, and what they mean to the operations. The same bounds apply over gRPC.
 */
import { z } from 'zod';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import {
  AcceptLevel,
  type BroadcastRequest,
  type PushManyRequest,
  type PushRequest,
  type PushUserRequest,
  WaitFor,
  WhenSlow,
} from '../../../proto/gen/longline/v1/push.js';
import { WAIT_MS_MAX } from '../push-check.js';

export const UINT32_MAX = 2 ** 32 - 1;
const JSON_TYPE = 'application/json';
const TEXT_TYPE = 'text/plain;charset=utf-8';

/** Text that has UTF-8: in JSON, an escape may be half of a character. */
const text = z.string().refine((value) => value.isWellFormed(), 'has an incomplete surrogate pair');

export const payloadShape = {
  payload: z
    .unknown()
    .optional()
    .describe(
      'The payload as JSON: devices receive this value as it was sent. Exactly one of `payload`, ' +
        '`payloadText` and `payloadBase64` is required.',
    ),
  payloadText: text.optional().describe('The payload as text.'),
  payloadBase64: z.base64().optional().describe('The payload as bytes in base64.'),
  contentType: z
    .string()
    .max(128)
    .optional()
    .describe(
      'MIME type, sent to devices whose protocol has a field for it. Absent: `application/json` ' +
        'with `payload`, `text/plain;charset=utf-8` with `payloadText`, and none with `payloadBase64`.',
    ),
};

export const optionsShape = {
  waitMs: z
    .int()
    .min(0)
    .max(WAIT_MS_MAX)
    .optional()
    .describe("Maximum wait for the verdict in milliseconds. Absent or 0: the router's default."),
  ttlMs: z
    .int()
    .min(0)
    .optional()
    .describe(
      'Milliseconds for which the push is stored until the client confirms it. Absent: the ' +
        "router's default. 0: live only, delivered now or never.",
    ),
  idempotencyKey: text
    .optional()
    .describe(
      'At most 128 bytes. A durable push with a key that was used for this client in the last ten ' +
        'minutes (or within the TTL, if that is longer) is not stored again.',
    ),
  collapseKey: text
    .optional()
    .describe(
      'At most 64 bytes without control characters. The push replaces the stored one of this client ' +
        'with the same key, if that is not confirmed yet. Durable pushes only.',
    ),
  appendTo: text
    .optional()
    .describe(
      'Key of a growing message, with the bounds of `collapseKey`: the payload is its next part. A ' +
        'client that comes back gets the parts that it has not confirmed together. Durable pushes only.',
    ),
  appendEnd: z
    .boolean()
    .optional()
    .describe('Whether this part, which may be empty, ends the message of `appendTo`.'),
  acceptLevel: z
    .enum(['accepted', 'fsynced', 'replicated'])
    .optional()
    .describe(
      "Durability required before a durable push is answered. Absent: the router's default.",
    ),
  replicas: z
    .int()
    .min(1)
    .max(UINT32_MAX)
    .optional()
    .describe('Number of replicas for `replicated`. Absent: 1.'),
  waitFor: z
    .enum(['stored', 'written', 'acked'])
    .optional()
    .describe('The event to wait for before the answer. Absent: `written`.'),
  notifyUnreadAfterMs: z
    .int()
    .min(1)
    .max(UINT32_MAX)
    .optional()
    .describe(
      'Milliseconds after which the event `push.unread` is written if the client has not confirmed ' +
        'the push. At most the TTL. Needs LONGLINE_EVENTS=pushes. Absent: none.',
    ),
  whenSlow: z
    .enum(['disconnect', 'drop', 'keep'])
    .optional()
    .describe(
      'What happens when bytes wait for the client and the push does not fit into its send buffer. ' +
        '`disconnect`, also if absent: the connection is closed; a live-only push is SLOW. `drop`, for ' +
        'live-only pushes: the push is DROPPED and the connection stays. `keep`, for durable pushes: ' +
        'the push is STORED and delivered on the same connection once the client has read the rest.',
    ),
};

const flightRecord = z
  .boolean()
  .optional()
  .describe('Whether the answer has the flight record of the push: what each of its steps took.');

const clientId = z.string().describe('1 to 256 bytes of UTF-8 without control characters.');

export const deadlineMs = z
  .int()
  .min(1)
  .optional()
  .describe('Milliseconds until the answer, with the counts so far. Absent: no deadline.');

export const pushBody = z.strictObject({
  clientId,
  ...payloadShape,
  ...optionsShape,
  flightRecord,
});

export const pushManyBody = z.strictObject({
  clientIds: z
    .array(z.string())
    .describe('1 to 10,000. A clientId that is listed twice gets two pushes.'),
  ...payloadShape,
  ...optionsShape,
  deadlineMs,
});

export const broadcastBody = z.strictObject({
  ...payloadShape,
  clientsPerSecond: z
    .int()
    .min(1)
    .max(UINT32_MAX)
    .describe('Clients per second in the whole cluster that get the push.'),
  selector: z
    .string()
    .default('')
    .describe(
      'Label selector with the syntax of Kubernetes, such as `app=ios, region in (eu, us), !beta`; at ' +
        'most 4,096 characters. Absent or empty: all clients.',
    ),
  whenSlow: z.enum(['disconnect', 'drop']).optional().describe('As in a push.'),
  deadlineMs,
});

const user = z.string().describe('The part of clientIds before the first slash.');

export const pushUserBody = z.strictObject({
  user,
  ...payloadShape,
  ...optionsShape,
  listDevices: z
    .boolean()
    .default(false)
    .describe('Whether the answer names all devices. Else it names those whose push was rejected.'),
  flightRecord,
  deadlineMs,
});

export const clientBody = z.strictObject({
  clientId: clientId.optional(),
  user: user.optional().describe('Instead of `clientId`: all devices of this user.'),
});

export const streamLine = z.strictObject({
  correlationId: z
    .string()
    .min(1)
    .max(128)
    .describe('Chosen by the caller, returned in the result. Unique among pushes in flight.'),
  ...pushBody.shape,
});

const ACCEPT_LEVELS = {
  accepted: AcceptLevel.ACCEPT_LEVEL_ACCEPTED,
  fsynced: AcceptLevel.ACCEPT_LEVEL_FSYNCED,
  replicated: AcceptLevel.ACCEPT_LEVEL_REPLICATED,
} as const;

const WAITS = {
  stored: WaitFor.WAIT_FOR_STORED,
  written: WaitFor.WAIT_FOR_WRITTEN,
  acked: WaitFor.WAIT_FOR_ACKED,
} as const;

const WHENS_SLOW = {
  disconnect: WhenSlow.WHEN_SLOW_DISCONNECT,
  drop: WhenSlow.WHEN_SLOW_DROP,
  keep: WhenSlow.WHEN_SLOW_KEEP,
} as const;

/** @param json text of `payload`, as it was received; undefined if it is absent */
export function toPushRequest(
  body: z.infer<typeof pushBody>,
  json: string | undefined,
): PushRequest | Rejection {
  const payload = payloadOf(body, json);
  if ('code' in payload) return payload;
  const { clientId, flightRecord = false } = body;
  return { clientId, flightRecord, ...payload, ...optionsOf(body) };
}

export function toPushManyRequest(
  body: z.infer<typeof pushManyBody>,
  json: string | undefined,
): PushManyRequest | Rejection {
  const payload = payloadOf(body, json);
  if ('code' in payload) return payload;
  return { clientIds: body.clientIds, ...payload, ...optionsOf(body) };
}

export function toPushUserRequest(
  body: z.infer<typeof pushUserBody>,
  json: string | undefined,
): PushUserRequest | Rejection {
  const payload = payloadOf(body, json);
  if ('code' in payload) return payload;
  const { user, listDevices, flightRecord = false } = body;
  return { user, listDevices, flightRecord, ...payload, ...optionsOf(body) };
}

export function toClientRequest({
  clientId = '',
  user,
}: z.infer<typeof clientBody>): { clientId: string; user: string } | Rejection {
  // No user is the request of gRPC for a client.
  if (user !== '') return { clientId, user: user ?? '' };
  return rejection('CLIENT_ID_INVALID', 'the user is empty');
}

export function toBroadcastRequest(
  body: z.infer<typeof broadcastBody>,
  json: string | undefined,
): BroadcastRequest | Rejection {
  const payload = payloadOf(body, json);
  if ('code' in payload) return payload;
  const { clientsPerSecond, selector, whenSlow } = body;
  return { clientsPerSecond, selector, whenSlow: whenSlowOf(whenSlow), ...payload };
}

type Payload = Pick<PushRequest, 'payload' | 'contentType'>;

export function payloadOf(
  body: Pick<z.infer<typeof pushBody>, 'payloadText' | 'payloadBase64' | 'contentType'>,
  json: string | undefined,
): Payload | Rejection {
  const { payloadText, payloadBase64, contentType } = body;
  const given = [json, payloadText, payloadBase64].filter((each) => each !== undefined);
  if (given.length !== 1) {
    const message = `${given.length} of payload, payloadText and payloadBase64; send exactly one`;
    return rejection('REQUEST_MALFORMED', message);
  }
  if (json !== undefined) {
    return { payload: Buffer.from(json), contentType: contentType ?? JSON_TYPE };
  }
  if (payloadText !== undefined) {
    return { payload: Buffer.from(payloadText), contentType: contentType ?? TEXT_TYPE };
  }
  return { payload: Buffer.from(payloadBase64!, 'base64'), contentType: contentType ?? '' };
}

export function optionsOf(body: Omit<z.infer<typeof pushBody>, 'clientId'>) {
  const { waitMs = 0, ttlMs, idempotencyKey = '', acceptLevel, replicas = 0, waitFor } = body;
  const { collapseKey = '', appendTo = '', appendEnd = false } = body;
  const { notifyUnreadAfterMs = 0 } = body;
  return {
    ...{ collapseKey, appendTo, appendEnd },
    waitMs,
    ttlMs,
    idempotencyKey,
    acceptLevel:
      acceptLevel === undefined ? AcceptLevel.ACCEPT_LEVEL_UNSPECIFIED : ACCEPT_LEVELS[acceptLevel],
    replicas,
    waitFor: waitFor === undefined ? WaitFor.WAIT_FOR_UNSPECIFIED : WAITS[waitFor],
    notifyUnreadAfterMs,
    whenSlow: whenSlowOf(body.whenSlow),
  };
}

function whenSlowOf(name: keyof typeof WHENS_SLOW | undefined): WhenSlow {
  return name === undefined ? WhenSlow.WHEN_SLOW_UNSPECIFIED : WHENS_SLOW[name];
}
