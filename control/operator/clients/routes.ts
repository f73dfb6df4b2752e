/** The routes about clients: lists, disconnects, blocks and revocations. */
import type { Rejection } from '../../../common/process/errors.js';
import { parseEncodedClientId } from '../../../common/wire/client-id.js';
import { query, type Route, read, readPayload, write } from '../api.js';
import { clientResponse, userResponse } from '../cluster-responses.js';
import { blockResponse, blocksResponse, unblockResponse } from '../operation-responses.js';
import { blockBody, reasonBody, unblockBody } from '../request-bodies.js';
import { clientPushesResponse } from './client-pushes.js';
import {
  clientsQuery,
  disconnectBody,
  inboxQuery,
  payloadBody,
  pushBody,
  revokeBody,
  slowQuery,
  trailQuery,
  unrevokeBody,
} from './requests.js';
import {
  clientsResponse,
  disconnectInfo,
  disconnectsResponse,
  inboxListResponse,
  payloadResponse,
  pushResponse,
  revocationInfo,
  revocationsResponse,
  slowClientsResponse,
  trailResponse,
  unrevokeResponse,
} from './responses.js';

const listRoutes: readonly Route[] = [
  query({
    path: '/v1/clients',
    operationId: 'listClients',
    summary: 'Lists the connected clients that match a filter, a page at a time.',
    query: clientsQuery,
    response: clientsResponse,
    rejections: [
      'REQUEST_MALFORMED',
      'CLIENT_ID_INVALID',
      'SELECTOR_INVALID',
      'NOT_FOUND',
      'NOT_LEADER',
      'OVERLOADED',
    ],
    respond: ({ clients }, { body }) => clients.list(body),
  }),
  query({
    path: '/v1/slow',
    operationId: 'listSlowClients',
    summary:
      'Lists the slowest clients, the worst first: by bytes that wait, by unconfirmed pushes or by ' +
      'dropped ones.',
    query: slowQuery,
    response: slowClientsResponse,
    rejections: [
      'REQUEST_MALFORMED',
      'CLIENT_ID_INVALID',
      'SELECTOR_INVALID',
      'NOT_FOUND',
      'NOT_LEADER',
      'OVERLOADED',
    ],
    respond: ({ clients }, { body }) => clients.slowest(body),
  }),
  read({
    path: '/v1/clients/{clientId}',
    operationId: 'locateClient',
    summary: 'Returns the owner edge of a client and the connections that it has now.',
    response: clientResponse,
    rejections: ['CLIENT_ID_INVALID', 'REDIS_UNAVAILABLE', 'OVERLOADED'],
    respond: ({ queries }, { parameter }) =>
      withClientId(parameter, (clientId) => queries.client(clientId)),
  }),
  read({
    path: '/v1/users/{user}',
    operationId: 'locateUser',
    summary: 'Returns the same for each device of a user that was connected lately.',
    response: userResponse,
    rejections: ['CLIENT_ID_INVALID', 'REDIS_UNAVAILABLE', 'OVERLOADED'],
    respond: ({ queries }, { parameter }) => withClientId(parameter, (user) => queries.user(user)),
  }),
];

const inboxRoutes: readonly Route[] = [
  query({
    path: '/v1/inboxes/{clientId}',
    operationId: 'listInbox',
    summary: 'Lists the stored pushes of a client, without their payloads, a page at a time.',
    query: inboxQuery,
    response: inboxListResponse,
    rejections: ['REQUEST_MALFORMED', 'CLIENT_ID_INVALID', 'REDIS_UNAVAILABLE'],
    respond: ({ inboxes }, { parameter, body }) =>
      withClientId(parameter, (clientId) => inboxes.list(clientId, body)),
  }),
  readPayload({
    path: '/v1/payload',
    operationId: 'readPayload',
    summary:
      'Returns the payload of a stored push. Needs a token that LONGLINE_CONTROL_PAYLOAD_READERS ' +
      'names; the event log says who has read it.',
    body: payloadBody,
    response: payloadResponse,
    rejections: ['CLIENT_ID_INVALID', 'NOT_FOUND', 'REDIS_UNAVAILABLE'],
    respond: ({ inboxes }, { body, actor }) => inboxes.payload(body, actor),
  }),
  write({
    path: '/v1/push',
    operationId: 'pushTest',
    summary: 'Pushes a test message to a client: live only, so it is not stored.',
    body: pushBody,
    response: pushResponse,
    rejections: ['CLIENT_ID_INVALID', 'REDIS_UNAVAILABLE', 'OVERLOADED'],
    respond: ({ inboxes }, { body, actor }) => inboxes.push(body, actor),
  }),
  query({
    path: '/v1/client-events/{clientId}',
    operationId: 'listClientEvents',
    summary: 'Returns the newest events of a client and its pushes, if LONGLINE_EVENTS is set.',
    query: trailQuery,
    response: trailResponse,
    rejections: ['REQUEST_MALFORMED', 'CLIENT_ID_INVALID', 'REDIS_UNAVAILABLE'],
    respond: ({ inboxes }, { parameter, body }) =>
      withClientId(parameter, (clientId) => inboxes.trail(clientId, body)),
  }),
];

const pushRoutes: readonly Route[] = [
  read({
    path: '/v1/client-pushes/{clientId}',
    operationId: 'listClientPushes',
    summary: 'Returns the newest pushes to a client and their verdicts, as routers remember them.',
    response: clientPushesResponse,
    rejections: ['CLIENT_ID_INVALID', 'REDIS_UNAVAILABLE', 'OVERLOADED'],
    respond: ({ pushes }, { parameter }) =>
      withClientId(parameter, (clientId) => pushes.list(clientId)),
  }),
];

const disconnectRoutes: readonly Route[] = [
  read({
    path: '/v1/disconnects',
    operationId: 'listDisconnects',
    summary: 'Lists the disconnects by a filter since this control leads, with their progress.',
    response: disconnectsResponse,
    rejections: [],
    respond: ({ disconnects }) => disconnects.list(),
  }),
  write({
    path: '/v1/disconnect',
    operationId: 'disconnectClients',
    summary:
      'Starts to disconnect the clients that match a filter, at a rate. Those that connect after the ' +
      'start stay.',
    body: disconnectBody,
    response: disconnectInfo,
    rejections: ['CLIENT_ID_INVALID', 'SELECTOR_INVALID', 'NOT_FOUND', 'DISCONNECT_IN_PROGRESS'],
    respond: ({ disconnects }, { body, actor }) => disconnects.start(body, actor),
  }),
  write({
    path: '/v1/cancel-disconnect',
    operationId: 'cancelDisconnect',
    summary: 'Cancels the disconnect in progress.',
    body: reasonBody,
    response: disconnectInfo,
    rejections: ['NOT_FOUND'],
    respond: ({ disconnects }, { body, actor }) => disconnects.cancel(body.reason, actor),
  }),
];

const blockRoutes: readonly Route[] = [
  read({
    path: '/v1/blocks',
    operationId: 'listBlocks',
    summary: 'Lists the clients and users that may not connect.',
    response: blocksResponse,
    rejections: ['REDIS_UNAVAILABLE'],
    respond: ({ blocks }) => blocks.list(),
  }),
  write({
    path: '/v1/block',
    operationId: 'block',
    summary:
      'Blocks a client or a user for a time: within a second, every edge ends its connections and ' +
      'rejects new ones with CLIENT_BLOCKED. Pushes to it are stored as for one that is away.',
    body: blockBody,
    response: blockResponse,
    rejections: ['CLIENT_ID_INVALID', 'BLOCKS_FULL', 'REDIS_UNAVAILABLE'],
    respond: ({ blocks }, { body, actor }) => blocks.block(body, actor),
  }),
  write({
    path: '/v1/unblock',
    operationId: 'unblock',
    summary: 'Lets a client or a user connect again.',
    body: unblockBody,
    response: unblockResponse,
    rejections: ['CLIENT_ID_INVALID', 'REDIS_UNAVAILABLE'],
    respond: ({ blocks }, { body, actor }) => blocks.unblock(body, actor),
  }),
];

const revocationRoutes: readonly Route[] = [
  read({
    path: '/v1/revocations',
    operationId: 'listRevocations',
    summary: 'Lists the users whose tokens issued before a time are revoked.',
    response: revocationsResponse,
    rejections: ['REDIS_UNAVAILABLE'],
    respond: ({ revocations }) => revocations.list(),
  }),
  write({
    path: '/v1/revoke',
    operationId: 'revoke',
    summary:
      'Revokes the tokens of a user, or of all, that were issued before a time, and those without ' +
      '`iat`: within a second, every edge rejects them with TOKEN_REVOKED, and then ends the ' +
      'connections with such tokens.',
    body: revokeBody,
    response: revocationInfo,
    rejections: ['CLIENT_ID_INVALID', 'REVOCATIONS_FULL', 'REDIS_UNAVAILABLE'],
    respond: ({ revocations }, { body, actor }) => revocations.revoke(body, actor),
  }),
  write({
    path: '/v1/unrevoke',
    operationId: 'unrevoke',
    summary: 'Removes a revocation: tokens that it concerned are valid again until they expire.',
    body: unrevokeBody,
    response: unrevokeResponse,
    rejections: ['CLIENT_ID_INVALID', 'REDIS_UNAVAILABLE'],
    respond: ({ revocations }, { body, actor }) => revocations.unrevoke(body, actor),
  }),
];

export const clientRoutes: readonly Route[] = [
  ...listRoutes,
  ...inboxRoutes,
  ...pushRoutes,
  ...disconnectRoutes,
  ...blockRoutes,
  ...revocationRoutes,
];

/** Calls `respond` with the clientId or user of the path, or returns why it is none. */
function withClientId<Response>(
  parameter: string,
  respond: (clientId: string) => Response,
): Response | Rejection {
  const clientId = parseEncodedClientId(parameter);
  return typeof clientId === 'string' ? respond(clientId) : clientId;
}
