/**
 * Reads the events of a group for one consumer: renews its lease, polls the partitions that it has,
 * and writes what it acknowledges. While Redis does not answer, the partitions are given up at the
 * end of the lease, and read again from what was acknowledged when it answers.
 *
 * Bound: `unackedMax` events that are delivered and not acknowledged, and those of one poll of a
 * partition; then it reads no more, and the events wait in Redis.
 */
import { randomUUID } from 'node:crypto';
import {
  type GroupMember,
  leaveGroup,
  type RenewOptions,
  renewMembership,
} from '../../common/cluster/events/event-groups.js';
import { ackEvents, readEvents } from '../../common/cluster/events/event-reads.js';
import type { CountersLink } from '../../common/cluster/history/shard-counters.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import type { ScriptLink } from '../../common/redis/script.js';
import { type DeliveredEvent, Partition, shardOfEvent } from './partition.js';

export const LEASE_MS = 10_000;
const RENEW_MS = 1_000;
/** Interval of polls of a partition without new events: they read each stream once. */
const POLL_MS = 400;
const ACK_MS = 100;
/**
 * Partitions are what consumers share: at most this many consumers of a group have something to
 * read.
 */
const PARTITIONS_MAX = 64;
const EVENTS_PER_SHARD = 100;
/** Maximum time that a partition which is to be given back waits for events in flight. */
const RELEASE_MS_MAX = 10_000;

export type ReaderLink = CountersLink & ScriptLink & Pick<RedisLink, 'names'>;

export interface GroupReaderOptions {
  readonly link: ReaderLink;
  readonly names: ShardNames;
  readonly keepMs: number;
  readonly group: string;
  readonly consumer: string;
  /** Where a new group begins: `now`, or an id. */
  readonly start: string;
  readonly unackedMax: number;
  readonly isSelected: (event: DeliveredEvent) => boolean;
  /** Events of one partition; those of a client in their order. */
  readonly onEvents: (partition: number, events: readonly DeliveredEvent[]) => void;
  /** Another consumer reads the partition from now on. */
  readonly onLost: (partition: number) => void;
  /** The reader has ended. */
  readonly onEnd: (reason: 'full' | 'replaced') => void;
}

export class GroupReader {
  readonly #member: GroupMember;
  readonly #partitionCount: number;
  readonly #partitions = new Map<number, Partition>();
  /** By partition that is to be given back: since when, in ms of the monotonic clock. */
  readonly #leaving = new Map<number, number>();
  readonly #timers: NodeJS.Timeout[];
  #start: string;
  #isJoined = false;
  #leaseEndsAtMs = 0;
  #isRenewing = false;
  #isPolling = false;
  #isClosed = false;

  constructor(readonly options: GroupReaderOptions) {
    const { group, consumer, names, start } = options;
    this.#member = { group, consumer, instance: randomUUID() };
    this.#partitionCount = Math.min(PARTITIONS_MAX, names.shardCount);
    this.#start = start;
    this.#timers = [
      setInterval(() => void this.#renew(), RENEW_MS),
      setInterval(() => void this.#poll(), POLL_MS),
      setInterval(() => void this.#writeAcks(), ACK_MS),
    ];
    void this.#renew();
  }

  /** Events that were delivered and are not acknowledged. */
  get unacked(): number {
    let sum = 0;
    for (const { unacked } of this.#partitions.values()) sum += unacked;
    return sum;
  }

  /** When the event was read that waits for the longest time; Infinity: none waits. */
  get oldestAtMs(): number {
    return Math.min(...[...this.#partitions.values()].map(({ oldestAtMs }) => oldestAtMs));
  }

  get partitions(): number {
    return this.#partitions.size;
  }

  ack(eventIds: readonly string[]): void {
    for (const eventId of eventIds) {
      const shard = shardOfEvent(eventId);
      if (shard !== undefined) this.#partitions.get(this.#partitionOf(shard))?.ack(shard, eventId);
    }
  }

  /** Writes what was acknowledged and leaves the group. Never rejects. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const timer of this.#timers) clearInterval(timer);
    await this.#writeAcks();
    await leaveGroup(this.options.link, this.#member);
  }

  #partitionOf(shard: number): number {
    return Math.floor((shard * this.#partitionCount) / this.options.names.shardCount);
  }

  async #renew(): Promise<void> {
    if (this.#isRenewing || this.#isClosed) return;
    this.#isRenewing = true;
    const nowMs = performance.now();
    const renewal: RenewOptions = {
      leaseMs: LEASE_MS,
      partitions: this.#partitionCount,
      releasable: this.#releasable(nowMs),
      start: this.#start,
      isJoin: !this.#isJoined,
    };
    const renewed = await renewMembership(this.options.link, this.#member, renewal);
    this.#isRenewing = false;
    if (this.#isClosed) return;
    if (renewed.type !== 'done') {
      if (performance.now() > this.#leaseEndsAtMs) this.#keep([]);
      return;
    }
    const membership = renewed.reply;
    if (membership.type !== 'member') {
      this.#isClosed = true;
      for (const timer of this.#timers) clearInterval(timer);
      return this.options.onEnd(membership.type);
    }
    this.#isJoined = true;
    this.#start = membership.start;
    this.#leaseEndsAtMs = nowMs + LEASE_MS;
    this.#keep(membership.partitions);
    this.#leave(membership.over, nowMs);
    void this.#poll();
  }

  /** Partitions that are to be given back and have nothing in flight any more. */
  #releasable(nowMs: number): number[] {
    return [...this.#leaving].flatMap(([number, sinceMs]) => {
      const isIdle = (this.#partitions.get(number)?.unacked ?? 0) === 0;
      return isIdle || nowMs - sinceMs >= RELEASE_MS_MAX ? [number] : [];
    });
  }

  #leave(over: number, nowMs: number): void {
    if (over === 0) return this.#leaving.clear();
    for (const number of [...this.#partitions.keys()].reverse()) {
      if (this.#leaving.size >= over) return;
      if (!this.#leaving.has(number)) this.#leaving.set(number, nowMs);
    }
  }

  #keep(numbers: readonly number[]): void {
    const { names, isSelected, keepMs, onLost } = this.options;
    for (const number of this.#partitions.keys()) {
      if (numbers.includes(number)) continue;
      this.#partitions.delete(number);
      this.#leaving.delete(number);
      onLost(number);
    }
    for (const number of numbers) {
      if (this.#partitions.has(number)) continue;
      const perPartition = names.shardCount / this.#partitionCount;
      const shards = Array.from({ length: perPartition }, (_, i) => number * perPartition + i);
      this.#partitions.set(number, new Partition(shards, isSelected, keepMs));
    }
  }

  async #poll(): Promise<void> {
    if (this.#isPolling || this.#isClosed) return;
    this.#isPolling = true;
    let isMore = true;
    while (isMore) {
      isMore = false;
      for (const [number, partition] of [...this.#partitions]) {
        if (this.unacked >= this.options.unackedMax || this.#isClosed) break;
        if (!this.#leaving.has(number)) isMore = (await this.#read(number, partition)) || isMore;
      }
    }
    this.#isPolling = false;
  }

  /** Returns whether there may be more. */
  async #read(number: number, partition: Partition): Promise<boolean> {
    const { link, names, group, keepMs, onEvents } = this.options;
    const request = { group, start: this.#start, countMax: EVENTS_PER_SHARD, keepMs };
    const shards = partition.shards.map((shard) => ({
      channel: names.channelOf(shard),
      after: partition.after(shard),
    }));
    const read = await readEvents(link, request, shards);
    if (this.#isClosed || this.#partitions.get(number) !== partition) return false;
    const nowMs = performance.now();
    const events = read.flatMap((each) =>
      partition.take(partition.shards[each.index]!, each, nowMs),
    );
    if (events.length > 0) {
      // To the end, so that a busy partition does not keep the others waiting.
      this.#partitions.delete(number);
      this.#partitions.set(number, partition);
      onEvents(number, events);
    }
    return read.some((each) => each.events.length === EVENTS_PER_SHARD);
  }

  async #writeAcks(): Promise<void> {
    const { link, names, group, keepMs } = this.options;
    const writes = [...this.#partitions.values()].flatMap((partition) =>
      partition.takeAcked().map(async ({ shard, position }) => {
        const written = await ackEvents(link, names.channelOf(shard), group, position, keepMs);
        if (written.type !== 'done') partition.restoreAcked(shard, position);
      }),
    );
    await Promise.all(writes);
  }
}
