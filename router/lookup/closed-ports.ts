/**
 * Edges whose device port is closed: their process is gone, and control has not placed
 * their shards yet. An edge is checked only with a reason: control suspects it, no control is
 * connected, or a connect to it has failed. Checks of one edge are shared by all devices.
 */
import type { Counter } from 'prom-client';
import { type AssignedEdge, type Assignment, ownerOf } from '../../common/cluster/assignment.js';
import { devicePortOf } from '../../common/cluster/edge-address.js';
import { isPortClosed } from '../../common/net/closed-port.js';
import type { Metrics } from '../../common/process/metrics.js';

interface ClosedPortsOptions {
  /** Whether control suspects the edge, or cannot say. */
  readonly isSuspect: (edge: AssignedEdge) => boolean;
  /** Whether a control is connected, which will place the shards of an edge that is gone. */
  readonly hasControl: () => boolean;
  /** Tells control that the port of the edge is closed. */
  readonly report: (edge: AssignedEdge) => void;
  readonly metrics: Metrics;
}

interface Check {
  /**
   * Time of the first of the results in a row by which the port is closed; undefined: it is open.
   */
  closedSinceMs: number | undefined;
  checkedAtMs: number;
  reportedAtMs: number;
  inProgress: Promise<boolean> | undefined;
}

/** Validity of a result by which a port is closed, and of any result of a suspect edge. */
export const CHECK_INTERVAL_MS = 100;
/** Validity of the result of an open port while no control is connected. */
const CHECK_INTERVAL_MS_UNKNOWN = 1_000;
const REPORT_INTERVAL_MS = 1_000;
/**
 * Time since a port is closed until devices are sent to another edge as guests. Control needs a
 * fraction of it to place the shards; without control, the edge may restart in place.
 */
const HOLD_MS = 1_000;
const HOLD_MS_WITHOUT_CONTROL = 500;

export class ClosedPorts {
  /** By id and process; only edges of the assignment. */
  readonly #checks = new Map<string, Check>();
  readonly #closedFound: Counter;

  constructor(readonly options: ClosedPortsOptions) {
    this.#closedFound = options.metrics.counter(
      'longline_router_closed_ports_total',
      'Checks of edges that found that their device port is closed',
    );
  }

  /** Forgets the edges that are not in the assignment. */
  assign({ edges }: Assignment): void {
    const keys = new Set(edges.map(keyOf));
    for (const key of this.#checks.keys()) if (!keys.has(key)) this.#checks.delete(key);
  }

  /** Whether the edge has to be checked before a device is sent to it. */
  isDoubtful(edge: AssignedEdge): boolean {
    return this.#isClosed(edge) || this.options.isSuspect(edge);
  }

  /** Resolves with whether the port of the edge is closed. */
  async check(edge: AssignedEdge): Promise<boolean> {
    const check = this.#checkOf(edge);
    const isUrgent = check.closedSinceMs !== undefined || this.options.hasControl();
    const intervalMs = isUrgent ? CHECK_INTERVAL_MS : CHECK_INTERVAL_MS_UNKNOWN;
    if (performance.now() < check.checkedAtMs + intervalMs) return this.#isClosed(edge);
    check.inProgress ??= this.#probe(edge, check);
    return check.inProgress;
  }

  /** A connect to the edge has failed: finds out why. */
  connectFailed(edge: AssignedEdge): void {
    void this.check(edge);
  }

  /**
   * Returns the edge for devices of `shard`: its owner, or another one when the port of the owner
   * has been closed for too long. All routers choose the same one.
   * @param mayHold whether devices can wait for control to place the shard
   */
  edgeFor(assignment: Assignment, shard: number, mayHold = true): AssignedEdge | undefined {
    const owner = ownerOf(assignment, shard);
    if (owner === undefined || !this.#isClosed(owner)) return owner;
    // Its devices go elsewhere, so no failed connect would cause the next check.
    void this.check(owner);
    if (mayHold && !this.#isGone(owner)) return owner;
    const others = assignment.edges.filter((edge) => edge !== owner && !this.#isClosed(edge));
    const preferred = others.filter((edge) => {
      return edge.intent === 'none' && (!this.options.hasControl() || !this.isDoubtful(edge));
    });
    const candidates = preferred.length > 0 ? preferred : others;
    return candidates[shard % candidates.length] ?? owner;
  }

  async #probe(edge: AssignedEdge, check: Check): Promise<boolean> {
    const isClosed = await isPortClosed(devicePortOf(edge));
    const nowMs = performance.now();
    check.inProgress = undefined;
    check.checkedAtMs = nowMs;
    if (isClosed) check.closedSinceMs ??= nowMs;
    else check.closedSinceMs = undefined;
    if (isClosed) this.#onClosedPort(nowMs, edge, check);
    return isClosed;
  }

  #onClosedPort(nowMs: number, edge: AssignedEdge, check: Check): void {
    this.#closedFound.inc();
    if (nowMs < check.reportedAtMs + REPORT_INTERVAL_MS) return;
    check.reportedAtMs = nowMs;
    this.options.report(edge);
  }

  #isClosed(edge: AssignedEdge): boolean {
    return this.#checks.get(keyOf(edge))?.closedSinceMs !== undefined;
  }

  #isGone(edge: AssignedEdge): boolean {
    const sinceMs = this.#checks.get(keyOf(edge))?.closedSinceMs;
    if (sinceMs === undefined) return false;
    const holdMs = this.options.hasControl() ? HOLD_MS : HOLD_MS_WITHOUT_CONTROL;
    return performance.now() >= sinceMs + holdMs;
  }

  #checkOf(edge: AssignedEdge): Check {
    const key = keyOf(edge);
    const existing = this.#checks.get(key);
    if (existing !== undefined) return existing;
    const never = Number.NEGATIVE_INFINITY;
    const check = {
      closedSinceMs: undefined,
      checkedAtMs: never,
      reportedAtMs: never,
      inProgress: undefined,
    };
    this.#checks.set(key, check);
    return check;
  }
}

function keyOf({ id, incarnation }: AssignedEdge): string {
  return `${id} ${incarnation}`;
}
