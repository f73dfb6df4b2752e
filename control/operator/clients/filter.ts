/** Filters of clients, as they come over HTTP and gRPC. */
import { z } from 'zod';
import { parseSelector } from '../../../common/labels/selector.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import { rejectClientId, rejectUser } from '../../../common/wire/client-id.js';
import type { ClientFilter } from '../../../proto/gen/longline/v1/clients.js';

const AGE_MS_MAX = 365 * 24 * 3_600_000;
/** Printed on terminals and in the event log. */
const name = z.string().min(1).max(256);

const texts = {
  edge: name.optional().describe('Id of an edge: only its clients.'),
  clientId: name.optional().describe('Only this client.'),
  user: name.optional().describe('Only devices of this user.'),
  selector: z
    .string()
    .min(1)
    .max(4_096)
    .optional()
    .describe(
      'Label selector with the syntax of Kubernetes, such as `app=ios, region in (eu, us)`. Clients ' +
        'whose labels their edge does not know do not match.',
    ),
  protocol: name.optional().describe('Such as `sse`, as presence names it.'),
};
const SHARD = 'Only clients of this shard.';
const OLDER = 'Only clients that have been connected for so many milliseconds.';

/** Fields of a request with a body. */
export const filterShape = {
  ...texts,
  shard: z.int().min(0).max(65_535).optional().describe(SHARD),
  olderThanMs: z.int().min(0).max(AGE_MS_MAX).optional().describe(OLDER),
};

/** The same in a query, where numbers are text. */
export const filterQueryShape = {
  ...texts,
  shard: z.coerce.number().int().min(0).max(65_535).optional().describe(SHARD),
  olderThanMs: z.coerce.number().int().min(0).max(AGE_MS_MAX).optional().describe(OLDER),
};

export type FilterFields = Partial<{
  [Key in keyof typeof filterShape]: z.infer<(typeof filterShape)[Key]>;
}>;

export function toFilter(fields: FilterFields, shardCount: number): ClientFilter | Rejection {
  const { edge = '', shard, clientId = '', user = '' } = fields;
  const { selector = '', protocol = '', olderThanMs = 0 } = fields;
  if (shard !== undefined && shard >= shardCount) {
    const message = `the cluster has ${shardCount} shards, 0 to ${shardCount - 1}, and not ${shard}`;
    return rejection('REQUEST_MALFORMED', message);
  }
  const invalid =
    (clientId === '' ? undefined : rejectClientId(clientId)) ??
    (user === '' ? undefined : rejectUser(user));
  if (invalid !== undefined) return invalid;
  const parsed = parseSelector(selector);
  if ('code' in parsed) return parsed;
  return { edgeId: edge, shard, clientId, user, selector, protocol, olderThanMs };
}

/** The fields of a filter that has come over gRPC; those that are unset are absent. */
export function fieldsOf(filter: ClientFilter | undefined): FilterFields {
  const { edgeId, shard, clientId, user, selector, protocol, olderThanMs } = filter ?? {};
  return {
    ...(edgeId && { edge: edgeId }),
    ...(shard !== undefined && { shard }),
    ...(clientId && { clientId }),
    ...(user && { user }),
    ...(selector && { selector }),
    ...(protocol && { protocol }),
    ...(olderThanMs && { olderThanMs }),
  };
}
