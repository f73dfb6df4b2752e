/** The methods of the gRPC OperatorService about clients. */
import { parseBody } from '../../../common/http/parse-body.js';
import { type ConnectedClient, SlowBy } from '../../../proto/gen/longline/v1/clients.js';
import type {
  OperatorServiceServer,
  DisconnectInfo as WireDisconnect,
} from '../../../proto/gen/longline/v1/operator.js';
import type { OperatorApi } from '../api.js';
import type { unaryOf } from '../grpc-calls.js';
import { blockBody, reasonBody, unblockBody } from '../request-bodies.js';
import { fieldsOf } from './filter.js';
import { clientsQuery, disconnectBody, revokeBody, slowQuery, unrevokeBody } from './requests.js';
import type { ClientInfo, DisconnectInfo } from './responses.js';

type Methods = Pick<
  OperatorServiceServer,
  | 'listBlocks'
  | 'block'
  | 'unblock'
  | 'listRevocations'
  | 'revoke'
  | 'unrevoke'
  | 'listClients'
  | 'listSlowClients'
  | 'listDisconnects'
  | 'disconnectClients'
  | 'cancelDisconnect'
>;
type Unary = ReturnType<typeof unaryOf>;

const BY: Readonly<Partial<Record<SlowBy, string>>> = {
  [SlowBy.SLOW_BY_UNSPECIFIED]: 'bytes',
  [SlowBy.SLOW_BY_BYTES]: 'bytes',
  [SlowBy.SLOW_BY_UNCONFIRMED]: 'unconfirmed',
  [SlowBy.SLOW_BY_DROPS]: 'drops',
};

export function createClientMethods(api: OperatorApi, read: Unary, write: Unary): Methods {
  return {
    ...restrictions(api, read, write),
    ...lists(api, read),
    ...disconnects(api, read, write),
  };
}

function restrictions({ blocks, revocations }: OperatorApi, read: Unary, write: Unary) {
  return {
    listBlocks: read(() => blocks.list()),
    block: write(({ name, forMs, reason }, actor) => {
      const body = parseBody(blockBody, { name, forMs: Number(forMs), reason });
      return 'code' in body ? body : blocks.block(body.parsed, actor);
    }),
    unblock: write(({ name, reason }, actor) => {
      const body = parseBody(unblockBody, { name, reason });
      return 'code' in body ? body : blocks.unblock(body.parsed, actor);
    }),
    listRevocations: read(() => revocations.list()),
    revoke: write(({ user, beforeMs, reason }, actor) => {
      const body = parseBody(revokeBody, { user, beforeMs, reason });
      return 'code' in body ? body : revocations.revoke(body.parsed, actor);
    }),
    unrevoke: write(({ user, reason }, actor) => {
      const body = parseBody(unrevokeBody, { user, reason });
      return 'code' in body ? body : revocations.unrevoke(body.parsed, actor);
    }),
  } satisfies Partial<Methods>;
}

function lists({ clients }: OperatorApi, read: Unary) {
  return {
    listClients: read(async ({ filter, limit, page }) => {
      const query = parseBody(clientsQuery, {
        ...fieldsOf(filter),
        ...(limit > 0 && { limit }),
        ...(page !== '' && { page }),
      });
      if ('code' in query) return query;
      const response = await clients.list(query.parsed);
      if ('code' in response) return response;
      const { next, silentEdges } = response;
      return { clients: response.clients.map(toWire), next: next ?? '', silentEdges };
    }),
    listSlowClients: read(async ({ by, limit, filter }) => {
      const query = parseBody(slowQuery, {
        ...fieldsOf(filter),
        ...(limit > 0 && { limit }),
        by: BY[by] ?? by,
      });
      if ('code' in query) return query;
      const response = await clients.slowest(query.parsed);
      if ('code' in response) return response;
      return { clients: response.clients.map(toWire), silentEdges: response.silentEdges };
    }),
  } satisfies Partial<Methods>;
}

function disconnects({ disconnects: api }: OperatorApi, read: Unary, write: Unary) {
  return {
    listDisconnects: read(() => ({ disconnects: api.list().disconnects.map(disconnectToWire) })),
    disconnectClients: write(({ filter, all, rate, reason }, actor) => {
      const body = parseBody(disconnectBody, { ...fieldsOf(filter), all, rate, reason });
      if ('code' in body) return body;
      const started = api.start(body.parsed, actor);
      return 'code' in started ? started : { disconnect: disconnectToWire(started) };
    }),
    cancelDisconnect: write(({ reason }, actor) => {
      const body = parseBody(reasonBody, { reason });
      if ('code' in body) return body;
      const cancelled = api.cancel(body.parsed.reason, actor);
      return 'code' in cancelled ? cancelled : { disconnect: disconnectToWire(cancelled) };
    }),
  } satisfies Partial<Methods>;
}

/** Without the slot, which means something to control only. */
function toWire({
  bytesWaiting,
  unconfirmed,
  dropped,
  ...connection
}: ClientInfo): ConnectedClient {
  return { connection, bytesWaiting, unconfirmed, dropped, slot: 0 };
}

function disconnectToWire({ filter, ...info }: DisconnectInfo): WireDisconnect {
  const { edge: edgeId = '', shard, clientId = '', user = '' } = filter;
  const { selector = '', protocol = '', olderThanMs = 0 } = filter;
  return { ...info, filter: { edgeId, shard, clientId, user, selector, protocol, olderThanMs } };
}
