/**
 * One connection of a gRPC server, from its TCP socket on. It ends when the peer is silent, when
 * the TLS handshake takes too long, when the peer sends too many pings, and after its maximum age.
 * The library has keepalive and age, too, but does not report them, and leaves the socket of a
 * silent peer to the kernel when the connection was closing already.
 */
import { constants } from 'node:http2';
import type { Socket } from 'node:net';
import { TokenBucket } from '../token-bucket.js';

export interface ConnectionConfig {
  /** Interval of pings. */
  readonly keepaliveMs: number;
  /** How long the answer to a ping, and a TLS handshake, may take. */
  readonly keepaliveTimeoutMs: number;
  /** 0: no maximum. Each connection has its own, up to a tenth above or below. */
  readonly ageMsMax: number;
  /** Time for calls to complete after the maximum age. */
  readonly ageGraceMs: number;
}

export type CloseReason = 'age' | 'flood' | 'grace' | 'handshake' | 'pings' | 'protocol' | 'silent';

/** HTTP/2 on a connection: ours, or that of the library. */
export interface Session {
  readonly destroyed: boolean;
  /** Called at each ping of the client. */
  onPing: () => void;
  /** Called when the client's violation of the protocol, or its flood, ends the connection. */
  onError: (error: { readonly code: number }) => void;
  /** Whether the client was sent anything but answers to its pings since the last call. */
  hasSentMore(): boolean;
  ping(onAnswer: () => void): void;
  goaway(code: number, text: string): void;
  /** Takes no further calls, and ends with the last one. */
  close(): void;
  destroy(): void;
}

const AGE_JITTER = 0.1;
/**
 * Pings of a client while the server sends nothing else. Clients measure the bandwidth with a ping
 * per message that they receive; those are not counted.
 */
const PINGS_PER_SECOND = 1;
const PINGS_BURST = 100;
/** Time for a GOAWAY to reach the client before its connection is closed. */
const GOAWAY_MS = 100;

export class Connection {
  #session: Session | undefined;
  readonly #retired = new Set<() => void>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #pings = new TokenBucket(PINGS_PER_SECOND, performance.now(), PINGS_BURST);
  #isRetired = false;
  /** The client pings too much; the GOAWAY says so. */
  #isPinging = false;

  /** @param onClose called before the server closes the connection */
  constructor(
    readonly socket: Socket,
    readonly config: ConnectionConfig,
    readonly onClose: (reason: CloseReason) => void,
  ) {
    socket.once('close', () => {
      for (const timer of this.#timers) clearTimeout(timer);
    });
    this.#after(config.keepaliveTimeoutMs, () => {
      if (this.#session === undefined) this.#close('handshake');
    });
  }

  /** The handshake is complete. */
  open(session: Session): void {
    const { ageMsMax, keepaliveMs } = this.config;
    this.#session = session;
    session.onPing = () => this.#onPing(session);
    session.onError = ({ code }) =>
      this.onClose(code === constants.NGHTTP2_ENHANCE_YOUR_CALM ? 'flood' : 'protocol');
    this.#after(keepaliveMs, () => this.#ping(session));
    if (ageMsMax === 0) return;
    const jitter = 1 + AGE_JITTER * (2 * Math.random() - 1);
    this.#after(ageMsMax * jitter, () => this.#retire(session));
  }

  /** Calls back when the connection has reached its age. Returns how to undo that. */
  onRetired(callback: () => void): () => void {
    // A call that the client opened before it read the GOAWAY.
    if (this.#isRetired) queueMicrotask(callback);
    else this.#retired.add(callback);
    return () => this.#retired.delete(callback);
  }

  #ping(session: Session): void {
    if (session.destroyed) return;
    const { keepaliveMs, keepaliveTimeoutMs } = this.config;
    const timer = this.#after(keepaliveTimeoutMs, () => this.#close('silent'));
    session.ping(() => {
      this.#clear(timer);
      if (!session.destroyed) this.#after(keepaliveMs, () => this.#ping(session));
    });
  }

  /**
   * `close` sends a GOAWAY that names the newest call, so that clients repeat later ones on another
   * connection. A first GOAWAY without a name, as gRFC A9 has it, would lose calls of Node.js: what
   * its HTTP/2 has queued when it reads such a GOAWAY is neither sent nor ended.
   */
  #retire(session: Session): void {
    if (session.destroyed) return;
    this.#isRetired = true;
    this.onClose('age');
    session.close();
    this.#after(this.config.ageGraceMs, () => this.#close('grace'));
    for (const callback of this.#retired) callback();
  }

  #onPing(session: Session): void {
    if (session.hasSentMore() || this.#isPinging || this.#pings.take(performance.now())) return;
    this.#isPinging = true;
    session.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM, 'too_many_pings');
    this.onClose('pings');
    this.#after(GOAWAY_MS, () => this.#destroy());
  }

  #close(reason: CloseReason): void {
    if (this.socket.destroyed) return;
    this.onClose(reason);
    this.#destroy();
  }

  #destroy(): void {
    this.#session?.destroy();
    this.socket.destroy();
  }

  #after(ms: number, run: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    timer.unref();
    this.#timers.add(timer);
    return timer;
  }

  #clear(timer: NodeJS.Timeout): void {
    clearTimeout(timer);
    this.#timers.delete(timer);
  }
}
