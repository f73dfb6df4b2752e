/** The routes of the operator API, in one table. */
import { query, type Route, read, report, write } from './api.js';
import { canariesResponse, canaryReport, reportedResponse } from './canaries.js';
import { clientRoutes } from './clients/routes.js';
import {
  clusterResponse,
  edgeResponse,
  edgesResponse,
  historyResponse,
  membersResponse,
  memoryResponse,
  shardMapResponse,
  shardsResponse,
} from './cluster-responses.js';
import { ledgerResponse, shardLedgersResponse } from './ledger.js';
import {
  eventsResponse,
  intentResponse,
  movesResponse,
  planResponse,
  settingsResponse,
} from './operation-responses.js';
import { cordonBody, drainBody, reasonBody, rebalanceBody } from './request-bodies.js';
import { describeSlowPush, slowPushesQuery, slowPushesResponse } from './slow-pushes.js';

const clusterRoutes: readonly Route[] = [
  read({
    path: '/v1/cluster',
    operationId: 'getCluster',
    summary: 'Returns a summary of the cluster.',
    response: clusterResponse,
    rejections: [],
    respond: ({ queries }) => queries.cluster(),
  }),
  read({
    path: '/v1/members',
    operationId: 'listMembers',
    summary: 'Returns controls and routers with their builds, and the settings that differ.',
    response: membersResponse,
    rejections: [],
    respond: ({ queries }) => queries.members(),
  }),
  read({
    path: '/v1/history',
    operationId: 'getHistory',
    summary: 'Returns connections, rates and latencies of the last 15 minutes.',
    response: historyResponse,
    rejections: [],
    respond: ({ queries }) => queries.history(),
  }),
  query({
    path: '/v1/slow-pushes',
    operationId: 'listSlowPushes',
    summary:
      'Lists the slowest pushes of the last minute, the slowest first, with what they waited for: up ' +
      'to 20 of each router.',
    query: slowPushesQuery,
    response: slowPushesResponse,
    rejections: ['REQUEST_MALFORMED'],
    respond: ({ queries }, { body }) => ({
      pushes: queries.slowPushes(body.limit).map(describeSlowPush),
    }),
  }),
  read({
    path: '/v1/ledger',
    operationId: 'getLedger',
    summary: 'Returns what has become of all durable pushes, and whether all counters agree.',
    response: ledgerResponse,
    rejections: ['NOT_LEADER'],
    respond: ({ ledger }) => ledger.total(),
  }),
  read({
    path: '/v1/ledger/shards',
    operationId: 'listShardLedgers',
    summary: 'Returns the same for each shard that was pushed to.',
    response: shardLedgersResponse,
    rejections: ['NOT_LEADER'],
    respond: ({ ledger }) => ledger.shards(),
  }),
  read({
    path: '/v1/canaries',
    operationId: 'listCanaries',
    summary: 'Lists the canaries that reported in the last 15 minutes, and what they found.',
    response: canariesResponse,
    rejections: [],
    respond: ({ canaries }) => canaries.list(),
  }),
  report({
    path: '/v1/canary-report',
    operationId: 'reportCanary',
    summary: 'Takes the report of a canary.',
    body: canaryReport,
    response: reportedResponse,
    rejections: ['OVERLOADED'],
    respond: ({ canaries }, { body }) => canaries.report(body),
  }),
  read({
    path: '/v1/edges',
    operationId: 'listEdges',
    summary: 'Lists all edges. Dead edges are listed for some minutes.',
    response: edgesResponse,
    rejections: [],
    respond: ({ queries }) => queries.edges(),
  }),
  read({
    path: '/v1/edges/{id}',
    operationId: 'getEdge',
    summary: 'Returns one edge and its shards.',
    response: edgeResponse,
    rejections: ['NOT_FOUND'],
    // An id needs no percent-encoding, so an encoded one is simply not found.
    respond: ({ queries }, { parameter: id }) => queries.edge(id),
  }),
  read({
    path: '/v1/edges/{id}/memory',
    operationId: 'getEdgeMemory',
    summary: 'Returns the memory of an edge by part, and its cost per connection.',
    response: memoryResponse,
    rejections: ['NOT_FOUND', 'NOT_READY'],
    respond: ({ queries }, { parameter: id }) => queries.edgeMemory(id),
  }),
];

const intentRoutes: readonly Route[] = [
  write({
    path: '/v1/edges/{id}/drain',
    operationId: 'drainEdge',
    summary: 'Drains an edge: all its shards and clients move to other edges.',
    body: drainBody,
    response: intentResponse,
    rejections: ['NOT_FOUND', 'INTENT_UNCHANGED', 'LAST_EDGE'],
    respond: ({ operations }, { parameter: id, body, actor }) =>
      operations.setIntent(id, 'draining', body, actor),
  }),
  write({
    path: '/v1/edges/{id}/cordon',
    operationId: 'cordonEdge',
    summary: 'Cordons an edge: it keeps its shards and gets no more.',
    body: cordonBody,
    response: intentResponse,
    rejections: ['NOT_FOUND', 'INTENT_UNCHANGED', 'LAST_EDGE'],
    respond: ({ operations }, { parameter: id, body, actor }) =>
      operations.setIntent(id, 'cordoned', body, actor),
  }),
  write({
    path: '/v1/edges/{id}/undrain',
    operationId: 'undrainEdge',
    summary: 'Cancels a drain or a cordon.',
    body: reasonBody,
    response: intentResponse,
    rejections: ['NOT_FOUND', 'INTENT_UNCHANGED'],
    respond: ({ operations }, { parameter: id, body, actor }) =>
      operations.setIntent(id, 'none', { ...body, force: false }, actor),
  }),
];

const shardRoutes: readonly Route[] = [
  read({
    path: '/v1/shards',
    operationId: 'listShards',
    summary: 'Lists all shards with tag, owner and number of connections.',
    response: shardsResponse,
    rejections: [],
    respond: ({ queries }) => queries.shards(),
  }),
  read({
    path: '/v1/shard-map',
    operationId: 'getShardMap',
    summary:
      'Returns owner, connections and rate of all shards as lists, a seventh of the size of /v1/shards.',
    response: shardMapResponse,
    rejections: [],
    respond: ({ queries }) => queries.shardMap(),
  }),
];

const moveRoutes: readonly Route[] = [
  read({
    path: '/v1/moves',
    operationId: 'getMoves',
    summary: 'Returns the moves in progress, the number of pending ones, the pace and the drains.',
    response: movesResponse,
    rejections: [],
    respond: ({ operations }) => operations.moves(),
  }),
  read({
    path: '/v1/plan',
    operationId: 'planRebalance',
    summary: 'Returns the plan that a rebalance would carry out now.',
    response: planResponse,
    rejections: ['NOT_LEADER', 'NOT_READY'],
    respond: ({ operations }) => operations.plan(),
  }),
  write({
    path: '/v1/rebalance',
    operationId: 'rebalance',
    summary: 'Starts to rebalance. With `on`, only if the plan is still the one that was shown.',
    body: rebalanceBody,
    response: planResponse,
    rejections: ['PLAN_OUTDATED', 'NOT_READY'],
    respond: ({ operations }, { body, actor }) => operations.rebalance(body, actor),
  }),
  ...(
    [
      [
        'pause',
        'pauseMoves',
        'Pauses moves: none starts until a resume; those in progress complete.',
      ],
      ['resume', 'resumeMoves', 'Ends a pause.'],
      [
        'abort',
        'abortMoves',
        'Rolls back the moves that can still be rolled back, and drops the pending ones.',
      ],
      [
        'confirm-lost-edges',
        'confirmLostEdges',
        'Confirms that the edges that vanished at once are lost, which ends the freeze.',
      ],
    ] as const
  ).map(([operation, operationId, summary]) =>
    write({
      path: `/v1/${operation}`,
      operationId,
      summary,
      body: reasonBody,
      response: movesResponse,
      rejections: [],
      respond: ({ operations }, { body, actor }) =>
        operations.perform(operation, { actor, ...body }),
    }),
  ),
];

const logRoutes: readonly Route[] = [
  {
    ...read({
      path: '/v1/events',
      operationId: 'listEvents',
      summary: 'Returns the events after an id. As a stream, it continues with new events.',
      response: eventsResponse,
      rejections: ['REQUEST_MALFORMED', 'OVERLOADED'],
      respond: ({ operations }, { after }) => ({ events: operations.eventsAfter(after) }),
    }),
    isLog: true,
  },
  read({
    path: '/v1/settings',
    operationId: 'getSettings',
    summary: 'Returns the settings of this control, without secrets.',
    response: settingsResponse,
    rejections: [],
    respond: ({ settings }) => ({ settings }),
  }),
];

export const routes: readonly Route[] = [
  ...clusterRoutes,
  ...intentRoutes,
  ...shardRoutes,
  ...clientRoutes,
  ...moveRoutes,
  ...logRoutes,
];
