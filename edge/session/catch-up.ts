/**
 * Writes the backlog of a connection: the pushes in its inbox after the last id that was sent. When
 * nothing is left, the connection becomes `live`. This happens after a connect, and again whenever
 * the shard had a gap.
 *
 * Why no push is lost or delivered twice: while a connection is catching up, a durable push from
 * the channel only requests another read of the inbox. So when the connection becomes live, every
 * earlier push was read from the inbox, and every later one arrives over the channel. A push that
 * arrives both ways is recognised by its id. When Redis fails over, the channel may be that of the
 * new master already, and the inbox that of the former one: then no connection becomes live.
 *
 * At most `READS_MAX` inboxes are read at a time; the others queue in order of arrival. Memory is
 * bounded by that times one page. A connection that must confirm pushes before it can receive more
 * is parked: it gives up its place until `unpark`. So is one with bytes that its device has not
 * read when a push with a collapse key arrives: such a push waits in the inbox, where a newer one
 * replaces it.
 *
 * Stored parts of a growing message that follow one another are written as one push.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Counter } from 'prom-client';
import type { EventBounds } from '../../common/cluster/events/event-stream.js';
import type { InboxEntry, InboxPage } from '../../common/cluster/history/inbox-read.js';
import { readPosition } from '../../common/cluster/inbox/position.js';
import { isIdBefore, readNewestId, resumeInbox } from '../../common/cluster/inbox.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import type { Metrics } from '../../common/process/metrics.js';
import type { Outcome } from '../../common/redis/execute.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import type { ScriptLink } from '../../common/redis/script.js';
import type { Connection, Transport } from '../../common/transport/transport.js';
import type { Protocol, StartFrom } from '../protocol/protocol.js';
import type { ConfirmedPushes } from '../report/confirmed-pushes.js';
import type { RedisClocks } from '../shards/redis-clocks.js';
import type { Connections } from './connections.js';
import { InboxReads } from './inbox-reads.js';
import { joinParts } from './join-parts.js';
import type { MessageLimits } from './message-limits.js';
import type { PushCounts } from './slow/push-counts.js';

const READS_MAX = 256;
const ENTRIES_PER_PAGE = 32;
/** Maximum number of entries of a page, with the parts of a growing message that follow it. */
const ENTRIES_WITH_PARTS_MAX = 1_024;
const RETRY_MS = 500;
/** Interval of write attempts while a send buffer is full. */
const DRAIN_POLL_MS = 20;

/** A device whose send buffer stays full for this long is slow: it keeps others waiting. */
const STALLED_MS = 10_000;

/** Progress of one connection; dropped when the connection is live or has ended. */
interface Progress {
  /** 'now' until the entries before the connect have been skipped. */
  startFrom: StartFrom;
  /** The id that the device sent as its cursor, until it has been confirmed; then ''. */
  cursor: string;
  /** The device must receive a `reset`: its history has a gap. */
  isIncomplete: boolean;
  /** Redis does not know the newest id that was sent: the connection needs another position. */
  isUnproven: boolean;
  /** The position for the next `reset` was read. */
  hasPosition: boolean;
  /** A push has arrived meanwhile: the inbox must be read once more. */
  mustReadAgain: boolean;
  /** Waits for `unpark`. */
  isParked: boolean;
}

interface Page {
  /** Entries after this id were read; '': from the oldest. */
  readonly after: string;
  readonly outcome: Outcome<InboxPage>;
}

/** `empty` nothing is left · `more` there is another page · `stopped` parked, or ended. */
type PageResult = 'empty' | 'more' | 'stopped';

export interface CatchUpOptions {
  readonly table: Connections;
  readonly transport: Pick<Transport, 'write' | 'bufferedBytes'>;
  readonly link: ScriptLink & Pick<RedisLink, 'isCluster' | 'isOneServer'>;
  readonly names: Pick<ShardNames, 'channelOf'>;
  readonly redisClocks: Pick<RedisClocks, 'observe'>;
  readonly confirmed: ConfirmedPushes;
  /** Ends a connection whose send buffer does not drain. */
  readonly onSlow: (connection: Connection) => void;
  readonly limits: Pick<MessageLimits, 'allows' | 'find'>;
  /** A push exceeds the maximum that the device has requested. */
  readonly onOverLimit: (connection: Connection, id: string) => void;
  /** The stored entry of a push is corrupt: the push leaves the inbox, and is not delivered. */
  readonly onCorrupt: (connection: Connection, id: string) => void;
  /** Undefined: no events of pushes are written. */
  readonly events: EventBounds | undefined;
  readonly counts: Pick<PushCounts, 'onWritten'>;
  readonly metrics: Metrics;
}

export class CatchUp {
  readonly #progress = new Map<Connection, Progress>();
  readonly #queue: Connection[] = [];
  readonly #reads: InboxReads;
  /** Parked until the device has read everything, with the time at which they were parked. */
  readonly #draining = new Map<Connection, number>();
  #drainTimer: NodeJS.Timeout | undefined;
  #running = 0;
  /** Running reads that sleep instead of waiting for a reply of Redis. */
  #sleeping = 0;
  readonly #replayed: Counter;
  readonly #expired: Counter;
  readonly #resets: Counter;

  constructor(readonly options: CatchUpOptions) {
    const { link, metrics } = options;
    this.#reads = new InboxReads(link);
    this.#replayed = metrics.counter(
      'longline_edge_pushes_replayed_total',
      'Durable pushes written from inboxes',
    );
    this.#expired = metrics.counter(
      'longline_edge_pushes_expired_total',
      'Durable pushes whose TTL had passed when the inbox of their device was read',
    );
    this.#resets = metrics.counter(
      'longline_edge_resets_total',
      'Messages `reset` written to devices: their history is not complete',
    );
    metrics.gauge(
      'longline_edge_catching_up',
      'Connections that are receiving their backlog',
      () => this.#progress.size,
    );
  }

  /**
   * Starts with a connection that is not catching up.
   * @param cursor newest id that the device has; '' for none, undefined for an invalid one
   */
  start(connection: Connection, cursor: string | undefined, startFrom: StartFrom): void {
    const progress = this.#add(connection, {
      startFrom,
      cursor: cursor ?? '',
      isIncomplete: cursor === undefined,
      isUnproven: false,
      hasPosition: false,
      mustReadAgain: false,
      isParked: false,
    });
    this.#run(connection, progress);
  }

  /**
   * Reads the inbox again, because it may have new entries. Only for a subscribed connection.
   * @param isIncomplete the device must receive a `reset`
   */
  readAgain(connection: Connection, isIncomplete = false): void {
    const progress = this.#progress.get(connection);
    if (progress === undefined) {
      return this.start(connection, isIncomplete ? undefined : '', 'unconfirmed');
    }
    progress.mustReadAgain = true;
    progress.isIncomplete ||= isIncomplete;
  }

  /** The device cannot receive a push yet: it stays in the inbox until `unpark`. */
  park(connection: Connection): void {
    this.#add(connection, {
      startFrom: 'unconfirmed',
      cursor: '',
      isIncomplete: false,
      isUnproven: false,
      hasPosition: false,
      mustReadAgain: false,
      isParked: true,
    });
  }

  /**
   * The same until the device has read what waits for it, for `STALLED_MS` at most.
   * @returns false if nothing waits
   */
  parkUnlessDrained(connection: Connection): boolean {
    if (this.options.transport.bufferedBytes(connection) === 0) return false;
    this.park(connection);
    this.#draining.set(connection, performance.now());
    this.#drainTimer ??= setInterval(() => this.#unparkDrained(), DRAIN_POLL_MS);
    return true;
  }

  #unparkDrained(): void {
    const stalledAtMs = performance.now() - STALLED_MS;
    for (const [connection, sinceMs] of this.#draining) {
      if (sinceMs > stalledAtMs && this.options.transport.bufferedBytes(connection) > 0) continue;
      this.#draining.delete(connection);
      this.unpark(connection);
    }
    if (this.#draining.size > 0) return;
    clearInterval(this.#drainTimer);
    this.#drainTimer = undefined;
  }

  /** The device can receive pushes again. */
  unpark(connection: Connection): void {
    const progress = this.#progress.get(connection);
    if (progress === undefined || !progress.isParked) return;
    progress.isParked = false;
    this.#run(connection, progress);
  }

  /** The connection has unsubscribed or ended. */
  stop(connection: Connection): void {
    this.#draining.delete(connection);
    this.#progress.delete(connection);
  }

  /** Inbox reads that wait for Redis or for a place. */
  get pendingReads(): number {
    return this.#running - this.#sleeping + this.#queue.length;
  }

  #add(connection: Connection, progress: Progress): Progress {
    this.options.table.setState(connection, 'catchingUp');
    this.#progress.set(connection, progress);
    return progress;
  }

  #run(connection: Connection, progress: Progress): void {
    if (this.#running >= READS_MAX) return void this.#queue.push(connection);
    this.#running++;
    this.#begin(connection, progress);
  }

  /** Gives the place of a read that has ended to the next one. */
  #next(): void {
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      const progress = this.#progress.get(next);
      if (progress !== undefined) return this.#begin(next, progress);
    }
    this.#running--;
  }

  #begin(connection: Connection, progress: Progress): void {
    const { startFrom, cursor, isIncomplete } = progress;
    if (startFrom === 'now' || cursor !== '' || isIncomplete) {
      return void this.#readAll(connection, progress);
    }
    // Most inboxes are empty, which is found here without a promise for each.
    this.#requestPage(connection, progress, (page) => {
      if (!this.#isLive(connection, progress, page)) {
        return void this.#readAll(connection, progress, page);
      }
      this.#complete(connection);
      this.#next();
    });
  }

  /** @param first a page that was read already */
  async #readAll(connection: Connection, progress: Progress, first?: Page): Promise<void> {
    let result =
      first === undefined
        ? await this.#readPage(connection, progress)
        : await this.#takePage(connection, progress, first);
    while (result === 'more') result = await this.#readPage(connection, progress);
    // In the same turn, because a caller that finds the connection live may start again.
    if (result === 'empty') this.#complete(connection);
    this.#next();
  }

  #complete(connection: Connection): void {
    this.options.table.setState(connection, 'live');
    this.#progress.delete(connection);
  }

  /** False if the connection was stopped, or has started again since. */
  #isCurrent(connection: Connection, progress: Progress): boolean {
    return this.#progress.get(connection) === progress;
  }

  async #readPage(connection: Connection, progress: Progress): Promise<PageResult> {
    const { table, link, names, confirmed, events } = this.options;
    const clientId = table.clientIdOf(connection);
    const shard = table.shardOf(connection);
    const channel = names.channelOf(shard);
    if (progress.startFrom === 'now') {
      const newest = await readNewestId(link, channel, clientId);
      if (newest.type !== 'done') return this.#postpone(connection, progress);
      if (!this.#isCurrent(connection, progress)) return 'stopped';
      if (newest.reply !== '') table.markSent(connection, newest.reply);
      progress.startFrom = 'unconfirmed';
      table.protocolOf(connection).onSubscribed?.(connection);
      if (!this.#isCurrent(connection, progress)) return 'stopped';
    }
    if (progress.cursor !== '') {
      const resumed = await resumeInbox(link, channel, clientId, progress.cursor, events);
      if (resumed.type === 'unknown') confirmed.totals.onUnanswered();
      if (resumed.type !== 'done') return this.#postpone(connection, progress);
      confirmed.add(shard, resumed.reply.confirmed, progress.cursor);
      if (!this.#isCurrent(connection, progress)) return 'stopped';
      if (resumed.reply.isComplete) table.markSent(connection, progress.cursor);
      else progress.isIncomplete = true;
      progress.cursor = '';
    }
    if (progress.isIncomplete && (progress.isUnproven || table.lastSentId(connection) === '')) {
      const position = await readPosition(link, channel, clientId);
      if (position.type !== 'done') return this.#postpone(connection, progress);
      if (!this.#isCurrent(connection, progress)) return 'stopped';
      if (position.reply !== '') table.markSent(connection, position.reply);
      progress.isUnproven = false;
      progress.hasPosition = true;
    }
    const page = await new Promise<Page>((resolve) => {
      this.#requestPage(connection, progress, resolve);
    });
    return this.#takePage(connection, progress, page);
  }

  #requestPage(connection: Connection, progress: Progress, onPage: (page: Page) => void): void {
    const { table, names } = this.options;
    progress.mustReadAgain = false;
    const after = table.lastSentId(connection);
    const read = {
      channel: names.channelOf(table.shardOf(connection)),
      clientId: table.clientIdOf(connection),
      after,
      countMax: ENTRIES_PER_PAGE,
      isTold: progress.isIncomplete,
      partsMax: this.#joinsParts(connection) ? ENTRIES_WITH_PARTS_MAX : 0,
    };
    this.#reads.read(read, (outcome) => onPage({ after, outcome }));
  }

  /** Whether the page shows that nothing is left to be written, not even a `reset`. */
  #isLive(connection: Connection, progress: Progress, { after, outcome }: Page): boolean {
    if (outcome.type !== 'done' || !this.#isCurrent(connection, progress)) return false;
    const { entries, gone, isProven, redisMs } = outcome.reply;
    const isEmpty = entries.length === 0 && (after === '' || gone === '') && isProven;
    if (!isEmpty || progress.mustReadAgain || progress.isIncomplete) return false;
    if (!this.#isOfMaster(connection)) return false;
    const { table, redisClocks } = this.options;
    redisClocks.observe(table.shardOf(connection), redisMs, performance.now());
    return true;
  }

  async #takePage(
    connection: Connection,
    progress: Progress,
    { after, outcome }: Page,
  ): Promise<PageResult> {
    const { table, redisClocks } = this.options;
    if (outcome.type !== 'done') return this.#postpone(connection, progress);
    if (!this.#isCurrent(connection, progress)) return 'stopped';
    const { entries, gone, redisMs, isProven } = outcome.reply;
    redisClocks.observe(table.shardOf(connection), redisMs, performance.now());
    if (!isProven && !progress.hasPosition && canReset(table.protocolOf(connection))) {
      progress.isIncomplete = progress.isUnproven = true;
      return 'more';
    }
    if (after !== '' && gone !== '' && isIdBefore(after, gone)) {
      progress.isIncomplete = true;
      table.markSent(connection, gone);
    }
    if (after !== '' && entries.some(isExpired)) progress.isIncomplete = true;
    if (entries.some(({ isCorrupt }) => isCorrupt)) progress.isIncomplete = true;
    return this.#writePage(connection, progress, entries);
  }

  async #writePage(
    connection: Connection,
    progress: Progress,
    entries: readonly InboxEntry[],
  ): Promise<PageResult> {
    const { table } = this.options;
    const protocol = table.protocolOf(connection);
    const isIncomplete = progress.isIncomplete;
    // Now, because another loss may be noticed while the reset is written.
    progress.isIncomplete = progress.hasPosition = false;
    if (isIncomplete && canReset(protocol)) {
      // Pushes before the first one that follows are part of the gap.
      const live = entries.findIndex((entry) => !isExpired(entry) && !entry.isCorrupt);
      const last = entries[(live < 0 ? entries.length : live) - 1];
      const id = last?.id ?? table.lastSentId(connection);
      const reset = protocol.encodeReset(connection, id);
      if (!(await this.#writeWhenDrained(connection, progress, reset))) return 'stopped';
      this.#resets.inc();
    }
    for (const entry of this.#joinsParts(connection) ? joinParts(entries) : entries) {
      if (!(await this.#write(connection, progress, entry))) return 'stopped';
    }
    if (entries.length >= ENTRIES_PER_PAGE || progress.mustReadAgain) return 'more';
    return this.#isOfMaster(connection) ? 'empty' : this.#postpone(connection, progress);
  }

  /** Whether the inbox was read from the server whose channel the edge hears. */
  #isOfMaster(connection: Connection): boolean {
    const { link, names, table } = this.options;
    return link.isOneServer(names.channelOf(table.shardOf(connection)));
  }

  /** Not for a device with a maximum size, which each part keeps and all together may not. */
  #joinsParts(connection: Connection): boolean {
    const { table, limits } = this.options;
    return table.protocolOf(connection).joinsParts && limits.find(connection) === undefined;
  }

  /** Waits for Redis, whose link logs that it is unreachable; the inbox remains. */
  async #postpone(connection: Connection, progress: Progress): Promise<PageResult> {
    await this.#sleep(RETRY_MS);
    return this.#isCurrent(connection, progress) ? 'more' : 'stopped';
  }

  /** Resolves with false if the connection was stopped or parked. */
  async #write(connection: Connection, progress: Progress, entry: InboxEntry): Promise<boolean> {
    const { table, limits, onOverLimit, onCorrupt } = this.options;
    if (entry.isCorrupt) {
      onCorrupt(connection, entry.id);
    } else if (!isExpired(entry)) {
      const protocol = table.protocolOf(connection);
      const bytes = protocol.encodePush(connection, entry);
      progress.isParked = bytes === undefined;
      if (bytes === undefined) return false;
      if (limits.allows(connection, protocol, bytes)) {
        if (!(await this.#writeWhenDrained(connection, progress, bytes))) return false;
        this.#replayed.inc();
        this.options.counts.onWritten(connection);
      } else {
        onOverLimit(connection, entry.id);
      }
    } else {
      this.#expired.inc();
    }
    table.markSent(connection, entry.id);
    return true;
  }

  /** Waits while the send buffer is full. Resolves with false if the connection was stopped. */
  async #writeWhenDrained(
    connection: Connection,
    progress: Progress,
    bytes: Buffer,
  ): Promise<boolean> {
    const { transport, onSlow } = this.options;
    const stalledAtMs = performance.now() + STALLED_MS;
    while (this.#isCurrent(connection, progress) && transport.write(connection, bytes) === 'full') {
      if (performance.now() > stalledAtMs) onSlow(connection);
      else await this.#sleep(DRAIN_POLL_MS);
    }
    return this.#isCurrent(connection, progress);
  }

  async #sleep(ms: number): Promise<void> {
    this.#sleeping++;
    await sleep(ms);
    this.#sleeping--;
  }
}

/** MQTT has no message that says that pushes are missing. */
function canReset(
  protocol: Protocol,
): protocol is Protocol & Required<Pick<Protocol, 'encodeReset'>> {
  return protocol.encodeReset !== undefined;
}

function isExpired({ ttlMs }: InboxEntry): boolean {
  return ttlMs <= 0;
}
