/**
 * Base of the links of devices that ask a router for their edge first: does the look-up, and
 * ensures that a link ends once.
 */
import type { Link, LinkHandler } from '../../drill/load/link.js';
import { failureReason } from '../failure-reason.js';
import { lookUpEdge } from './lookup.js';

export interface LinkTarget {
  readonly clientId: string;
  /** `/connect` of a router. */
  readonly url: URL;
  /** Bearer token; undefined where devices are not authenticated. */
  readonly token: string | undefined;
  /** Newest id that the device has; '' for none. */
  readonly cursor: string;
  /** Heartbeat interval of the edges. */
  readonly heartbeatMs: number;
}

export abstract class LookedUpLink implements Link {
  #state: 'connecting' | 'open' | 'closed' = 'connecting';
  readonly #ended = new AbortController();
  readonly isPaused = false;
  activeAtMs = performance.now();

  constructor(
    readonly target: LinkTarget,
    readonly handler: LinkHandler,
  ) {
    void this.#start();
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  pause(): void {}

  resume(): void {}

  close(how: 'reset' | 'fin'): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#ended.abort();
    this.endSocket(how);
  }

  /** Connects to an edge. */
  protected abstract connect(edge: URL): void;

  protected abstract endSocket(how: 'reset' | 'fin'): void;

  protected onActive(): void {
    this.activeAtMs = performance.now();
  }

  protected onOpen(edge: URL): void {
    if (this.#state !== 'connecting') return;
    this.#state = 'open';
    this.handler.onOpen(edge.host);
  }

  protected onClosed(reason: string): void {
    if (this.#state === 'closed') return;
    this.close('reset');
    this.handler.onClose(reason);
  }

  async #start(): Promise<void> {
    const { url, token } = this.target;
    try {
      const edge = await lookUpEdge(url, token, this.#ended.signal);
      if (this.#state === 'connecting') this.connect(edge);
    } catch (error) {
      this.onClosed(failureReason(error));
    }
  }
}
