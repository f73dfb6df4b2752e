/**
 * A device as users should write it: it asks any router for its edge, follows redirects, reconnects
 * with backoff and its newest message id, and gives up a silent connection. Every other device
 * behaves like an EventSource: it ignores the URL in a goaway and asks a router instead. Some
 * behaviour exists only for the drill: on request a device disconnects, stops reading, or opens a
 * second connection.
 */
import { backoffMs } from '../../common/process/backoff.js';
import { pick, type Random } from '../faults/random.js';
import type { Absence, Connection, HistoryInProgress, Receipt } from '../history/history.js';
import type { Link, LinkHandler } from './link.js';
import { digestOf, numberOf, splitPayloads } from './payload.js';
import { SseLink } from './sse-link.js';

/** A healthy cluster answers a connect request in less, redirects included. */
const ANSWER_MS_MAX = 4_000;
/** A connection is given up after this many missed heartbeats, plus a margin. */
const HEARTBEATS_MISSED_MAX = 3;
const HEARTBEAT_MARGIN_MS = 1_000;
/** With a longer backoff, a device would miss most of the drill. */
const BACKOFF_MS_MAX = 2_000;

export interface DeviceContext {
  /** HTTP of every router. */
  readonly routerUrls: readonly string[];
  /** Source address of the device's connections; chosen by the kernel by default. */
  readonly sourceHost?: string | undefined;
  /** Heartbeat interval of the edges. */
  readonly heartbeatMs: number;
  readonly history: HistoryInProgress;
  readonly random: Random;
  /** Opens a connection of another protocol; server-sent events by default. */
  readonly openLink?: OpenLink;
  /** Whether its protocol has no cursor: the cluster knows what the device has acknowledged. */
  readonly hasNoCursor?: boolean;
}

/** @param cursor newest id that the device has; '' for none, and if the URL has it */
export type OpenLink = (url: URL, cursor: string, handler: LinkHandler) => Link;

/** A link with its connect request, and its connection in the history once it is answered. */
interface DeviceLink {
  readonly link: Link;
  readonly cursor: string;
  readonly requestedAtMs: number;
  connection: Connection | undefined;
  goaway: Goaway | undefined;
}

/** Time without a byte after which a device gives up an open connection. */
export function silenceMsMax(heartbeatMs: number): number {
  return HEARTBEATS_MISSED_MAX * heartbeatMs + HEARTBEAT_MARGIN_MS;
}

interface Goaway {
  readonly retryMs: number;
  /** Complete URL of the next edge, if the edge knows it. */
  readonly url?: string;
}

export class Device {
  /** Newest message id that was received. */
  #newestId = '';
  readonly #links = new Set<DeviceLink>();
  /** Time of the last push that was received. */
  receivedAtMs = 0;
  #failures = 0;
  /** Why the last connect request failed; undefined once one was answered. */
  problem: string | undefined;
  #retryTimer: NodeJS.Timeout | undefined;
  #absence: Absence | undefined;
  #isStopped = false;

  constructor(
    readonly clientId: string,
    /**
     * Whether it follows the URL of a goaway and sends its newest id in the query, like a client
     * without EventSource.
     */
    readonly isCustomClient: boolean,
    readonly context: DeviceContext,
  ) {}

  get isOpen(): boolean {
    for (const { link } of this.#links) if (link.isOpen && !link.isPaused) return true;
    return false;
  }

  /** `host:port` of the edges that it is connected to. */
  edges(): string[] {
    return [...this.#links].flatMap(({ connection }) => connection?.edge ?? []);
  }

  /** Time of the last bytes on an open connection; undefined while there is none. */
  get activeAtMs(): number | undefined {
    const open = [...this.#links].filter(({ link }) => link.isOpen);
    return open.length === 0 ? undefined : Math.max(...open.map(({ link }) => link.activeAtMs));
  }

  connect(): void {
    clearTimeout(this.#retryTimer);
    if (this.#isStopped || this.#absence !== undefined) return;
    this.#request('');
  }

  /**
   * Opens a second connection. Does nothing while a connect request is unanswered: if two requests
   * were answered in the wrong order, the older cursor would look like that of a device which lost
   * ids.
   * @param edgeUrl connects to this edge, whichever edge owns the shard; by default to any router
   */
  takeOver(edgeUrl?: string): void {
    if (this.#isStopped || this.#absence !== undefined) return;
    for (const { link } of this.#links) if (!link.isOpen) return;
    // With an epoch newer than any assignment, the edge accepts the device as a guest.
    if (edgeUrl !== undefined) this.#request('&epoch=999999999-0', edgeUrl);
    else this.connect();
  }

  /** Loses its connections and reconnects with backoff. */
  cut(how: 'reset' | 'fin'): void {
    for (const active of [...this.#links]) this.#close(active, how, `cut by the drill (${how})`);
    this.#retryWithBackoff();
  }

  /** Stays disconnected until `resume`. */
  disconnect(): void {
    if (this.#absence !== undefined) return;
    this.#beginAbsence();
    clearTimeout(this.#retryTimer);
    for (const active of [...this.#links]) this.#close(active, 'fin', 'disconnected by the drill');
  }

  /** Stops reading until `resume`, or until its connections are cut. */
  pause(): void {
    if (this.#absence !== undefined || this.#links.size === 0) return;
    this.#beginAbsence();
    for (const { link } of this.#links) link.pause();
  }

  /** Ends `disconnect` or `pause`. */
  resume(): void {
    if (this.#absence !== undefined) this.#absence.toMs = performance.now();
    this.#absence = undefined;
    for (const { link } of this.#links) if (link.isPaused) link.resume();
    if (this.#links.size === 0) this.connect();
  }

  /** Gives up silent connections. To be called about twice a second. */
  sweep(nowMs: number): void {
    const silentMsMax = silenceMsMax(this.context.heartbeatMs);
    for (const active of [...this.#links]) {
      if (active.link.isPaused) continue;
      const silentMs = nowMs - active.link.activeAtMs;
      if (silentMs <= (active.link.isOpen ? silentMsMax : ANSWER_MS_MAX)) continue;
      this.#close(active, 'reset', 'silent');
      if (this.#links.size === 0) this.#retryWithBackoff();
    }
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#retryTimer);
    for (const active of [...this.#links]) this.#close(active, 'reset', 'the drill has ended');
  }

  #request(query: string, origin = pick(this.context.random, this.context.routerUrls)): void {
    this.#open(new URL(`/connect?clientId=${encodeURIComponent(this.clientId)}${query}`, origin));
  }

  #open(url: URL): void {
    const { sourceHost, hasNoCursor, openLink } = this.context;
    const cursor = hasNoCursor ? '' : this.#newestId;
    const open: OpenLink = openLink ?? ((...args) => openSse(sourceHost, ...args));
    if (this.isCustomClient && cursor !== '') url.searchParams.set('lastEventId', cursor);
    const active: DeviceLink = {
      cursor,
      requestedAtMs: performance.now(),
      connection: undefined,
      goaway: undefined,
      link: open(url, this.isCustomClient ? '' : cursor, {
        onOpen: (edge) => {
          active.connection = this.#recordConnection(edge, active);
          this.#failures = 0;
          this.problem = undefined;
        },
        onEvent: ({ name, messageId, text, retryMs = 0 }) => {
          const { receipts, resetsAtMs } = active.connection!;
          const atMs = performance.now();
          if (name === 'reset') {
            resetsAtMs.push(atMs);
            // The position from which everything in the inbox follows, like an EventSource.
            this.#newestId = messageId;
          }
          if (name === 'goaway')
            active.goaway = { ...(JSON.parse(text) as { url?: string }), retryMs };
          if (name !== 'message' && name !== 'append') return;
          this.receivedAtMs = atMs;
          const received = { atMs, messageId };
          if (name === 'append')
            receipts.push(...partsOf(text).map((p) => ({ ...received, ...p })));
          else receipts.push({ ...received, ...contentOf(text) });
          if (messageId !== '' && isNewer(messageId, this.#newestId)) this.#newestId = messageId;
        },
        onClose: (reason) => {
          this.#closed(active, reason);
          if (this.#links.size > 0) return;
          if (active.goaway === undefined) this.#retryWithBackoff();
          else this.#followGoaway(active.goaway);
        },
      }),
    };
    this.#links.add(active);
  }

  #recordConnection(edge: string, { cursor, requestedAtMs }: DeviceLink): Connection {
    const connection: Connection = {
      clientId: this.clientId,
      edge,
      cursor,
      requestedAtMs,
      openedAtMs: performance.now(),
      closedAtMs: Number.POSITIVE_INFINITY,
      closeReason: '',
      receipts: [],
      resetsAtMs: [],
    };
    this.context.history.connections.push(connection);
    return connection;
  }

  #close(active: DeviceLink, how: 'reset' | 'fin', reason: string): void {
    active.link.close(how);
    this.#closed(active, reason);
  }

  #closed(active: DeviceLink, reason: string): void {
    this.#links.delete(active);
    const { connection, cursor, requestedAtMs } = active;
    const nowMs = performance.now();
    if (connection === undefined) {
      const { clientId } = this;
      this.problem = reason;
      this.context.history.unansweredRequests.push({
        clientId,
        cursor,
        fromMs: requestedAtMs,
        toMs: nowMs,
      });
      return;
    }
    connection.closedAtMs = nowMs;
    connection.closeReason = reason;
  }

  #retryWithBackoff(): void {
    clearTimeout(this.#retryTimer);
    if (this.#isStopped || this.#absence !== undefined) return;
    const delayMs = Math.min(BACKOFF_MS_MAX, backoffMs(++this.#failures, this.context.random()));
    this.#retryTimer = setTimeout(() => this.connect(), delayMs);
  }

  #followGoaway({ url, retryMs }: Goaway): void {
    clearTimeout(this.#retryTimer);
    if (this.#isStopped || this.#absence !== undefined) return;
    this.#retryTimer = setTimeout(() => {
      if (url !== undefined && this.isCustomClient) this.#open(new URL(url));
      else this.connect();
    }, retryMs);
  }

  #beginAbsence(): void {
    this.#absence = {
      clientId: this.clientId,
      fromMs: performance.now(),
      toMs: Number.POSITIVE_INFINITY,
    };
    this.context.history.absences.push(this.#absence);
  }
}

function openSse(
  sourceHost: string | undefined,
  url: URL,
  cursor: string,
  handler: LinkHandler,
): Link {
  return new SseLink(url, cursor, { sourceHost }, handler);
}

type Content = Omit<Receipt, 'atMs' | 'messageId'>;

function contentOf(text: string): Content {
  return { pushNumber: numberOf(text), digest: digestOf(text) };
}

/** The parts of a growing message in one event. */
function partsOf(text: string): Content[] {
  const { appendTo: to, offset, data } = JSON.parse(text) as Record<string, unknown>;
  const payloads = splitPayloads(String(data));
  let next = Number(offset);
  return payloads.map((payload, i) => {
    const [at, bytes] = [next, Buffer.byteLength(payload)];
    next += bytes;
    const isJoined = i < payloads.length - 1;
    return { ...contentOf(payload), part: { to: String(to), offset: at, bytes, isJoined } };
  });
}

/** Compares ids, `<ms>-<n>`. Separate from `compareIds`, which belongs to the check. */
function isNewer(id: string, than: string): boolean {
  if (than === '') return true;
  const [aMs, aN] = id.split('-').map(Number);
  const [bMs, bN] = than.split('-').map(Number);
  return aMs! > bMs! || (aMs === bMs && aN! > bN!);
}
