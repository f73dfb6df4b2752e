/** Bodies of the routes about groups, and what they mean to the operations. */
import { z } from 'zod';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type {
  JoinGroupResponse,
  LeaveGroupResponse,
  ListGroupsRequest,
  ListGroupsResponse,
  ListMembersResponse,
  PushGroupRequest,
  PushGroupResponse,
} from '../../../proto/gen/longline/v1/group.js';
import type { ClientFailure } from '../../../proto/gen/longline/v1/push.js';
import {
  deadlineMs,
  optionsOf,
  optionsShape,
  payloadOf,
  payloadShape,
  UINT32_MAX,
} from './requests.js';
import { count, counts, countsOf, error, errorOf } from './responses.js';

const group = z
  .string()
  .describe('1 to 256 bytes of UTF-8 without control characters and without `*`, `+` and `#`.');

const pageShape = {
  pageSize: z
    .int()
    .min(0)
    .max(UINT32_MAX)
    .default(0)
    .describe('1 to 10,000. Absent or 0: 1,000. A page may have fewer.'),
  pageToken: z.string().default('').describe('Of the page before. Absent: the first page.'),
};

const nextPageToken = z.string().nullable().describe('Null: this was the last page.');

export const groupBody = z.strictObject({ group });

export const membersBody = z.strictObject({
  group,
  members: z.array(z.string()).describe('1 to 10,000 clientIds and users.'),
});

export const listMembersBody = z.strictObject({ group, ...pageShape });

export const listGroupsBody = z.strictObject({
  member: z
    .string()
    .optional()
    .describe('A clientId or a user: only its groups, all of them. Absent: all groups.'),
  ...pageShape,
});

export const pushGroupBody = z.strictObject({
  group,
  ...payloadShape,
  ...optionsShape,
  clientsPerSecond: z
    .int()
    .min(0)
    .max(UINT32_MAX)
    .default(0)
    .describe('Clients per second that get the push. Absent or 0: as fast as possible.'),
  resumeToken: z
    .string()
    .default('')
    .describe('Of an answer, to go on where that push has stopped. Absent: from the start.'),
  deadlineMs,
});

const failuresShape = {
  failed: count.describe('Number of all members or clients that failed.'),
  failures: z.array(z.object({ clientId: z.string(), error })).describe('At most 100 of these.'),
};

export const joinGroupResponse = z.object({
  joined: count.describe('Members that were none before.'),
  ...failuresShape,
});

export const leaveGroupResponse = z.object({
  left: count.describe('Members that were some before.'),
  ...failuresShape,
});

export const deleteGroupResponse = z.object({ removed: count });

export const listMembersResponse = z.object({ members: z.array(z.string()), nextPageToken });

export const listGroupsResponse = z.object({ groups: z.array(z.string()), nextPageToken });

export const pushGroupResponse = z.object({
  counts,
  ...failuresShape,
  resumeToken: z.string().nullable().describe('Null: all members were pushed to.'),
  stopped: error.nullable().describe('Why not all members were pushed to.'),
});

export function toListGroupsRequest({
  member,
  ...page
}: z.infer<typeof listGroupsBody>): ListGroupsRequest | Rejection {
  // No member is the request of gRPC for all groups.
  if (member !== '') return { member: member ?? '', ...page };
  return rejection('CLIENT_ID_INVALID', 'the member is empty');
}

export function toPushGroupRequest(
  body: z.infer<typeof pushGroupBody>,
  json: string | undefined,
): PushGroupRequest | Rejection {
  const payload = payloadOf(body, json);
  if ('code' in payload) return payload;
  const { group, clientsPerSecond, resumeToken } = body;
  return { group, clientsPerSecond, resumeToken, ...payload, ...optionsOf(body) };
}

export function fromJoinGroupResponse(
  response: JoinGroupResponse,
): z.infer<typeof joinGroupResponse> {
  return { ...response, failures: failuresOf(response.failures) };
}

export function fromLeaveGroupResponse(
  response: LeaveGroupResponse,
): z.infer<typeof leaveGroupResponse> {
  return { ...response, failures: failuresOf(response.failures) };
}

export function fromListMembersResponse({
  members,
  nextPageToken,
}: ListMembersResponse): z.infer<typeof listMembersResponse> {
  return { members, nextPageToken: nextPageToken || null };
}

export function fromListGroupsResponse({
  groups,
  nextPageToken,
}: ListGroupsResponse): z.infer<typeof listGroupsResponse> {
  return { groups, nextPageToken: nextPageToken || null };
}

export function fromPushGroupResponse(
  response: PushGroupResponse,
): z.infer<typeof pushGroupResponse> {
  const { counts, failed, failures, resumeToken, stopped } = response;
  return {
    counts: countsOf(counts),
    failed,
    failures: failuresOf(failures),
    resumeToken: resumeToken || null,
    stopped: stopped === undefined ? null : errorOf(stopped),
  };
}

function failuresOf(failures: readonly ClientFailure[]) {
  return failures.map(({ clientId, failure }) => ({ clientId, error: errorOf(failure!) }));
}
