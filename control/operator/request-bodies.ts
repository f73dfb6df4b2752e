/** Schemas of request bodies; the same bounds apply over gRPC. */
import { z } from 'zod';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { position } from './cluster-responses.js';

const reason = z
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

export const cordonBody = z.strictObject({ force, reason });

export function parseBody<Body extends z.ZodType>(
  schema: Body,
  body: unknown,
): { readonly parsed: z.infer<Body> } | Rejection {
  const result = schema.safeParse(body);
  if (result.success) return { parsed: result.data };
  const problems = result.error.issues.map(({ path, message }) =>
    [...(path.length > 0 ? [path.join('.')] : []), message].join(': '),
  );
  return rejection('REQUEST_MALFORMED', problems.join('; '));
}
