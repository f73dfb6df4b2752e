/**
 * `longline disconnect-clients`, `disconnects` and `cancel-disconnect`: many clients, at a rate.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { controlApi, type DisconnectView } from '../../control/api.js';
import { Failure } from '../../terminal/failure.js';
import { plural, spell } from '../format.js';
import { type OperationOptions, reasonOf } from '../operations.js';
import type { ControlOptions } from '../status.js';
import { table } from '../table.js';
import { type FilterOptions, filterOf, printSilent } from './lists.js';

const POLL_MS = 1_000;

export interface DisconnectOptions extends FilterOptions, OperationOptions {
  readonly all?: boolean;
  /** Clients per second. */
  readonly rate: number;
  readonly wait: boolean;
}

/**
 * Returns the exit status: 0 when all clients that matched were disconnected, or with `--no-wait`.
 * @throws Failure when control rejects or cannot be reached
 */
export async function disconnectClients(options: DisconnectOptions): Promise<number> {
  const { rate, all, json } = options;
  const api = controlApi(options.control, options.token);
  const request = { ...filterOf(options), ...(all && { all }), rate, ...reasonOf(options) };
  let job = await api.disconnectClients(request);
  const { id } = job;
  while (options.wait && job.state === 'running') {
    if (!json) console.error(progress(job));
    await sleep(POLL_MS);
    const found = (await api.disconnects()).find((one) => one.id === id);
    if (found === undefined) throw new Failure('another control leads; the disconnect has ended');
    job = found;
  }
  console.log(json ? JSON.stringify(job) : summary(job));
  if (!json) printSilent(job.silentEdges);
  return job.state === 'running' || (job.state === 'finished' && job.silentEdges.length === 0)
    ? 0
    : 1;
}

/** @throws Failure when control rejects or cannot be reached */
export async function disconnects(options: ControlOptions): Promise<void> {
  const list = await controlApi(options.control, options.token).disconnects();
  if (options.json) return console.log(JSON.stringify({ disconnects: list }));
  if (list.length === 0)
    return console.log('no clients were disconnected since this control leads');
  const rows = list.map((job) => [
    job.id,
    job.state,
    job.clients,
    `${job.edgesDone}/${job.edges}`,
    spell(job.ageMs / 1_000),
    filterText(job),
  ]);
  console.log(table(['id', 'state', 'clients', 'edges', 'started before', 'filter'], rows));
}

/** @throws Failure when control rejects or cannot be reached */
export async function cancelDisconnect(options: OperationOptions): Promise<void> {
  const job = await controlApi(options.control, options.token).cancelDisconnect(reasonOf(options));
  console.log(options.json ? JSON.stringify(job) : summary(job));
}

function progress({ clients, edgesDone, edges }: DisconnectView): string {
  return `${plural(clients, 'client')} disconnected, ${edgesDone} of ${plural(edges, 'edge')} done`;
}

function summary(job: DisconnectView): string {
  const done = `${job.state}: ${progress(job)}`;
  return job.state === 'running' ? `${done}; longline cancel-disconnect ends it` : done;
}

function filterText({ filter }: DisconnectView): string {
  const fields = Object.entries(filter).map(([name, value]) => `${name}=${value}`);
  return fields.length > 0 ? fields.join(' ') : 'all clients';
}
