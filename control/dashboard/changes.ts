/** Changes of a client between two reads of its state, and its events, as lines. Pure. */
import type { TrailResponse } from '../operator/clients/responses.js';
import type { ClientResponse } from '../operator/cluster-responses.js';
import { duration } from './format.js';

export interface TrailLine {
  /** Unique among the lines of a client. */
  readonly key: string;
  readonly atMs: number;
  readonly type: string;
  readonly text: string;
}

type Connection = ClientResponse['connections'][number];

/** Times of one connection, which an edge computes for each answer. */
const SAME_MS = 1_000;

/** @param atMs time of the later read */
export function changesOf(
  before: ClientResponse,
  after: ClientResponse,
  atMs: number,
): TrailLine[] {
  const lines: TrailLine[] = [];
  const add = (type: string, text: string) =>
    lines.push({ key: `${atMs} ${lines.length}`, atMs, type, text });
  for (const one of after.connections) {
    if (!before.connections.some((other) => isSame(one, other)))
      add('connected', `on ${one.edgeId} over ${one.protocol}`);
  }
  // An edge that did not answer in time may still have its connection.
  for (const one of after.complete ? before.connections : []) {
    if (!after.connections.some((other) => isSame(one, other)))
      add('disconnected', `from ${one.edgeId}`);
  }
  if (after.owner !== before.owner) {
    add('shard', `${after.shard} moved: ${before.owner ?? 'none'} → ${after.owner ?? 'none'}`);
  }
  if (before.inbox === null || after.inbox === null) return lines;
  const { newestId, confirmedId, goneId } = after.inbox;
  if (newestId !== before.inbox.newestId && newestId !== null) add('stored', `up to ${newestId}`);
  if (confirmedId !== before.inbox.confirmedId && confirmedId !== null)
    add('confirmed', `up to ${confirmedId}`);
  if (goneId !== before.inbox.goneId && goneId !== null)
    add('gone', `unconfirmed, up to ${goneId}`);
  return lines;
}

function isSame(one: Connection, other: Connection): boolean {
  return one.edgeId === other.edgeId && Math.abs(one.connectedAtMs - other.connectedAtMs) < SAME_MS;
}

export function linesOf({ events }: Pick<TrailResponse, 'events'>): TrailLine[] {
  return events.map(({ id, atMs, type, edgeId, protocol, reason, durationMs, messageId }) => ({
    key: id,
    atMs,
    type,
    text: [
      edgeId && `on ${edgeId}`,
      protocol && `over ${protocol}`,
      durationMs !== undefined && `after ${duration(durationMs)}`,
      reason,
      messageId,
    ]
      .filter(Boolean)
      .join(' '),
  }));
}

/** Changes that no event of LONGLINE_EVENTS tells, if the cluster has events of that subject. */
export function withoutKnown(changes: readonly TrailLine[], events: readonly TrailLine[]) {
  const has = (subject: string) => events.some(({ type }) => type.startsWith(`${subject}.`));
  const known = new Set([
    ...(has('client') ? ['connected', 'disconnected'] : []),
    ...(has('push') ? ['confirmed'] : []),
  ]);
  return changes.filter(({ type }) => !known.has(type));
}
