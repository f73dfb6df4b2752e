/**
 * The connected clients of the cluster, from the edges: a page of those that match a filter, or the
 * slowest. Connections are stored nowhere, so each answer is as fresh as the call. Several edges
 * are asked at once, each for a bounded part at a time, and an answer comes in time, complete or
 * not.
 */
import type { z } from 'zod';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import {
  type ClientFilter,
  type ConnectedClient,
  SlowBy,
} from '../../../proto/gen/longline/v1/clients.js';
import type { ClientScans } from '../../links/client-scans.js';
import { type FilterFields, toFilter } from './filter.js';
import type { clientsQuery, slowQuery } from './requests.js';
import type { ClientInfo, ClientsResponse, SlowClientsResponse } from './responses.js';

/** With the last scan, below the time for which a control that does not lead awaits the leader. */
const ANSWER_MS = 1_500;
/**
 * Edges that are queried at once. For a page, each may answer with a page; for the slowest, with a
 * few clients.
 */
const EDGES_PER_PAGE = 16;
const EDGES_AT_ONCE = 128;
/** Maximum lists in progress; each makes work for edges. */
const LISTS_MAX = 8;

/** Where the next page starts. */
interface Place {
  readonly edgeId: string;
  readonly slot: number;
}

const SLOW_BY = {
  bytes: SlowBy.SLOW_BY_BYTES,
  unconfirmed: SlowBy.SLOW_BY_UNCONFIRMED,
  drops: SlowBy.SLOW_BY_DROPS,
} as const;

const MEASURES = {
  bytes: 'bytesWaiting',
  unconfirmed: 'unconfirmed',
  drops: 'dropped',
} as const;

interface EdgePart {
  readonly clients: readonly ConnectedClient[];
  /** Slot where to continue; undefined: the edge has no more. */
  readonly nextSlot: number | undefined;
  readonly isSilent: boolean;
}

export class ClientLists {
  #inProgress = 0;

  /** @param rejectAsFollower why this control cannot answer; undefined: it leads */
  constructor(
    readonly scans: Pick<ClientScans, 'scan'>,
    /** Edges that may have clients, sorted. */
    readonly members: () => readonly string[],
    readonly shardCount: number,
    readonly rejectAsFollower: () => Rejection | undefined,
  ) {}

  list(query: z.infer<typeof clientsQuery>): Promise<ClientsResponse | Rejection> {
    return this.#bounded(query, async (filter) => {
      const from = query.page === undefined ? { edgeId: '', slot: 0 } : readPlace(query.page);
      if ('code' in from) return from;
      return this.#page(filter, from, query.limit);
    });
  }

  slowest(query: z.infer<typeof slowQuery>): Promise<SlowClientsResponse | Rejection> {
    return this.#bounded(query, async (filter) => {
      const { by, limit } = query;
      const endMs = performance.now() + ANSWER_MS;
      const worst: ConnectedClient[] = [];
      const silentEdges: string[] = [];
      const measure = MEASURES[by];
      await this.#eachEdge(this.#edgesOf(filter), async (edgeId) => {
        const isDone = await this.#wholeEdge(edgeId, filter, SLOW_BY[by], limit, endMs, (found) => {
          worst.push(...found);
          worst.sort((a, b) => b[measure] - a[measure]).splice(limit);
        });
        if (!isDone) silentEdges.push(edgeId);
      });
      return { clients: worst.map(describe), silentEdges: silentEdges.sort() };
    });
  }

  async #bounded<Answer extends object>(
    fields: FilterFields,
    answer: (filter: ClientFilter) => Promise<Answer | Rejection>,
  ): Promise<Answer | Rejection> {
    const filter = toFilter(fields, this.shardCount);
    if ('code' in filter) return filter;
    const rejected = this.rejectAsFollower() ?? this.#rejectEdge(filter);
    if (rejected !== undefined) return rejected;
    if (this.#inProgress >= LISTS_MAX) {
      return rejection('OVERLOADED', `${LISTS_MAX} lists of clients are in progress; retry later`);
    }
    this.#inProgress++;
    try {
      return await answer(filter);
    } finally {
      this.#inProgress--;
    }
  }

  #rejectEdge({ edgeId }: ClientFilter): Rejection | undefined {
    if (edgeId === '' || this.members().includes(edgeId)) return undefined;
    return rejection('NOT_FOUND', `edge ${edgeId} is unknown`);
  }

  #edgesOf({ edgeId }: ClientFilter): string[] {
    return edgeId === '' ? [...this.members()] : [edgeId];
  }

  async #page(filter: ClientFilter, from: Place, limit: number): Promise<ClientsResponse> {
    const endMs = performance.now() + ANSWER_MS;
    const clients: ConnectedClient[] = [];
    const silentEdges: string[] = [];
    const edges = this.#edgesOf(filter).filter((edgeId) => edgeId >= from.edgeId);
    while (edges.length > 0 && clients.length < limit && performance.now() < endMs) {
      const group = edges.slice(0, EDGES_PER_PAGE);
      const parts = await Promise.all(
        group.map((edgeId) => {
          const fromSlot = edgeId === from.edgeId ? from.slot : 0;
          return this.#edgePart(edgeId, filter, fromSlot, limit, endMs);
        }),
      );
      for (const [i, part] of parts.entries()) {
        const edgeId = group[i]!;
        const left = limit - clients.length;
        clients.push(...part.clients.slice(0, left));
        if (part.isSilent) silentEdges.push(edgeId);
        const nextSlot = part.clients[left]?.slot ?? part.nextSlot;
        if (nextSlot !== undefined) return pageOf(clients, { edgeId, slot: nextSlot }, silentEdges);
        edges.shift();
      }
    }
    const [next] = edges;
    return pageOf(clients, next === undefined ? undefined : { edgeId: next, slot: 0 }, silentEdges);
  }

  /**
   * The first clients of an edge from a slot on: `limit` of them, or as many as there is time for.
   */
  async #edgePart(
    edgeId: string,
    filter: ClientFilter,
    fromSlot: number,
    limit: number,
    endMs: number,
  ): Promise<EdgePart> {
    const clients: ConnectedClient[] = [];
    let slot = fromSlot;
    for (;;) {
      if (clients.length >= limit || performance.now() >= endMs) {
        return { clients, nextSlot: slot, isSilent: false };
      }
      const result = await this.scans.scan(edgeId, {
        filter,
        fromSlot: slot,
        clientsMax: limit - clients.length,
        slowBy: SlowBy.SLOW_BY_UNSPECIFIED,
        disconnect: false,
      });
      if (result === undefined) return { clients, nextSlot: undefined, isSilent: true };
      clients.push(...result.clients);
      if (result.nextSlot <= slot) return { clients, nextSlot: undefined, isSilent: false };
      slot = result.nextSlot;
    }
  }

  /**
   * Calls `onFound` for each part of an edge. Resolves with false if not all of it was looked at.
   */
  async #wholeEdge(
    edgeId: string,
    filter: ClientFilter,
    slowBy: SlowBy,
    clientsMax: number,
    endMs: number,
    onFound: (clients: readonly ConnectedClient[]) => void,
  ): Promise<boolean> {
    let fromSlot = 0;
    while (performance.now() < endMs) {
      const scan = { filter, fromSlot, clientsMax, slowBy, disconnect: false };
      const result = await this.scans.scan(edgeId, scan, endMs - performance.now());
      if (result === undefined) return false;
      onFound(result.clients);
      if (result.nextSlot <= fromSlot) return true;
      fromSlot = result.nextSlot;
    }
    return false;
  }

  /** Some at a time, so that control holds the answers of few. */
  async #eachEdge(edgeIds: string[], each: (edgeId: string) => Promise<void>): Promise<void> {
    const left = [...edgeIds];
    const work = async () => {
      for (let edgeId = left.shift(); edgeId !== undefined; edgeId = left.shift())
        await each(edgeId);
    };
    await Promise.all(Array.from({ length: EDGES_AT_ONCE }, work));
  }
}

function pageOf(
  clients: readonly ConnectedClient[],
  next: Place | undefined,
  silentEdges: string[],
): ClientsResponse {
  const place = next && Buffer.from(`${next.slot} ${next.edgeId}`).toString('base64url');
  return { clients: clients.map(describe), next: place ?? null, silentEdges };
}

function readPlace(page: string): Place | Rejection {
  const [, slot, edgeId] =
    /^(\d{1,9}) (.{1,128})$/.exec(Buffer.from(page, 'base64url').toString()) ?? [];
  if (edgeId !== undefined) return { edgeId, slot: Number(slot) };
  return rejection('REQUEST_MALFORMED', 'page is not the `next` of a page');
}

function describe({ connection, bytesWaiting, unconfirmed, dropped }: ConnectedClient): ClientInfo {
  return { ...connection!, bytesWaiting, unconfirmed, dropped };
}
