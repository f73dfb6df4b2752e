/**
 * Checks that all connections of this process to a master lead to one server, and that it is the
 * server to which the address leads now.
 *
 * The difficulty: connections outlive a change of the address. A name in DNS, a virtual address or
 * a proxy leads to a promoted server, and connections stay with the former master as long as that
 * lives: subscribers are told nothing, commands succeed, and every probe returns. So every few
 * seconds one master is dialled anew and asked who it is (its run id and role). A connection to
 * another server than the one found is closed and dialled again, so its subscriptions have a gap
 * and are caught up. A connection to a replica never becomes ready.
 *
 * Cost: one connection per process every five seconds.
 */
import { performance } from 'node:perf_hooks';
import type { Counter } from 'prom-client';
import type { Logger } from '../../process/log.js';
import type { Metrics } from '../../process/metrics.js';
import type { IdentifiedConnection, ServerIdentity } from './server-identity.js';

const INTERVAL_MS = 5_000;
/** Dials that must lead to the same server before connections to another one are closed. */
const DIALS = 3;
/** Minimum time between two checks because connections lead to different servers. */
const AGAIN_MS = 1_000;
/** How long an address counts as ambiguous after its dials have led to different servers. */
const AMBIGUOUS_MS = 30_000;

export interface MasterCheckOptions {
  /** Addresses of the masters; one of them is checked each time. */
  readonly masters: () => readonly string[];
  readonly connections: () => Iterable<IdentifiedConnection>;
  /** Dials an address anew; undefined: no server answers. */
  readonly dial: (address: string) => Promise<ServerIdentity | undefined>;
  /** False in a Redis Cluster, where the slot map says which servers are masters. */
  readonly requiresMaster: boolean;
  readonly log: Logger;
  readonly metrics: Metrics;
}

type RedialReason = 'other-server' | 'replica' | 'read-only';

/** Why an address cannot be used. */
interface Problem {
  readonly reason: string;
  /** It is forgotten when a later check finds none, but not before this time. */
  readonly untilMs: number;
}

export class MasterCheck {
  /** By address. */
  readonly #problems = new Map<string, Problem>();
  readonly #redials: Counter<'reason'>;
  readonly #timer: NodeJS.Timeout;
  #checks = 0;
  #isChecking = false;
  #soonAtMs = 0;

  constructor(readonly options: MasterCheckOptions) {
    this.#redials = options.metrics.counter(
      'longline_redis_redials_total',
      'Connections to Redis closed because they led to another server or to a replica, by reason',
      ['reason'],
    );
    this.#timer = setInterval(() => void this.#checkNext(), INTERVAL_MS);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Run id of the server to which connections to `address` lead; '' if there is none. */
  runIdAt(address: string): string {
    return this.#at(address).find(({ runId }) => runId !== '')?.runId ?? '';
  }

  /**
   * Whether all connections to `address` lead to one server. Otherwise it is checked at once which
   * are to be closed.
   */
  isOneServer(address: string): boolean {
    let first = '';
    for (const { address: dialled, runId } of this.options.connections()) {
      if (dialled !== address || runId === '' || runId === first) continue;
      if (first !== '') {
        this.#checkSoon(address);
        return false;
      }
      first = runId;
    }
    return true;
  }

  /** One reason for each address that does not lead to one master. */
  reasons(): string[] {
    return Array.from(this.#problems.values(), ({ reason }) => reason);
  }

  /**
   * A server has rejected a write as a replica does: all connections to it are closed.
   * @param runId of that server
   */
  onReadOnly(address: string, runId: string): void {
    this.#redial(address, 'read-only', (connection) => connection.runId === runId);
  }

  /** Checks one address now. */
  async check(address: string): Promise<void> {
    const { dial, requiresMaster } = this.options;
    const found = await dial(address);
    // The connections find out themselves that the server is away.
    if (found === undefined || found.runId === '') return;
    if (requiresMaster && !found.isMaster) {
      const reason = `Redis ${address} is a replica, which cannot store anything`;
      this.#setProblem(address, reason, 0);
      this.#redial(address, 'replica', ({ runId }) => runId === found.runId);
      return;
    }
    const isElsewhere = ({ runId }: IdentifiedConnection) => runId !== '' && runId !== found.runId;
    if (!this.#at(address).some(isElsewhere)) return this.#clearProblem(address);
    for (let dials = 1; dials < DIALS; dials++) {
      const again = await dial(address);
      if (again?.runId === found.runId) continue;
      if (again !== undefined) {
        // Sorted, so that the reason stays the same from check to check.
        const runIds = [found.runId, again.runId].sort().join(' and ');
        const reason = `Redis ${address} leads to several servers (run ids ${runIds}): it must lead to the master only`;
        this.#setProblem(address, reason, performance.now() + AMBIGUOUS_MS);
      }
      return;
    }
    this.#redial(address, 'other-server', isElsewhere);
  }

  async #checkNext(): Promise<void> {
    const masters = this.options.masters();
    for (const address of this.#problems.keys()) {
      if (!masters.includes(address)) this.#problems.delete(address);
    }
    const address = masters[this.#checks++ % masters.length];
    if (address !== undefined) await this.#checkAlone(address);
  }

  #checkSoon(address: string): void {
    const nowMs = performance.now();
    if (this.#isChecking || nowMs < this.#soonAtMs) return;
    this.#soonAtMs = nowMs + AGAIN_MS;
    void this.#checkAlone(address);
  }

  async #checkAlone(address: string): Promise<void> {
    if (this.#isChecking) return;
    this.#isChecking = true;
    await this.check(address);
    this.#isChecking = false;
  }

  #at(address: string): IdentifiedConnection[] {
    return [...this.options.connections()].filter((each) => each.address === address);
  }

  #redial(
    address: string,
    reason: RedialReason,
    isDue: (connection: IdentifiedConnection) => boolean,
  ): void {
    // Each of the replies that are on their way may say the same.
    const due = this.#at(address).filter((each) => !each.isLeaving && isDue(each));
    if (due.length === 0) return;
    const former = due[0]!.runId;
    this.options.log.warn(
      { redis: address, reason, formerRunId: former, connections: due.length },
      'connections lead to a server that is not the master any more; connecting again',
    );
    this.#redials.inc({ reason }, due.length);
    for (const connection of due) connection.redial();
  }

  #setProblem(address: string, reason: string, untilMs: number): void {
    if (this.#problems.get(address)?.reason !== reason) {
      this.options.log.error({ redis: address }, reason);
    }
    this.#problems.set(address, { reason, untilMs });
  }

  #clearProblem(address: string): void {
    const problem = this.#problems.get(address);
    if (problem === undefined || performance.now() < problem.untilMs) return;
    this.#problems.delete(address);
    this.options.log.info({ redis: address }, 'the address leads to one master again');
  }
}
