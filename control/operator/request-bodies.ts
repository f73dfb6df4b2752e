/** Schemas of request bodies; the same bounds apply over gRPC. */
import { z } from 'zod';
import { position } from './cluster-responses.js';

export const reason = z
  .string()
  .max(256)
  // It is printed on terminals.
  .regex(/^\P{Cc}*$/u, 'expected no control characters')
  .default('')
  .describe('Reason, for the event log.');

const force = z.boolean().default(false).describe('Also if no other edge could get the shards.');

export const reasonBody = z.strictObject({ reason });

export const rebalanceBody = z.strictObject({
  on: z
    .strictObject(position.shape)
    .optional()
    .describe(
      'Assignment of the plan that was shown: the request fails if it has changed. Absent: the ' +
        'current one.',
    ),
  reason,
});

export const drainBody = z.strictObject({
  rate: z
    .int()
    .min(1)
    .max(1_000_000)
    .optional()
    .describe('Maximum GOAWAYs per second of this edge. Absent: the pace of the cluster.'),
  deadlineMs: z
    .int()
    .min(0)
    .max(7 * 24 * 3_600_000)
    .optional()
    .describe(
      'Milliseconds from now until the edge closes the remaining connections. Absent: it does not.',
    ),
  force,
  reason,
});

const blockedName = z.string().describe('A clientId, or a user: then all of its devices.');

export const blockBody = z.strictObject({
  name: blockedName,
  forMs: z
    .int()
    .min(1_000)
    .max(365 * 24 * 3_600_000)
    .describe('Milliseconds from now.'),
  reason,
});

export const unblockBody = z.strictObject({ name: blockedName, reason });

export const cordonBody = z.strictObject({ force, reason });
