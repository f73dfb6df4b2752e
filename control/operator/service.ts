/** The gRPC OperatorService: the same answers as over HTTP, in the words of the wire. */
import type { handleServerStreamingCall, handleUnaryCall } from '@grpc/grpc-js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { authorizationOf, toServiceError } from '../../common/process/grpc-server.js';
import type {
  OperatorServiceServer,
  WatchEventsRequest,
  WatchEventsResponse,
} from '../../proto/gen/longline/v1/operator.js';
import type { Need } from './access.js';
import type { OperatorApi } from './openapi.js';
import { cordonBody, drainBody, parseBody, reasonBody, rebalanceBody } from './requests.js';
import {
  edgeToWire,
  eventToWire,
  INTENTS,
  intentOf,
  movesToWire,
  moveToWire,
  planToWire,
} from './wire.js';

/** More than all that is kept, so that only a watcher who does not read reaches it. */
const EVENTS_WAITING_MAX = 4096;

export function createOperatorService(api: OperatorApi): OperatorServiceServer {
  const { queries, orders } = api;
  const read = unaryOf(api, 'read');
  const write = unaryOf(api, 'write');
  const tell = (order: Parameters<typeof orders.tell>[0]) =>
    write(({ reason }: { reason: string }, actor) => {
      const body = parseBody(reasonBody, { reason });
      if ('code' in body) return body;
      return wrap('moves', movesToWire, orders.tell(order, { actor, ...body.parsed }));
    });
  return {
    getCluster: read(() => {
      const cluster = queries.cluster();
      return { ...cluster, leader: cluster.leader ?? '' };
    }),
    listEdges: read(() => ({ edges: queries.edges().edges.map(edgeToWire) })),
    getEdge: read(({ edgeId }) => {
      const answer = queries.edge(edgeId);
      return 'code' in answer ? answer : { edge: edgeToWire(answer.edge), shards: answer.shards };
    }),
    getEdgeMemory: read(({ edgeId }) => queries.edgeMemory(edgeId)),
    listShards: read(() => ({
      shards: queries.shards().shards.map((shard) => ({
        ...shard,
        owner: shard.owner ?? '',
        connections: shard.connections ?? 0,
      })),
    })),
    locateClient: read(async ({ clientId }) => {
      const answer = await queries.client(clientId);
      if ('code' in answer) return answer;
      const { owner, ownerUrl, move } = answer;
      return {
        ...answer,
        owner: owner ?? '',
        ownerUrl: ownerUrl ?? '',
        move: move === null ? undefined : moveToWire(move),
      };
    }),
    getMoves: read(() => wrap('moves', movesToWire, orders.moves())),
    planRebalance: read(() => wrap('plan', planToWire, orders.plan())),
    rebalance: write(({ on, reason }, actor) => {
      const body = parseBody(rebalanceBody, { on, reason });
      if ('code' in body) return body;
      return wrap('plan', planToWire, orders.rebalance(body.parsed, actor));
    }),
    pause: tell('pause'),
    resume: tell('resume'),
    abort: tell('abort'),
    confirmLostEdges: tell('confirm-lost-edges'),
    setIntent: write(({ edgeId, intent: wanted, rate, deadlineMs, force, reason }, actor) => {
      const intent = intentOf(wanted);
      if (intent === undefined) return rejection('REQUEST_MALFORMED', `no intent is ${wanted}`);
      // What only a drain has is rejected with anything else.
      const body = parseBody(intent === 'draining' ? drainBody : cordonBody, {
        force,
        reason,
        ...(rate !== undefined && { rate }),
        ...(deadlineMs !== undefined && { deadlineMs }),
      });
      if ('code' in body) return body;
      const answer = orders.setIntent(edgeId, intent, body.parsed, actor);
      return 'code' in answer ? answer : { edgeId, intent: INTENTS[intent] };
    }),
    watchEvents: watchEvents(api),
  };
}

function unaryOf({ access }: OperatorApi, need: Need) {
  return <Request, Response extends object>(
    answer: (
      request: Request,
      actor: string,
    ) => Response | Rejection | Promise<Response | Rejection>,
  ): handleUnaryCall<Request, Response> =>
    async (call, callback) => {
      const actor = access.admit(authorizationOf(call.metadata), need);
      const result = typeof actor === 'string' ? await answer(call.request, actor) : actor;
      if ('code' in result) callback(toServiceError(result));
      else callback(null, result);
    };
}

function watchEvents(
  api: OperatorApi,
): handleServerStreamingCall<WatchEventsRequest, WatchEventsResponse> {
  return (call) => {
    const actor = api.access.admit(authorizationOf(call.metadata), 'read');
    if (typeof actor !== 'string') {
      call.emit('error', toServiceError(actor));
      return;
    }
    if (call.cancelled) return;
    let unfollow = () => {};
    let isOver = false;
    const end = () => {
      isOver = true;
      unfollow();
    };
    call.once('cancelled', end);
    unfollow = api.orders.followEvents(call.request.after, (event) => {
      if (isOver) return;
      call.write({ event: eventToWire(event) });
      if (call.writableLength <= EVENTS_WAITING_MAX) return;
      end();
      call.emit('error', toServiceError(rejection('OVERLOADED', 'the watcher does not read')));
    });
  };
}

function wrap<Name extends string, Answer extends object, Wire>(
  name: Name,
  toWire: (answer: Answer) => Wire,
  answer: Answer | Rejection,
): { [key in Name]: Wire } | Rejection {
  if ('code' in answer) return answer;
  return { [name]: toWire(answer) } as { [key in Name]: Wire };
}
