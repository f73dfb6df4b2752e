/**
 * `longline clients` and `longline slow`: the connected clients that match a filter, and the
 * slowest.
 */
import { type ClientFilter, type ConnectedClient, controlApi } from '../../control/api.js';
import { plural, spell } from '../format.js';
import type { ControlOptions } from '../status.js';
import { table } from '../table.js';

/** Maximum number of clients in one response of control. */
const PAGE_MAX = 1_000;

export interface FilterOptions extends ControlOptions {
  readonly edge?: string;
  readonly shard?: number;
  readonly client?: string;
  readonly user?: string;
  readonly selector?: string;
  readonly protocol?: string;
  /** Duration in milliseconds. */
  readonly olderThan?: number;
}

export interface ClientsOptions extends FilterOptions {
  readonly limit: number;
}

export interface SlowOptions extends FilterOptions {
  readonly by: 'bytes' | 'unconfirmed' | 'drops';
  readonly limit: number;
}

/** @throws Failure when control rejects or cannot be reached */
export async function clients(options: ClientsOptions): Promise<void> {
  const api = controlApi(options.control, options.token);
  const found: ConnectedClient[] = [];
  const silentEdges = new Set<string>();
  let next: string | null = '';
  while (next !== null && found.length < options.limit) {
    const limit = Math.min(PAGE_MAX, options.limit - found.length);
    const page = await api.clients({ ...filterOf(options), limit, ...(next && { page: next }) });
    found.push(...page.clients);
    for (const edgeId of page.silentEdges) silentEdges.add(edgeId);
    next = page.next;
  }
  if (options.json) {
    const list = { clients: found, more: next !== null, silentEdges: [...silentEdges] };
    return console.log(JSON.stringify(list));
  }
  const rows = found.map((client) => [...columns(client), client.labels]);
  if (rows.length > 0) console.log(table([...HEAD, 'labels'], rows));
  else console.log('no client matches');
  if (next !== null) console.log(`there may be more than these ${found.length}; use --limit`);
  printSilent([...silentEdges]);
}

/** @throws Failure when control rejects or cannot be reached */
export async function slow(options: SlowOptions): Promise<void> {
  const { by, limit } = options;
  const api = controlApi(options.control, options.token);
  const list = await api.slowClients({ ...filterOf(options), by, limit });
  if (options.json) return console.log(JSON.stringify(list));
  const rows = list.clients.map((client) => {
    const { bytesWaiting, unconfirmed, dropped } = client;
    return [bytesWaiting, unconfirmed, dropped, ...columns(client)];
  });
  const head = ['bytes waiting', 'unconfirmed', 'dropped', ...HEAD];
  console.log(rows.length > 0 ? table(head, rows) : NONE[by]);
  printSilent(list.silentEdges);
}

/** The fields of a request. */
export function filterOf(options: FilterOptions): ClientFilter {
  const { edge, shard, client: clientId, user, selector, protocol } = options;
  const { olderThan: olderThanMs } = options;
  const fields = { edge, shard, clientId, user, selector, protocol, olderThanMs };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

export function printSilent(silentEdges: readonly string[]): void {
  if (silentEdges.length === 0) return;
  const edges = plural(silentEdges.length, 'edge');
  console.log(`${edges} did not answer: ${silentEdges.join(', ')}`);
}

const NONE = {
  bytes: 'no client has bytes waiting',
  unconfirmed: 'no client has unconfirmed pushes',
  drops: 'no push was dropped for a client that is connected',
} as const;

const HEAD = ['client', 'edge', 'protocol', 'address', 'connected'];

function columns(client: ConnectedClient): string[] {
  const { clientId, edgeId, protocol, remoteAddress, connectedForMs, guest } = client;
  const edge = guest ? `${edgeId} (guest)` : edgeId;
  return [clientId, edge, protocol, remoteAddress, spell(connectedForMs / 1_000)];
}
