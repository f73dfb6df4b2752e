/**
 * Disconnects clients in bulk: those that match a filter, at a rate. Edges take turns, so that none
 * gets all reconnects at once. Clients that connect after the start stay, so none is disconnected
 * twice. One disconnect of many at a time, and beside it some of one client or user each; they end
 * when another control leads.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Counter } from 'prom-client';
import type { z } from 'zod';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { Metrics } from '../../../common/process/metrics.js';
import { TokenBucket } from '../../../common/process/token-bucket.js';
import { type ClientFilter, SlowBy } from '../../../proto/gen/longline/v1/clients.js';
import type { Operations } from '../../leadership/operations.js';
import type { ClientScans } from '../../links/client-scans.js';
import { type FilterFields, fieldsOf, toFilter } from './filter.js';
import type { disconnectBody } from './requests.js';
import type { DISCONNECT_STATES, DisconnectInfo, DisconnectsResponse } from './responses.js';

const STEP_MS = 100;
/** Maximum clients of one scan. */
const CLIENTS_MAX = 500;
/** Maximum scans in a row without an answer: the edge may be between two sessions. */
const ATTEMPTS_MAX = 3;
const ATTEMPT_MS = 1_000;
/** Disconnects of one client or user in progress at a time. */
const SINGLES_MAX = 16;
/** Disconnects that are remembered; more than can be in progress. */
const KEPT_MAX = 20;

interface Job {
  readonly id: number;
  readonly filter: ClientFilter;
  readonly rate: number;
  readonly actor: string;
  readonly reason: string;
  readonly startedAtMs: number;
  readonly edges: number;
  readonly silentEdges: string[];
  edgesDone: number;
  clients: number;
  state: keyof typeof DISCONNECT_STATES;
}

/** Where to continue on an edge. */
interface Place {
  readonly edgeId: string;
  readonly fromSlot: number;
  /** Scans in a row that the edge did not answer. */
  readonly attempts: number;
}

export interface DisconnectsOptions {
  readonly scans: Pick<ClientScans, 'scan'>;
  /** Edges that may have clients. */
  readonly members: () => readonly string[];
  readonly operations: Pick<Operations, 'rejectAsFollower' | 'recordAction' | 'recordDisconnected'>;
  readonly shardCount: number;
  readonly metrics: Metrics;
}

export class Disconnects {
  /** Newest first. */
  readonly #jobs: Job[] = [];
  readonly #disconnected: Counter;
  #lastId = 0;

  constructor(readonly options: DisconnectsOptions) {
    this.#disconnected = options.metrics.counter(
      'longline_control_clients_disconnected_total',
      'Clients that operators disconnected by a filter',
    );
  }

  list(): DisconnectsResponse {
    return { disconnects: this.#jobs.map(describe) };
  }

  start(
    { rate, reason, all, ...fields }: z.infer<typeof disconnectBody>,
    actor: string,
  ): DisconnectInfo | Rejection {
    const { operations, members, shardCount } = this.options;
    const filter = toFilter(fields, shardCount);
    if ('code' in filter) return filter;
    const rejected = operations.rejectAsFollower() ?? this.#reject(filter, fields, all);
    if (rejected !== undefined) return rejected;
    const edges = members().filter((id) => filter.edgeId === '' || id === filter.edgeId);
    const job: Job = {
      id: ++this.#lastId,
      filter,
      rate,
      actor,
      reason,
      startedAtMs: performance.now(),
      edges: edges.length,
      silentEdges: [],
      edgesDone: 0,
      clients: 0,
      state: 'running',
    };
    this.#jobs.unshift(job);
    const oldest = this.#jobs.findLastIndex(({ state }) => state !== 'running');
    if (this.#jobs.length > KEPT_MAX) this.#jobs.splice(oldest, 1);
    operations.recordAction('disconnect', nameOf(job), { actor, reason }, textOf(job));
    void this.#run(job, edges);
    return describe(job);
  }

  cancel(reason: string, actor: string): DisconnectInfo | Rejection {
    const { operations } = this.options;
    const rejected = operations.rejectAsFollower();
    if (rejected !== undefined) return rejected;
    const running = this.#jobs.filter(isRunning);
    const job = running.find(({ filter }) => !isSingle(filter)) ?? running[0];
    if (job === undefined) return rejection('NOT_FOUND', 'no clients are being disconnected');
    job.state = 'cancelled';
    operations.recordAction('cancel-disconnect', nameOf(job), { actor, reason }, textOf(job));
    return describe(job);
  }

  #reject(filter: ClientFilter, fields: FilterFields, isForAll: boolean): Rejection | undefined {
    const isEmpty = Object.keys(fieldsOf(filter)).length === 0;
    if (isEmpty && !isForAll) {
      const message = 'no field names clients; set one, or all to disconnect every client';
      return rejection('REQUEST_MALFORMED', message);
    }
    if (!isEmpty && isForAll) {
      const names = Object.keys(fields).join(', ');
      return rejection('REQUEST_MALFORMED', `all contradicts ${names}; send only one of them`);
    }
    if (filter.edgeId !== '' && !this.options.members().includes(filter.edgeId)) {
      return rejection('NOT_FOUND', `edge ${filter.edgeId} is unknown`);
    }
    const like = this.#jobs.filter(
      (job) => isRunning(job) && isSingle(job.filter) === isSingle(filter),
    );
    if (like.length < (isSingle(filter) ? SINGLES_MAX : 1)) return undefined;
    const message = 'clients are being disconnected; wait until that is finished, or cancel it';
    return rejection('DISCONNECT_IN_PROGRESS', message);
  }

  async #run(job: Job, edges: readonly string[]): Promise<void> {
    const { operations } = this.options;
    const bucket = new TokenBucket(job.rate, performance.now(), (job.rate * STEP_MS) / 1_000 + 1);
    const places: Place[] = edges.map((edgeId) => ({ edgeId, fromSlot: 0, attempts: 0 }));
    while (places.length > 0 && job.state === 'running') {
      if (operations.rejectAsFollower() !== undefined) {
        job.state = 'interrupted';
        break;
      }
      const granted = bucket.takeWhole(performance.now());
      if (granted === 0) {
        await sleep(STEP_MS);
        continue;
      }
      const clientsMax = Math.min(granted, CLIENTS_MAX);
      const before = job.clients;
      const next = await this.#step(job, places.shift()!, clientsMax);
      if (next !== undefined) places.push(next);
      bucket.charge(performance.now(), job.clients - before - granted);
    }
    if (job.state === 'running') job.state = 'finished';
    operations.recordDisconnected(job.clients, job.state);
  }

  /** Disconnects some clients of an edge. Returns where to continue on it. */
  async #step(job: Job, place: Place, clientsMax: number): Promise<Place | undefined> {
    const { edgeId, fromSlot, attempts } = place;
    // Those that have connected since the start stay.
    const sinceStartMs = Math.ceil(performance.now() - job.startedAtMs);
    const filter = { ...job.filter, olderThanMs: job.filter.olderThanMs + sinceStartMs };
    const slowBy = SlowBy.SLOW_BY_UNSPECIFIED;
    const scan = { filter, fromSlot, clientsMax, slowBy, disconnect: true };
    const result = await this.options.scans.scan(edgeId, scan);
    if (result === undefined) {
      if (attempts + 1 < ATTEMPTS_MAX) {
        await sleep(ATTEMPT_MS);
        return { edgeId, fromSlot, attempts: attempts + 1 };
      }
      job.silentEdges.push(edgeId);
      return undefined;
    }
    job.clients += result.disconnected;
    this.#disconnected.inc(result.disconnected);
    if (result.nextSlot > fromSlot) return { edgeId, fromSlot: result.nextSlot, attempts: 0 };
    job.edgesDone++;
    return undefined;
  }
}

function isRunning({ state }: Job): boolean {
  return state === 'running';
}

/** Whether it is about one client or user. */
function isSingle({ clientId, user }: ClientFilter): boolean {
  return clientId !== '' || user !== '';
}

/** The client or user that it is about; empty: it has another filter. */
function nameOf({ filter }: Job): string {
  return filter.clientId || filter.user;
}

/** For the event log, such as `edge=edge-1 selector=app=ios rate=100`. */
function textOf({ filter, rate }: Job): string {
  const fields = Object.entries(fieldsOf(filter)).map(([name, value]) => `${name}=${value}`);
  return [...(fields.length > 0 ? fields : ['all clients']), `rate=${rate}`].join(' ');
}

function describe({ startedAtMs, filter, ...job }: Job): DisconnectInfo {
  const ageMs = Math.round(performance.now() - startedAtMs);
  return { ...job, silentEdges: [...job.silentEdges], filter: fieldsOf(filter), ageMs };
}
