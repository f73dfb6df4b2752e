/** The HTTP API of backends, in one table: each route is an operation and its encoding in JSON. */
import type { z } from 'zod';
import type { ErrorCode, Rejection } from '../../../common/process/errors.js';
import type { Operation, PushApi } from '../operations.js';
import * as groups from './groups.js';
import {
  broadcastBody,
  clientBody,
  pushBody,
  pushManyBody,
  pushUserBody,
  streamLine,
  toBroadcastRequest,
  toClientRequest,
  toPushManyRequest,
  toPushRequest,
  toPushUserRequest,
} from './requests.js';
import {
  broadcastResponse,
  disconnectResponse,
  fromPushManyResponse,
  fromPushResponse,
  fromPushUserResponse,
  presenceResponse,
  pushManyResponse,
  pushResponse,
  pushUserResponse,
  streamResult,
} from './responses.js';

/** The parts of a route that the OpenAPI document describes. */
export interface DescribedRoute {
  readonly path: string;
  /** Name of the operation in code that is generated from the OpenAPI document. */
  readonly operationId: string;
  readonly summary: string;
  readonly body: z.ZodObject;
  readonly response: z.ZodObject;
  /** Besides the codes that all routes have. */
  readonly rejections: readonly ErrorCode[];
}

interface RouteOf<Body extends z.ZodObject, Request, Response> extends DescribedRoute {
  readonly body: Body;
  operation(api: PushApi): Operation<Request, Response>;
  /** @param payload text of the member `payload`, as it was received */
  toRequest(body: z.infer<Body>, payload: string | undefined): Request | Rejection;
  /** Absent: the response is sent as it is. */
  fromResponse?(response: Response): object;
}

export type Route = RouteOf<z.ZodObject, unknown, object>;

/** Forgets the types that the parts of a route share, so that a table can have all routes. */
function route<Body extends z.ZodObject, Request, Response extends object>(
  route: RouteOf<Body, Request, Response>,
): Route {
  return route as unknown as Route;
}

const PUSH_REJECTIONS = [
  'TTL_TOO_LONG',
  'IDEMPOTENCY_KEY_INVALID',
  'ACCEPT_LEVEL_UNAVAILABLE',
  'RATE_LIMITED',
  'STORAGE_FULL',
  'DEADLINE_EXCEEDED',
] as const satisfies readonly ErrorCode[];

export const routes: readonly Route[] = [
  route({
    path: '/v1/push',
    operationId: 'push',
    summary: 'Sends one payload to one client and returns a verdict.',
    body: pushBody,
    response: pushResponse,
    rejections: ['CLIENT_ID_INVALID', ...PUSH_REJECTIONS],
    operation: (api) => api.push,
    toRequest: toPushRequest,
    fromResponse: fromPushResponse,
  }),
  route({
    path: '/v1/push:many',
    operationId: 'pushMany',
    summary: 'Sends one payload to many clients and returns the number of clients by verdict.',
    body: pushManyBody,
    response: pushManyResponse,
    rejections: PUSH_REJECTIONS,
    operation: (api) => api.pushMany,
    toRequest: toPushManyRequest,
    fromResponse: fromPushManyResponse,
  }),
  route({
    path: '/v1/push:user',
    operationId: 'pushUser',
    summary: 'Sends one payload to every device of a user.',
    body: pushUserBody,
    response: pushUserResponse,
    rejections: ['CLIENT_ID_INVALID', 'USER_DEVICES_TOO_MANY', ...PUSH_REJECTIONS],
    operation: (api) => api.pushUser,
    toRequest: toPushUserRequest,
    fromResponse: fromPushUserResponse,
  }),
  route({
    path: '/v1/broadcast',
    operationId: 'broadcast',
    summary: 'Sends one live-only payload to every client that is connected now, at a rate.',
    body: broadcastBody,
    response: broadcastResponse,
    rejections: ['RATE_LIMITED'],
    operation: (api) => api.broadcast,
    toRequest: toBroadcastRequest,
  }),
  route({
    path: '/v1/presence',
    operationId: 'getPresence',
    summary: 'Returns the connections that a client, or the devices of a user, have now.',
    body: clientBody,
    response: presenceResponse,
    rejections: ['CLIENT_ID_INVALID', 'USER_DEVICES_TOO_MANY'],
    operation: (api) => api.presence,
    toRequest: toClientRequest,
  }),
  route({
    path: '/v1/disconnect',
    operationId: 'disconnect',
    summary: 'Closes the connection of a client, or those of the devices of a user.',
    body: clientBody,
    response: disconnectResponse,
    rejections: ['CLIENT_ID_INVALID', 'USER_DEVICES_TOO_MANY'],
    operation: (api) => api.disconnect,
    toRequest: toClientRequest,
  }),
  route({
    path: '/v1/push:group',
    operationId: 'pushGroup',
    summary: 'Sends one payload to every member of a group.',
    body: groups.pushGroupBody,
    response: groups.pushGroupResponse,
    rejections: ['GROUP_INVALID', ...PUSH_REJECTIONS],
    operation: (api) => api.pushGroup,
    toRequest: groups.toPushGroupRequest,
    fromResponse: groups.fromPushGroupResponse,
  }),
  route({
    path: '/v1/groups:join',
    operationId: 'joinGroup',
    summary: 'Adds members to a group, which exists while it has some.',
    body: groups.membersBody,
    response: groups.joinGroupResponse,
    rejections: ['GROUP_INVALID', 'STORAGE_FULL'],
    operation: (api) => api.joinGroup,
    toRequest: (body) => body,
    fromResponse: groups.fromJoinGroupResponse,
  }),
  route({
    path: '/v1/groups:leave',
    operationId: 'leaveGroup',
    summary: 'Removes members from a group.',
    body: groups.membersBody,
    response: groups.leaveGroupResponse,
    rejections: ['GROUP_INVALID'],
    operation: (api) => api.leaveGroup,
    toRequest: (body) => body,
    fromResponse: groups.fromLeaveGroupResponse,
  }),
  route({
    path: '/v1/groups:delete',
    operationId: 'deleteGroup',
    summary: 'Removes all members from a group.',
    body: groups.groupBody,
    response: groups.deleteGroupResponse,
    rejections: ['GROUP_INVALID'],
    operation: (api) => api.deleteGroup,
    toRequest: (body) => body,
  }),
  route({
    path: '/v1/groups:members',
    operationId: 'listMembers',
    summary: 'Returns the members of a group, in pages.',
    body: groups.listMembersBody,
    response: groups.listMembersResponse,
    rejections: ['GROUP_INVALID'],
    operation: (api) => api.listMembers,
    toRequest: (body) => body,
    fromResponse: groups.fromListMembersResponse,
  }),
  route({
    path: '/v1/groups:list',
    operationId: 'listGroups',
    summary: 'Returns the groups of a member, or all groups in pages.',
    body: groups.listGroupsBody,
    response: groups.listGroupsResponse,
    rejections: ['CLIENT_ID_INVALID'],
    operation: (api) => api.listGroups,
    toRequest: groups.toListGroupsRequest,
    fromResponse: groups.fromListGroupsResponse,
  }),
];

/** A line is a push, and a line of the response is its result. */
export const streamRoute: DescribedRoute = {
  path: '/v1/push:stream',
  operationId: 'pushStream',
  summary:
    'Pushes each line of the body, and returns a line for each, in any order. A bad line does not end the stream.',
  body: streamLine,
  response: streamResult,
  rejections: [],
};
