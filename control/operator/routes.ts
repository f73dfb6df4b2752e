/** The routes of the operator API, in one table. */
import { parseEncodedClientId } from '../../common/wire/client-id.js';
import {
  clientAnswer,
  clusterAnswer,
  edgeAnswer,
  edgesAnswer,
  memoryAnswer,
  shardsAnswer,
} from './answers.js';
import { type Route, read, write } from './openapi.js';
import {
  eventsAnswer,
  intentAnswer,
  movesAnswer,
  planAnswer,
  settingsAnswer,
} from './operation-answers.js';
import { cordonBody, drainBody, reasonBody, rebalanceBody } from './requests.js';

export const routes: readonly Route[] = [
  read({
    path: '/v1/cluster',
    summary: 'The cluster in a few numbers.',
    answer: clusterAnswer,
    rejections: [],
    respond: ({ queries }) => queries.cluster(),
  }),
  read({
    path: '/v1/edges',
    summary: 'All edges that control has heard of, dead ones for some minutes.',
    answer: edgesAnswer,
    rejections: [],
    respond: ({ queries }) => queries.edges(),
  }),
  read({
    path: '/v1/edges/{id}',
    summary: 'One edge and its shards.',
    answer: edgeAnswer,
    rejections: ['NOT_FOUND'],
    // An id has only characters that need no encoding, so an encoded one is simply not found.
    respond: ({ queries }, { parameter: id }) => queries.edge(id),
  }),
  read({
    path: '/v1/edges/{id}/memory',
    summary: 'Where the memory of an edge is, and what of it a connection costs.',
    answer: memoryAnswer,
    rejections: ['NOT_FOUND', 'NOT_READY'],
    respond: ({ queries }, { parameter: id }) => queries.edgeMemory(id),
  }),
  write({
    path: '/v1/edges/{id}/drain',
    summary: 'The edge is to lose all its shards and clients.',
    body: drainBody,
    answer: intentAnswer,
    rejections: ['NOT_FOUND', 'INTENT_UNCHANGED', 'LAST_EDGE'],
    respond: ({ orders }, { parameter: id, body, actor }) =>
      orders.setIntent(id, 'draining', body, actor),
  }),
  write({
    path: '/v1/edges/{id}/cordon',
    summary: 'The edge keeps its shards and gets no more.',
    body: cordonBody,
    answer: intentAnswer,
    rejections: ['NOT_FOUND', 'INTENT_UNCHANGED', 'LAST_EDGE'],
    respond: ({ orders }, { parameter: id, body, actor }) =>
      orders.setIntent(id, 'cordoned', body, actor),
  }),
  write({
    path: '/v1/edges/{id}/undrain',
    summary: 'Takes a drain or a cordon back.',
    body: reasonBody,
    answer: intentAnswer,
    rejections: ['NOT_FOUND', 'INTENT_UNCHANGED'],
    respond: ({ orders }, { parameter: id, body, actor }) =>
      orders.setIntent(id, 'none', { ...body, force: false }, actor),
  }),
  read({
    path: '/v1/shards',
    summary: 'All shards: tag, owner, connections.',
    answer: shardsAnswer,
    rejections: [],
    respond: ({ queries }) => queries.shards(),
  }),
  read({
    path: '/v1/clients/{clientId}',
    summary: 'Where a client belongs, and where it is connected now.',
    answer: clientAnswer,
    rejections: ['CLIENT_ID_INVALID', 'REDIS_UNAVAILABLE', 'OVERLOADED'],
    respond: ({ queries }, { parameter }) => {
      const clientId = parseEncodedClientId(parameter);
      return typeof clientId === 'string' ? queries.client(clientId) : clientId;
    },
  }),
  read({
    path: '/v1/moves',
    summary: 'What is on its way, what waits, how fast it goes.',
    answer: movesAnswer,
    rejections: [],
    respond: ({ orders }) => orders.moves(),
  }),
  read({
    path: '/v1/plan',
    summary: 'What a rebalance would do now.',
    answer: planAnswer,
    rejections: ['NOT_LEADER', 'NOT_READY'],
    respond: ({ orders }) => orders.plan(),
  }),
  write({
    path: '/v1/rebalance',
    summary: 'Plans and begins to move; with on, exactly the plan that was shown.',
    body: rebalanceBody,
    answer: planAnswer,
    rejections: ['PLAN_OUTDATED', 'NOT_READY'],
    respond: ({ orders }, { body, actor }) => orders.rebalance(body, actor),
  }),
  ...(
    [
      ['pause', 'No move begins until resume; what is under way ends.'],
      ['resume', 'Takes a pause back.'],
      ['abort', 'Takes back what can be taken back, and forgets what waits.'],
      [
        'confirm-lost-edges',
        'The edges that have vanished at once are gone: what is frozen goes on.',
      ],
    ] as const
  ).map(([order, summary]) =>
    write({
      path: `/v1/${order}`,
      summary,
      body: reasonBody,
      answer: movesAnswer,
      rejections: [],
      respond: ({ orders }, { body, actor }) => orders.tell(order, { actor, ...body }),
    }),
  ),
  {
    ...read({
      path: '/v1/events',
      summary: 'The event log after an id; as a stream, all that happens from then on, too.',
      answer: eventsAnswer,
      rejections: ['REQUEST_MALFORMED', 'OVERLOADED'],
      respond: ({ orders }, { after }) => ({ events: orders.eventsAfter(after) }),
    }),
    isLog: true,
  },
  read({
    path: '/v1/settings',
    summary: 'What this control is set to.',
    answer: settingsAnswer,
    rejections: [],
    respond: ({ settings }) => ({ settings }),
  }),
];
