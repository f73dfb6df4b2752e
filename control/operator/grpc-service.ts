/** The operator API over gRPC: the same responses as over HTTP, as protobuf messages. */
import type { handleServerStreamingCall } from '@grpc/grpc-js';
import { parseBody } from '../../common/http/parse-body.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { answerByMs, authorizationOf, toServiceError } from '../../common/process/grpc/calls.js';
import type {
  OperatorServiceServer,
  WatchEventsRequest,
  WatchEventsResponse,
} from '../../proto/gen/longline/v1/operator.js';
import type { OperatorApi } from './api.js';
import { createClientMethods } from './clients/grpc-methods.js';
import { unaryOf } from './grpc-calls.js';
import {
  clientToWire,
  edgeToWire,
  eventToWire,
  INTENTS,
  intentOf,
  movesToWire,
  planToWire,
} from './grpc-wire.js';
import type { SimpleOperation } from './operations.js';
import { cordonBody, drainBody, reasonBody, rebalanceBody } from './request-bodies.js';
import { slowPushesQuery } from './slow-pushes.js';

/** More than all stored events, so that only a client that does not read reaches it. */
const EVENTS_BUFFERED_MAX = 8192;

export function createOperatorService(api: OperatorApi): OperatorServiceServer {
  const { queries, operations } = api;
  const read = unaryOf(api, 'read');
  const write = unaryOf(api, 'write');
  const perform = (operation: SimpleOperation) =>
    write(({ reason }: { reason: string }, actor) => {
      const body = parseBody(reasonBody, { reason });
      if ('code' in body) return body;
      return wrap('moves', movesToWire, operations.perform(operation, { actor, ...body.parsed }));
    });
  return {
    getCluster: read(() => {
      const cluster = queries.cluster();
      return { ...cluster, leader: cluster.leader ?? '' };
    }),
    listEdges: read(() => ({ edges: queries.edges().edges.map(edgeToWire) })),
    listSlowPushes: read(({ limit }) => {
      const query = parseBody(slowPushesQuery, limit > 0 ? { limit } : {});
      return 'code' in query ? query : { pushes: queries.slowPushes(query.parsed.limit) };
    }),
    getEdge: read(({ edgeId }) => {
      const response = queries.edge(edgeId);
      return 'code' in response
        ? response
        : { edge: edgeToWire(response.edge), shards: response.shards };
    }),
    getEdgeMemory: read(({ edgeId }) => queries.edgeMemory(edgeId)),
    listShards: read(() => ({
      shards: queries.shards().shards.map((shard) => ({
        ...shard,
        owner: shard.owner ?? '',
        connections: shard.connections ?? 0,
        ownedSince: shard.ownedSince ?? undefined,
      })),
    })),
    locateClient: read(async ({ clientId }, _actor, call) => {
      const response = await queries.client(clientId, answerByMs(call));
      return 'code' in response ? response : clientToWire(response);
    }),
    locateUser: read(async ({ user }, _actor, call) => {
      const response = await queries.user(user, answerByMs(call));
      if ('code' in response) return response;
      return { devices: response.devices.map(clientToWire), more: response.more };
    }),
    getMoves: read(() => wrap('moves', movesToWire, operations.moves())),
    planRebalance: read(() => wrap('plan', planToWire, operations.plan())),
    rebalance: write(({ on, reason }, actor) => {
      const body = parseBody(rebalanceBody, { on, reason });
      if ('code' in body) return body;
      return wrap('plan', planToWire, operations.rebalance(body.parsed, actor));
    }),
    pause: perform('pause'),
    resume: perform('resume'),
    abort: perform('abort'),
    confirmLostEdges: perform('confirm-lost-edges'),
    setIntent: write(({ edgeId, intent: wire, rate, deadlineMs, force, reason }, actor) => {
      const intent = intentOf(wire);
      if (intent === undefined) return rejection('REQUEST_MALFORMED', `intent ${wire} is unknown`);
      // The fields of a drain are rejected with any other intent.
      const body = parseBody(intent === 'draining' ? drainBody : cordonBody, {
        force,
        reason,
        ...(rate !== undefined && { rate }),
        ...(deadlineMs !== undefined && { deadlineMs: Number(deadlineMs) }),
      });
      if ('code' in body) return body;
      const response = operations.setIntent(edgeId, intent, body.parsed, actor);
      return 'code' in response ? response : { edgeId, intent: INTENTS[intent] };
    }),
    ...createClientMethods(api, read, write),
    watchEvents: watchEvents(api),
  };
}

function watchEvents(
  api: OperatorApi,
): handleServerStreamingCall<WatchEventsRequest, WatchEventsResponse> {
  return (call) => {
    const actor = api.access.authorize(authorizationOf(call.metadata), 'read');
    if (typeof actor !== 'string') {
      call.emit('error', toServiceError(actor));
      return;
    }
    if (call.cancelled) return;
    let unfollow = () => {};
    let hasEnded = false;
    const end = () => {
      hasEnded = true;
      unfollow();
    };
    call.once('cancelled', end);
    unfollow = api.operations.followEvents(Number(call.request.after), (event) => {
      if (hasEnded) return;
      call.write({ event: eventToWire(event) });
      if (call.writableLength <= EVENTS_BUFFERED_MAX) return;
      end();
      const message = `${EVENTS_BUFFERED_MAX} events are unread; watch again and read faster`;
      call.emit('error', toServiceError(rejection('OVERLOADED', message)));
    });
  };
}

function wrap<Name extends string, Body extends object, Wire>(
  name: Name,
  toWire: (response: Body) => Wire,
  response: Body | Rejection,
): { [key in Name]: Wire } | Rejection {
  if ('code' in response) return response;
  return { [name]: toWire(response) } as { [key in Name]: Wire };
}
