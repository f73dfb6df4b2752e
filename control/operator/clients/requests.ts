/** Schemas of requests about connected clients; the same bounds apply over gRPC. */
import { z } from 'zod';
import { reason } from '../request-bodies.js';
import { filterQueryShape, filterShape } from './filter.js';

const LIMIT_MAX = 1_000;

export const clientsQuery = z.strictObject({
  ...filterQueryShape,
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(LIMIT_MAX)
    .default(100)
    .describe('Most clients to return.'),
  page: z
    .string()
    .max(512)
    .optional()
    .describe('`next` of the page before. Absent: the first page.'),
});

export const slowQuery = z.strictObject({
  ...filterQueryShape,
  by: z
    .enum(['bytes', 'unconfirmed', 'drops'])
    .default('bytes')
    .describe('What the slowest clients have most of.'),
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(LIMIT_MAX)
    .default(20)
    .describe('Most clients to return.'),
});

export const disconnectBody = z.strictObject({
  ...filterShape,
  all: z.boolean().default(false).describe('Required if no field names clients: every client.'),
  rate: z.int().min(1).max(1_000_000).describe('Clients per second in the whole cluster.'),
  reason,
});

export const inboxQuery = z.strictObject({
  limit: z.coerce.number().int().min(1).max(100).default(20).describe('Most pushes to return.'),
  after: z.string().max(64).optional().describe('`next` of the page before. Absent: the oldest.'),
});

export const trailQuery = z.strictObject({
  after: z
    .string()
    .max(64)
    .optional()
    .describe('`newestId` of the answer before: only later events. Absent: all.'),
});

export const payloadBody = z.strictObject({
  clientId: z.string(),
  messageId: z.string().max(64),
  reason,
});

export const pushBody = z.strictObject({
  clientId: z.string(),
  payloadText: z
    .string()
    .max(2_048)
    .refine((value) => value.isWellFormed(), 'has an incomplete surrogate pair')
    .describe('The payload as text.'),
  contentType: z
    .string()
    .max(128)
    .regex(/^[ -~]*$/, 'expected printable ASCII')
    .default('text/plain;charset=utf-8')
    .describe('MIME type, sent to devices whose protocol has a field for it.'),
  reason,
});

const user = z
  .string()
  .max(256)
  .default('')
  .describe('The user whose tokens are meant. Absent or empty: all users.');

export const revokeBody = z.strictObject({
  user,
  beforeMs: z
    .int()
    .min(1)
    .optional()
    .describe(
      'Unix time in milliseconds, not in the future: tokens issued before are revoked. Absent: the ' +
        'next full second by the clock of Redis, because tokens state whole seconds.',
    ),
  reason,
});

export const unrevokeBody = z.strictObject({ user, reason });
