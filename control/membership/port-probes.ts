/**
 * Decides which device ports of suspect edges to probe and when, and knows which are proven to be
 * closed. Pure.
 *
 * A closed port answers: the machine is up and no process listens, as the address is that of the
 * process and not of a balancer (docs/kubernetes.md). Silence, an error of the network and an
 * accepted connection prove nothing: the process may be stopped, the cable cut, or another process
 * may listen in its place. Several such answers in a row are required, so that a listen queue that
 * overflows or a process that restarts at once is not taken for a dead one.
 */

/** Answers of a closed port in a row that prove that the process is gone. */
const CLOSED_MIN = 3;
const INTERVAL_MS = 50;
/**
 * The same after the proof, or when the edge is suspect for longer than `URGENT_MS` without one.
 */
const INTERVAL_MS_LATER = 1_000;
const URGENT_MS = 1_000;
/** Bounds the connects in progress; the ports of further edges are probed afterwards. */
const PROBED_AT_ONCE_MAX = 64;

interface ProbedPort {
  readonly sinceMs: number;
  closedInRow: number;
  nextAtMs: number;
  /** Number of the probe in progress. */
  probe: number | undefined;
}

export interface Probe {
  readonly edgeId: string;
  /** Never repeated. */
  readonly probe: number;
}

const NONE: readonly Probe[] = [];

export class PortProbes {
  /** By id of the edge. */
  readonly #ports = new Map<string, ProbedPort>();
  #probes = 0;

  begin(nowMs: number, edgeId: string): void {
    const port = { sinceMs: nowMs, closedInRow: 0, nextAtMs: nowMs, probe: undefined };
    this.#ports.set(edgeId, port);
  }

  /** Ends the probes of an edge; the result of one in progress is ignored. */
  end(edgeId: string): void {
    this.#ports.delete(edgeId);
  }

  onResult(nowMs: number, { edgeId, probe }: Probe, isClosed: boolean): void {
    const port = this.#ports.get(edgeId);
    if (port?.probe !== probe) return;
    port.probe = undefined;
    port.closedInRow = isClosed ? port.closedInRow + 1 : 0;
    const isProven = port.closedInRow >= CLOSED_MIN;
    const isUrgent = !isProven && (isClosed || nowMs < port.sinceMs + URGENT_MS);
    port.nextAtMs = nowMs + (isUrgent ? INTERVAL_MS : INTERVAL_MS_LATER);
  }

  /**
   * A router could not connect to the suspect edge: probes as soon as the shorter interval allows,
   * or now if it is not probed yet.
   */
  hasten(nowMs: number, edgeId: string): void {
    const port = this.#ports.get(edgeId);
    if (port === undefined) this.begin(nowMs, edgeId);
    else port.nextAtMs = Math.min(port.nextAtMs, nowMs + INTERVAL_MS);
  }

  isClosed(edgeId: string): boolean {
    return (this.#ports.get(edgeId)?.closedInRow ?? 0) >= CLOSED_MIN;
  }

  /** Takes the probes that start now. */
  take(nowMs: number): readonly Probe[] {
    if (this.#ports.size === 0) return NONE;
    let count = this.#inProgress;
    const taken: Probe[] = [];
    for (const [edgeId, port] of this.#ports) {
      if (count >= PROBED_AT_ONCE_MAX) break;
      if (port.probe !== undefined || port.nextAtMs > nowMs) continue;
      port.probe = ++this.#probes;
      taken.push({ edgeId, probe: port.probe });
      count++;
    }
    return taken;
  }

  /** Infinity: only a result can change anything. */
  get nextAtMs(): number {
    if (this.#ports.size === 0) return Number.POSITIVE_INFINITY;
    if (this.#inProgress >= PROBED_AT_ONCE_MAX) return Number.POSITIVE_INFINITY;
    const waiting = [...this.#ports.values()].filter(({ probe }) => probe === undefined);
    return Math.min(Number.POSITIVE_INFINITY, ...waiting.map(({ nextAtMs }) => nextAtMs));
  }

  get #inProgress(): number {
    return [...this.#ports.values()].filter(({ probe }) => probe !== undefined).length;
  }
}
