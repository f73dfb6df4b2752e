/** Edges with clients in memory, as control scans them. */
import type { ClientScans } from '../../../../control/links/client-scans.js';
import { type ConnectedClient, SlowBy } from '../../../../proto/gen/longline/v1/clients.js';

/** Slots that one scan looks at. */
const WINDOW = 8;

export interface FakeEdge {
  readonly id: string;
  /** By slot; undefined: the slot is free. */
  readonly clients: (ConnectedClient | undefined)[];
  isSilent?: boolean;
}

export function clientAt(edgeId: string, slot: number, changes: Partial<ConnectedClient> = {}) {
  const connection = {
    edgeId,
    clientId: `${edgeId}-${slot}`,
    connectedAtMs: 1_700_000_000_000,
    connectedForMs: 5_000,
    protocol: 'sse',
    remoteAddress: '192.0.2.7:51324',
    labels: '',
    guest: false,
  };
  return { connection, bytesWaiting: 0, unconfirmed: 0, dropped: 0, slot, ...changes };
}

export function scansOf(edges: readonly FakeEdge[]): Pick<ClientScans, 'scan'> {
  return {
    async scan(edgeId, { fromSlot, clientsMax, slowBy, disconnect, filter }) {
      const edge = edges.find(({ id }) => id === edgeId);
      if (edge === undefined || edge.isSilent) return undefined;
      const end = fromSlot + WINDOW;
      const { clientId, user } = { clientId: '', user: '', ...filter };
      const isMeant = ({ connection }: ConnectedClient) =>
        [connection!.clientId, ''].includes(clientId) && [connection!.clientId, ''].includes(user);
      const isNew = ({ connection }: ConnectedClient) =>
        connection!.connectedForMs < (filter?.olderThanMs ?? 0);
      const found = edge.clients
        .slice(fromSlot, end)
        .filter(
          (client) => client !== undefined && isMeant(client) && !isNew(client),
        ) as ConnectedClient[];
      const nextSlot = end < edge.clients.length ? end : 0;
      if (slowBy !== SlowBy.SLOW_BY_UNSPECIFIED) {
        const slowest = found
          .filter(({ bytesWaiting }) => bytesWaiting > 0)
          .sort((a, b) => b.bytesWaiting - a.bytesWaiting);
        return { scanId: 1, clients: slowest.slice(0, clientsMax), nextSlot, disconnected: 0 };
      }
      const taken = found.slice(0, clientsMax);
      const next = found[clientsMax]?.slot ?? nextSlot;
      if (!disconnect) return { scanId: 1, clients: taken, nextSlot: next, disconnected: 0 };
      for (const { slot } of taken) edge.clients[slot] = undefined;
      return { scanId: 1, clients: [], nextSlot: next, disconnected: taken.length };
    },
  };
}
