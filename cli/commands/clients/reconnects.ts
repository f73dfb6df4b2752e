/** Lines of `longline explain` about a client that reconnects in a loop. Pure. */
import type { ClientView } from '../../control/api.js';
import { plural } from '../format.js';

/** Reasons as in `longline_edge_connections_closed_total`. */
const MEANINGS: Readonly<Record<string, string>> = {
  peer: 'the client closed it',
  error: 'it was reset or timed out',
  slow: 'the client did not read',
  session_replaced: 'a newer connection with the same clientId replaced it',
  disconnected: 'a backend or an operator disconnected it, or an operator blocked it',
  unexpected_bytes: 'the client violated its protocol',
  silent: 'the client was silent',
  not_ready: 'the edge was not ready',
  flooding: 'the client sent too much',
  push_too_large: 'a push was too large for the client',
  goaway: 'the edge sent a GOAWAY',
  expired: 'the token expired',
  revoked: 'an operator revoked the token',
  rejected: 'the edge was full, or gave its clients to other edges',
};

export function reconnectLines({ reconnects = [] }: ClientView): [string, string][] {
  return reconnects.flatMap(({ edgeId, ends, reasons }) => {
    const summary = `${plural(ends, 'connection')} on ${edgeId} ended in the last minute`;
    const counts = new Map<string, number>();
    for (const reason of reasons) counts.set(reason, (counts.get(reason) ?? 0) + 1);
    const lines = Array.from(counts, ([reason, count]): [string, string] => [
      '',
      `${count} of the last ${reasons.length}: ${reason}${MEANINGS[reason] ? `, ${MEANINGS[reason]}` : ''}`,
    ]);
    return [['reconnects', summary], ...lines];
  });
}
