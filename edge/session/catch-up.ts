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
 * served. Memory is bounded by that times one page. A connection that has to confirm pushes before
 * it may be sent more is parked: it gives its turn up until it is woken.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Counter } from 'prom-client';
import {
  type InboxEntry,
  isIdBefore,
  readInbox,
  readNewestId,
  resumeInbox,
} from '../../common/cluster/inbox.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import type { Connection, Transport } from '../../common/transport/transport.js';
import type { StartFrom } from '../protocol/protocol.js';
import type { Connections } from './connections.js';

const AT_ONCE_MAX = 256;
const ENTRIES_PER_PAGE = 32;
const RETRY_MS = 500;
/** How often a send buffer is looked at that has to drain before more can be written. */
const DRAIN_POLL_MS = 20;

/** A device that makes no room for so long is slow: others wait for its turn to end. */
const STALLED_MS = 10_000;

/** What one connection is behind with. It is forgotten when the connection is live or has ended. */
interface Work {
  /** Whether what was stored before is passed over, until that has been done. */
  from: StartFrom;
  /** The id that the device named, until it has been confirmed; '' afterwards. */
  cursor: string;
  /** The device must be told that its history is not complete. */
  isIncomplete: boolean;
  /** A push came meanwhile: the inbox has to be read once more. */
  isAgain: boolean;
  /** It waits to be woken. */
  isParked: boolean;
}

/** Of a page: nothing is left · there is more · the connection was parked, or is gone. */
type PageResult = 'empty' | 'more' | 'stopped';

export class CatchUp {
  readonly #works = new Map<Connection, Work>();
  readonly #waiting: Connection[] = [];
  #running = 0;
  /** Of the running: those that wait for something else than Redis. */
  #resting = 0;
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
      'longline_edge_pushes_replayed_total',
      'Durable pushes that were written from an inbox.',
    );
    metrics.gauge(
      'longline_edge_catching_up',
      'Connections that are being told what their inbox holds.',
      () => this.#works.size,
    );
  }

  /**
   * For a connection that is not behind.
   * @param cursor what the device says it has: an id, '' for nothing, undefined for what is no id
   */
  start(connection: Connection, cursor: string | undefined, from: StartFrom): void {
    this.#add(connection, {
      from,
      cursor: cursor ?? '',
      isIncomplete: cursor === undefined,
      isAgain: false,
      isParked: false,
    });
    this.#run(connection);
  }

  /** There may be more in the inbox than was known. For any connection that gets pushes. */
  again(connection: Connection): void {
    const work = this.#works.get(connection);
    if (work !== undefined) work.isAgain = true;
    else this.start(connection, '', 'unconfirmed');
  }

  /** A push had no room: it stays in the inbox until the connection is woken. */
  park(connection: Connection): void {
    this.#add(connection, {
      from: 'unconfirmed',
      cursor: '',
      isIncomplete: false,
      isAgain: false,
      isParked: true,
    });
  }

  /** There is room again. */
  wake(connection: Connection): void {
    const work = this.#works.get(connection);
    if (work === undefined || !work.isParked) return;
    work.isParked = false;
    this.#run(connection);
  }

  /** The connection is to be told nothing more, or has ended. */
  stop(connection: Connection): void {
    this.#works.delete(connection);
  }

  /** Inboxes that Redis is being asked for, or that wait for their turn. */
  get readsUnderWay(): number {
    return this.#running - this.#resting + this.#waiting.length;
  }

  #add(connection: Connection, work: Work): void {
    this.table.become(connection, 'catchingUp');
    this.#works.set(connection, work);
  }

  #run(connection: Connection): void {
    if (this.#running < AT_ONCE_MAX) void this.#runFrom(connection);
    else this.#waiting.push(connection);
  }

  async #runFrom(first: Connection): Promise<void> {
    this.#running++;
    for (
      let next: Connection | undefined = first;
      next !== undefined;
      next = this.#waiting.shift()
    ) {
      const work = this.#works.get(next);
      if (work === undefined) continue;
      let result: PageResult;
      do result = await this.#readPage(next, work);
      while (result === 'more');
      if (result === 'stopped') continue;
      // In the same turn: whoever finds the connection live may start anew.
      this.table.become(next, 'live');
      this.#works.delete(next);
    }
    this.#running--;
  }

  /** False when the connection was stopped, or has started anew since. */
  #isCurrent(connection: Connection, work: Work): boolean {
    return this.#works.get(connection) === work;
  }

  async #readPage(connection: Connection, work: Work): Promise<PageResult> {
    const { table } = this;
    const clientId = table.clientIdOf(connection);
    const tag = this.tagOf(table.shardOf(connection));
    if (work.from === 'now') {
      const newest = await readNewestId(this.link, tag, clientId);
      if (newest.type !== 'done') return this.#postpone(connection, work);
      if (!this.#isCurrent(connection, work)) return 'stopped';
      if (newest.reply !== '') table.markSent(connection, newest.reply);
      work.from = 'unconfirmed';
      table.protocolOf(connection).onListening?.(connection);
      if (!this.#isCurrent(connection, work)) return 'stopped';
    }
    if (work.cursor !== '') {
      const resumed = await resumeInbox(this.link, tag, clientId, work.cursor);
      if (resumed.type !== 'done') return this.#postpone(connection, work);
      if (!this.#isCurrent(connection, work)) return 'stopped';
      if (resumed.reply) table.markSent(connection, work.cursor);
      else work.isIncomplete = true;
      work.cursor = '';
    }
    work.isAgain = false;
    const after = table.sentId(connection);
    const page = await readInbox(this.link, tag, clientId, after, ENTRIES_PER_PAGE);
    if (page.type !== 'done') return this.#postpone(connection, work);
    if (!this.#isCurrent(connection, work)) return 'stopped';
    const { entries, gone } = page.reply;
    if (after !== '' && gone !== '' && isIdBefore(after, gone)) {
      work.isIncomplete = true;
      table.markSent(connection, gone);
    }
    if (after !== '' && entries.some(isExpired)) work.isIncomplete = true;
    const { reset } = table.protocolOf(connection);
    if (work.isIncomplete && reset !== undefined) {
      if (!(await this.#writePatiently(connection, work, reset))) return 'stopped';
    }
    work.isIncomplete = false;
    for (const entry of entries) {
      if (!(await this.#write(connection, work, entry))) return 'stopped';
    }
    return entries.length < ENTRIES_PER_PAGE && !work.isAgain ? 'empty' : 'more';
  }

  /** Redis is away, which its own connection logs: the inbox is still there later. */
  async #postpone(connection: Connection, work: Work): Promise<PageResult> {
    await this.#rest(RETRY_MS);
    return this.#isCurrent(connection, work) ? 'more' : 'stopped';
  }

  /** Resolves with false when the connection was stopped or parked. */
  async #write(connection: Connection, work: Work, entry: InboxEntry): Promise<boolean> {
    const { table } = this;
    if (!isExpired(entry)) {
      const bytes = table.protocolOf(connection).encode(connection, entry);
      work.isParked = bytes === undefined;
      if (bytes === undefined || !(await this.#writePatiently(connection, work, bytes))) {
        return false;
      }
      this.#replayed.inc();
    }
    table.markSent(connection, entry.id);
    return true;
  }

  /** Waits for room. Resolves with false when the connection was stopped. */
  async #writePatiently(connection: Connection, work: Work, bytes: Buffer): Promise<boolean> {
    const giveUpMs = performance.now() + STALLED_MS;
    while (
      this.#isCurrent(connection, work) &&
      this.transport.write(connection, bytes) === 'full'
    ) {
      if (performance.now() > giveUpMs) this.onSlow(connection);
      else await this.#rest(DRAIN_POLL_MS);
    }
    return this.#isCurrent(connection, work);
  }

  async #rest(ms: number): Promise<void> {
    this.#resting++;
    await sleep(ms);
    this.#resting--;
  }
}

function isExpired({ ttlMs }: InboxEntry): boolean {
  return ttlMs <= 0;
}
