/**
 * Tells a connection what its inbox holds past what it was told, and lets it go live when nothing
 * is left: after a connect, and again whenever its shard had a gap.
 *
 * Why no push is lost and none is told twice: while a connection is behind, a durable push that
 * comes over the channel only marks it to be read once more. So when it goes live, every push that
 * came before was read from the inbox, and every later one comes over the channel; what came both
 * ways is recognised by its id.
 *
 * At most `AT_ONCE_MAX` inboxes are read at a time; the others wait their turn, first come, first
 * served. Memory is bounded by that times one page.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Counter } from 'prom-client';
import { type InboxEntry, isIdBefore, readInbox, resumeInbox } from '../common/inbox.js';
import type { Metrics } from '../common/metrics.js';
import type { RedisLink } from '../common/redis/redis-link.js';
import type { Connection, Transport } from '../common/transport/transport.js';
import type { Connections } from './connections.js';
import { SSE_RESET, sseEvent } from './protocol/sse.js';

const AT_ONCE_MAX = 256;
const ENTRIES_PER_PAGE = 32;
const RETRY_MS = 500;
/** How often a send buffer is looked at that has to drain before more can be written. */
const DRAIN_POLL_MS = 20;

/** A device that makes no room for so long is slow: others wait for its turn to end. */
const STALLED_MS = 10_000;

/** What one connection is behind with. */
interface Work {
  /** The id that the device named, until it has been confirmed; '' afterwards. */
  cursor: string;
  /** The device must be told that its history is not complete. */
  isIncomplete: boolean;
  /** A push came meanwhile: the inbox has to be read once more. */
  isAgain: boolean;
}

export class CatchUp {
  readonly #works = new Map<Connection, Work>();
  readonly #waiting: Connection[] = [];
  #running = 0;
  readonly #replayed: Counter;

  /** @param onSlow ends a connection that does not read */
  constructor(
    readonly table: Connections,
    readonly transport: Transport,
    readonly link: Pick<RedisLink, 'execute'>,
    readonly tagOf: (shard: number) => string,
    readonly onSlow: (connection: Connection) => void,
    metrics: Metrics,
  ) {
    this.#replayed = metrics.counter(
      'longline_edge_replayed_total',
      'Durable pushes that were written from an inbox.',
    );
    metrics.gauge(
      'longline_edge_catching_up',
      'Connections that are being told what their inbox holds.',
      () => this.#works.size,
    );
  }

  /** @param cursor what the device says it has: an id, '' for nothing */
  start(connection: Connection, cursor: string, isIncomplete: boolean): void {
    this.table.become(connection, 'behind');
    const work = this.#works.get(connection);
    if (work !== undefined) {
      work.isAgain = true;
      return;
    }
    this.#works.set(connection, { cursor, isIncomplete, isAgain: false });
    if (this.#running < AT_ONCE_MAX) void this.#runFrom(connection);
    else this.#waiting.push(connection);
  }

  /** A durable push came for a connection that is behind. */
  again(connection: Connection): void {
    this.#works.get(connection)!.isAgain = true;
  }

  async #runFrom(first: Connection): Promise<void> {
    this.#running++;
    for (
      let next: Connection | undefined = first;
      next !== undefined;
      next = this.#waiting.shift()
    ) {
      while ((await this.#step(next, this.#works.get(next)!)) === 'again');
    }
    this.#running--;
  }

  /** Reads one page. The work is gone when the connection is live or gone. */
  async #step(connection: Connection, work: Work): Promise<'again' | 'done'> {
    const isRead = await this.#readPage(connection, work);
    if (this.table.holds(connection)) {
      if (!isRead) return 'again';
      this.table.become(connection, 'live');
    }
    // In the same turn: whoever finds the connection live may start anew.
    this.#works.delete(connection);
    return 'done';
  }

  /** Resolves with whether nothing is left to be read. */
  async #readPage(connection: Connection, work: Work): Promise<boolean> {
    const { table } = this;
    if (!table.holds(connection)) return false;
    const clientId = table.clientIdOf(connection);
    const tag = this.tagOf(table.shardOf(connection));
    if (work.cursor !== '') {
      const resumed = await resumeInbox(this.link, tag, clientId, work.cursor);
      if (resumed.type !== 'done') return this.#postpone();
      if (!table.holds(connection)) return false;
      if (resumed.reply) table.markSent(connection, work.cursor);
      else work.isIncomplete = true;
      work.cursor = '';
    }
    work.isAgain = false;
    const after = table.sentId(connection);
    const page = await readInbox(this.link, tag, clientId, after, ENTRIES_PER_PAGE);
    if (page.type !== 'done') return this.#postpone();
    if (!table.holds(connection)) return false;
    const { entries, gone } = page.reply;
    if (after !== '' && gone !== '' && isIdBefore(after, gone)) {
      work.isIncomplete = true;
      table.markSent(connection, gone);
    }
    if (after !== '' && entries.some((entry) => entry.isExpired)) work.isIncomplete = true;
    if (work.isIncomplete && !(await this.#writePatiently(connection, SSE_RESET))) return false;
    work.isIncomplete = false;
    for (const entry of entries) {
      if (!(await this.#write(connection, entry))) return false;
    }
    return entries.length < ENTRIES_PER_PAGE && !work.isAgain;
  }

  /** Redis is away, which its own connection logs: the inbox is still there later. */
  async #postpone(): Promise<false> {
    await sleep(RETRY_MS);
    return false;
  }

  /** Resolves with false when the connection is gone. */
  async #write(connection: Connection, entry: InboxEntry): Promise<boolean> {
    const { table } = this;
    if (!entry.isExpired) {
      const event = sseEvent(entry.id, entry.payload);
      if (!(await this.#writePatiently(connection, event))) return false;
      this.#replayed.inc();
    }
    table.markSent(connection, entry.id);
    return true;
  }

  /** Waits for room. Resolves with false when the connection is gone. */
  async #writePatiently(connection: Connection, event: Buffer): Promise<boolean> {
    const { table, transport } = this;
    const giveUpMs = performance.now() + STALLED_MS;
    while (table.holds(connection) && transport.write(connection, event) === 'full') {
      if (performance.now() > giveUpMs) this.onSlow(connection);
      else await sleep(DRAIN_POLL_MS);
    }
    return table.holds(connection);
  }
}
