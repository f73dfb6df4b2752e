/**
 * Scans of the clients of edges, sent over their sessions. Only the leader has sessions. A scan has
 * one answer; an edge that does not give it in time counts as silent.
 */
import type { ClientScan, ClientScanResult } from '../../proto/gen/longline/v1/edge_session.js';

/** Generous: an edge looks at some thousand connections, which takes milliseconds. */
const ANSWER_MS_MAX = 1_000;

type Send = (scan: ClientScan) => void;

interface Pending {
  readonly edgeId: string;
  readonly resolve: (result: ClientScanResult | undefined) => void;
  readonly timer: NodeJS.Timeout;
}

export class ClientScans {
  readonly #edges = new Map<string, Send>();
  readonly #pending = new Map<number, Pending>();
  #lastId = 0;

  /** Opens the way to an edge. Returns the function that closes it. */
  open(edgeId: string, send: Send): () => void {
    this.#edges.set(edgeId, send);
    return () => {
      // The edge may have another session by now.
      if (this.#edges.get(edgeId) !== send) return;
      this.#edges.delete(edgeId);
      for (const [scanId, pending] of this.#pending) {
        if (pending.edgeId === edgeId) this.#finish(scanId, undefined);
      }
    };
  }

  /** Resolves with undefined if the edge has no session or does not answer in time. */
  scan(
    edgeId: string,
    scan: Omit<ClientScan, 'scanId'>,
    timeoutMs = ANSWER_MS_MAX,
  ): Promise<ClientScanResult | undefined> {
    const send = this.#edges.get(edgeId);
    if (send === undefined || timeoutMs <= 0) return Promise.resolve(undefined);
    const scanId = ++this.#lastId;
    return new Promise((resolve) => {
      const timer = setTimeout(
        () => this.#finish(scanId, undefined),
        Math.min(ANSWER_MS_MAX, timeoutMs),
      );
      this.#pending.set(scanId, { edgeId, resolve, timer });
      send({ ...scan, scanId });
    });
  }

  onResult(edgeId: string, result: ClientScanResult): void {
    if (this.#pending.get(result.scanId)?.edgeId === edgeId) this.#finish(result.scanId, result);
  }

  #finish(scanId: number, result: ClientScanResult | undefined): void {
    const pending = this.#pending.get(scanId)!;
    this.#pending.delete(scanId);
    clearTimeout(pending.timer);
    pending.resolve(result);
  }
}
