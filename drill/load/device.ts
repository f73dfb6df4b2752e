/**
 * A device as we would like them to be: it asks any router for its edge, follows where it is sent,
 * comes back with backoff and the newest id that it has, and gives up a connection that is silent.
 * Every other one is an EventSource: it does not understand where a goaway sends it, and asks again.
 * Two things only a drill does: it stays away or stops reading when it is told, and it opens a
 * second connection beside the first.
 */
import { backoffMs } from '../../common/process/backoff.js';
import { pick, type Random } from '../faults/random.js';
import type { Absence, Connection, HistoryInProgress } from '../history/history.js';
import { digestOf, numberOf } from './payload.js';
import { SseLink } from './sse-link.js';

/** An answer to the request, redirects included, takes no longer from a healthy cluster. */
const ANSWER_MS_MAX = 4_000;
/** Heartbeats that have not come, and a moment, until a connection is given up. */
const HEARTBEATS_MISSED_MAX = 3;
const MOMENT_MS = 1_000;
/** A device that backs off for longer would sleep through the drill. */
const BACKOFF_MS_MAX = 2_000;

export interface DeviceWorld {
  /** HTTP of every router. */
  readonly routerUrls: readonly string[];
  /** How often its edges let a device hear from them at least. */
  readonly heartbeatMs: number;
  readonly history: HistoryInProgress;
  readonly random: Random;
}

/** A link and its place in the history once it is answered. */
interface Held {
  readonly link: SseLink;
  readonly askedAtMs: number;
  connection: Connection | undefined;
  /** What it was told to do at its end. */
  goaway: Goaway | undefined;
}

interface Goaway {
  readonly retryMs: number;
  /** Of the next edge, if it is known; with a path and a query. */
  readonly url?: string;
}

export class Device {
  /** The newest id that was received. */
  #newestId = '';
  readonly #held = new Set<Held>();
  /** When it received a push last. */
  receivedAtMs = 0;
  #tries = 0;
  #retry: NodeJS.Timeout | undefined;
  #absence: Absence | undefined;
  #isStopped = false;

  constructor(
    readonly clientId: string,
    /**
     * Whether it follows a goaway, and names its newest id in the query, as programs do that have to
     * manage without an EventSource.
     */
    readonly isOwnClient: boolean,
    readonly world: DeviceWorld,
  ) {}

  get isOpen(): boolean {
    for (const { link } of this.#held) if (link.isOpen && !link.isPaused) return true;
    return false;
  }

  /** The edges that it is connected to, as `host:port`. */
  edges(): string[] {
    return [...this.#held].flatMap(({ connection }) => connection?.edge ?? []);
  }

  connect(): void {
    clearTimeout(this.#retry);
    if (this.#isStopped || this.#absence !== undefined) return;
    this.#ask('');
  }

  /**
   * Connects once more beside what it has. Not while a request of it is under way: answered in the
   * wrong order, the older of two cursors would look like that of a device which forgot something.
   * @param edgeUrl at this edge, whoever owns the shard; unset: wherever a router says
   */
  takeOver(edgeUrl?: string): void {
    if (this.#isStopped || this.#absence !== undefined) return;
    for (const { link } of this.#held) if (!link.isOpen) return;
    // Sent under an assignment newer than any: the edge serves us as a guest.
    if (edgeUrl !== undefined) this.#ask('&epoch=999999999-0', edgeUrl);
    else this.connect();
  }

  /** Loses its connections; it does not know better than to come back. */
  cut(how: 'reset' | 'fin'): void {
    for (const held of [...this.#held]) this.#end(held, how, `cut by the drill (${how})`);
    this.#retrySoon();
  }

  /** Does not listen until it is back. */
  leave(): void {
    if (this.#absence !== undefined) return;
    this.#beginAbsence();
    clearTimeout(this.#retry);
    for (const held of [...this.#held]) this.#end(held, 'fin', 'away');
  }

  /** Stops reading until it is back, or until its connections are cut. */
  pause(): void {
    if (this.#absence !== undefined || this.#held.size === 0) return;
    this.#beginAbsence();
    for (const { link } of this.#held) link.pause();
  }

  /** Listens again, whatever it did. */
  back(): void {
    if (this.#absence !== undefined) this.#absence.toMs = performance.now();
    this.#absence = undefined;
    for (const { link } of this.#held) if (link.isPaused) link.resume();
    if (this.#held.size === 0) this.connect();
  }

  /** Gives up what is silent. To be called about twice a second. */
  sweep(nowMs: number): void {
    const silenceMsMax = HEARTBEATS_MISSED_MAX * this.world.heartbeatMs + MOMENT_MS;
    for (const held of [...this.#held]) {
      if (held.link.isPaused) continue;
      const silentMs = nowMs - held.link.heardAtMs;
      if (silentMs <= (held.link.isOpen ? silenceMsMax : ANSWER_MS_MAX)) continue;
      this.#end(held, 'reset', 'silent');
      if (this.#held.size === 0) this.#retrySoon();
    }
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#retry);
    for (const held of [...this.#held]) this.#end(held, 'reset', 'the drill is over');
  }

  #ask(more: string, origin = pick(this.world.random, this.world.routerUrls)): void {
    this.#open(new URL(`/connect?clientId=${encodeURIComponent(this.clientId)}${more}`, origin));
  }

  #open(url: URL): void {
    const cursor = this.#newestId;
    if (this.isOwnClient && cursor !== '') url.searchParams.set('lastEventId', cursor);
    const held: Held = {
      askedAtMs: performance.now(),
      connection: undefined,
      goaway: undefined,
      link: new SseLink(url, this.isOwnClient ? '' : cursor, {
        onOpen: (edge) => {
          held.connection = this.#connected(edge, cursor);
          this.#tries = 0;
        },
        onEvent: ({ name, messageId, text, retryMs = 0 }) => {
          const { receipts, resetsAtMs } = held.connection!;
          const atMs = performance.now();
          if (name === 'reset') resetsAtMs.push(atMs);
          if (name === 'goaway')
            held.goaway = { ...(JSON.parse(text) as { url?: string }), retryMs };
          if (name !== 'message') return;
          this.receivedAtMs = atMs;
          receipts.push({ atMs, messageId, pushNumber: numberOf(text), digest: digestOf(text) });
          if (messageId !== '' && isNewer(messageId, this.#newestId)) this.#newestId = messageId;
        },
        onClose: (because) => {
          this.#ended(held, because);
          if (this.#held.size > 0) return;
          if (held.goaway === undefined) this.#retrySoon();
          else this.#obey(held.goaway);
        },
      }),
    };
    this.#held.add(held);
  }

  #connected(edge: string, cursor: string): Connection {
    const connection: Connection = {
      clientId: this.clientId,
      edge,
      cursor,
      openedAtMs: performance.now(),
      closedAtMs: Number.POSITIVE_INFINITY,
      closedBecause: '',
      receipts: [],
      resetsAtMs: [],
    };
    this.world.history.connections.push(connection);
    return connection;
  }

  #end(held: Held, how: 'reset' | 'fin', because: string): void {
    held.link.close(how);
    this.#ended(held, because);
  }

  #ended(held: Held, because: string): void {
    this.#held.delete(held);
    const { connection, askedAtMs } = held;
    const nowMs = performance.now();
    if (connection === undefined) {
      const { clientId } = this;
      this.world.history.unansweredTries.push({ clientId, fromMs: askedAtMs, toMs: nowMs });
      return;
    }
    connection.closedAtMs = nowMs;
    connection.closedBecause = because;
  }

  #retrySoon(): void {
    clearTimeout(this.#retry);
    if (this.#isStopped || this.#absence !== undefined) return;
    const delayMs = backoffMs(++this.#tries, BACKOFF_MS_MAX, this.world.random);
    this.#retry = setTimeout(() => this.connect(), delayMs);
  }

  #obey({ url, retryMs }: Goaway): void {
    clearTimeout(this.#retry);
    if (this.#isStopped || this.#absence !== undefined) return;
    this.#retry = setTimeout(() => {
      if (url !== undefined && this.isOwnClient) this.#open(new URL(url));
      else this.connect();
    }, retryMs);
  }

  #beginAbsence(): void {
    this.#absence = {
      clientId: this.clientId,
      fromMs: performance.now(),
      toMs: Number.POSITIVE_INFINITY,
    };
    this.world.history.absences.push(this.#absence);
  }
}

/** Ids are `<ms>-<n>`. The device compares them; the check has its own way. */
function isNewer(id: string, than: string): boolean {
  if (than === '') return true;
  const [aMs, aN] = id.split('-').map(Number);
  const [bMs, bN] = than.split('-').map(Number);
  return aMs! > bMs! || (aMs === bMs && aN! > bN!);
}
