/**
 * Sharded subscriptions with confirmation. One plain connection per master carries one SSUBSCRIBE
 * per channel; a standalone Redis is treated as a cluster with one master.
 *
 * The difficulty: a subscription can end without a request. Redis drops it when its slot moves or
 * its master is demoted (an unsolicited `sunsubscribe`), and when the connection closes. So this
 * class keeps the desired subscriptions apart from those that Redis confirmed. A reconciler closes
 * the difference: in the turn of a change, when a connection becomes ready, after a refresh of the
 * slot map, and once a second in any case. The slot map is only a hint where to subscribe, because
 * the queried node may not know of a move yet: a channel stays where it is confirmed until another
 * master confirms it or Redis drops it.
 *
 * ioredis' own sharded subscribers are not used: they skip resubscription when a slot moves away
 * and back, swallow rejections, and spin while a master is unreachable (ioredis 6.0.0).
 */
import assert from 'node:assert';
import keySlot from 'cluster-key-slot';
import type { Redis } from 'ioredis';
import type { Counter } from 'prom-client';
import type { Logger } from '../process/log.js';
import type { Metrics } from '../process/metrics.js';
import { closeClient } from './connection.js';
import { filterMessages } from './resp/message-filter.js';
import type { SlotMap } from './slot-map.js';

export interface ChannelHandler {
  /** `payload` is a slice of the buffer read from the socket, not a copy. */
  onMessage(channel: string, payload: Buffer): void;
  /** Redis confirmed the subscription: messages are delivered from now on. */
  onConfirmed(channel: string): void;
  /** A confirmed subscription was lost: messages may be missed until the next `onConfirmed`. */
  onLost(channel: string): void;
}

/** The subscriber's access to Redis. */
export interface Connector {
  readonly slotMap: SlotMap;
  /** Opens a connection that reconnects without a limit. */
  connect(address: string): Redis;
  /**
   * Fetches a newer map; null for a standalone Redis, whose map never changes.
   * @param ready one of our connections that can be queried, if any
   */
  readonly fetchSlotMap:
    | ((ready: { readonly redis: Redis; readonly address: string } | undefined) => Promise<SlotMap>)
    | null;
}

interface Subscription {
  readonly channel: string;
  readonly slot: number;
  readonly handler: ChannelHandler;
  /** Connection on which Redis confirmed the subscription. */
  confirmedOn: MasterConnection | undefined;
  /** Connection on which an SSUBSCRIBE awaits its reply. */
  pendingOn: MasterConnection | undefined;
}

interface MasterConnection {
  readonly address: string;
  readonly redis: Redis;
  /** Channels to SUNSUBSCRIBE at the end of this turn. */
  unsubscribes: string[];
  /** Redis may have dropped channels; to be checked at the end of this turn. */
  isSuspect: boolean;
  /** The last logged rejection, so that each is logged once. */
  rejection: string | undefined;
}

const TICK_MS = 1_000;
/** Ticks between refreshes of the slot map while nothing indicates that it is outdated. */
const TICKS_PER_REFRESH = 3;
/** Bounds the refreshes against a cluster whose nodes redirect to each other. */
const REFRESH_DELAY_MS = 200;

export class ShardSubscriber {
  private readonly desired = new Map<string, Subscription>();
  /** The desired subscriptions that are not known to be confirmed on the master of their slot. */
  private readonly misplaced = new Set<Subscription>();
  private readonly connections = new Map<string, MasterConnection>();
  private slotMap: SlotMap;
  private confirmed = 0;
  private ticks = 0;
  private readonly tickTimer: NodeJS.Timeout;
  private reconcileTimer: NodeJS.Immediate | undefined;
  private refreshTimer: NodeJS.Timeout | undefined;
  private isClosed = false;
  private readonly lost: Counter;
  private readonly reconnects: Counter;

  constructor(
    private readonly connector: Connector,
    private readonly log: Logger,
    metrics: Metrics,
  ) {
    metrics.gauge(
      'longline_redis_subscriptions_desired',
      'Shard channels that this process subscribes to',
      () => this.desired.size,
    );
    metrics.gauge(
      'longline_redis_subscriptions_confirmed',
      'Shard channels whose subscription Redis has confirmed',
      () => this.confirmed,
    );
    this.lost = metrics.counter(
      'longline_redis_subscriptions_lost_total',
      'Confirmed subscriptions that were lost, each a possible gap',
    );
    this.reconnects = metrics.counter(
      'longline_redis_reconnects_total',
      'Times a subscriber connection became ready again',
    );
    this.slotMap = connector.slotMap;
    this.connectMasters();
    this.tickTimer = setInterval(() => this.tick(), TICK_MS);
  }

  /** Subscribes, and resubscribes after every loss. A repeated call changes nothing. */
  subscribe(channel: string, handler: ChannelHandler): void {
    const existing = this.desired.get(channel);
    if (existing !== undefined) {
      assert(existing.handler === handler, `channel ${channel} already has another handler`);
      return;
    }
    const subscription: Subscription = {
      channel,
      slot: keySlot(channel),
      handler,
      confirmedOn: undefined,
      pendingOn: undefined,
    };
    this.desired.set(channel, subscription);
    this.misplaced.add(subscription);
    this.scheduleReconcile();
  }

  /** Unsubscribes. The handler is not called any more, not even for `onLost`. */
  unsubscribe(channel: string): void {
    const subscription = this.desired.get(channel);
    if (subscription === undefined) return;
    this.desired.delete(channel);
    this.misplaced.delete(subscription);
    const { confirmedOn, pendingOn } = subscription;
    if (confirmedOn !== undefined) {
      this.confirmed--;
      this.scheduleUnsubscribe(channel, confirmedOn);
    }
    // Not after the reply: it must precede the SSUBSCRIBE of a later subscription to the channel.
    if (pendingOn !== undefined) this.scheduleUnsubscribe(channel, pendingOn);
  }

  isConfirmed(channel: string): boolean {
    return this.desired.get(channel)?.confirmedOn !== undefined;
  }

  /** Whether both channels are confirmed, on one connection: its messages are in one order. */
  areConfirmedTogether(a: string, b: string): boolean {
    const connection = this.desired.get(a)?.confirmedOn;
    return connection !== undefined && connection === this.desired.get(b)?.confirmedOn;
  }

  get confirmedCount(): number {
    return this.confirmed;
  }

  /** `host:port` of each master, sorted. */
  masters(): readonly string[] {
    return this.slotMap.masters;
  }

  /** The master of the channel's slot, according to the slot map. */
  masterOf(channel: string): string | undefined {
    return this.slotMap.masterOf(channel);
  }

  async close(): Promise<void> {
    this.isClosed = true;
    clearInterval(this.tickTimer);
    clearTimeout(this.refreshTimer);
    clearImmediate(this.reconcileTimer);
    this.desired.clear();
    this.misplaced.clear();
    this.confirmed = 0;
    await Promise.all(Array.from(this.connections.values(), ({ redis }) => closeClient(redis)));
  }

  private tick(): void {
    for (const connection of this.connections.values()) {
      connection.isSuspect = true;
      // Without a reply that is due, the socket timeout would not detect a dead peer.
      if (connection.redis.status === 'ready') connection.redis.ping().catch(() => {});
    }
    const isIncomplete = this.confirmed < this.desired.size;
    if (++this.ticks % TICKS_PER_REFRESH === 0 || isIncomplete) this.scheduleRefresh();
    this.scheduleReconcile();
  }

  private connectMasters(): void {
    for (const address of this.slotMap.masters) {
      if (!this.connections.has(address)) this.connections.set(address, this.connect(address));
    }
  }

  private connect(address: string): MasterConnection {
    const redis = this.connector.connect(address);
    const connection: MasterConnection = {
      address,
      redis,
      unsubscribes: [],
      isSuspect: false,
      rejection: undefined,
    };
    let wasReady = false;
    filterMessages(redis, (channel, payload) => {
      const subscription = this.desired.get(channel);
      if (subscription === undefined) return;
      // Until it is unsubscribed, a former master that has become a replica delivers as well.
      const { confirmedOn, pendingOn, handler } = subscription;
      const isFormer = confirmedOn !== undefined && confirmedOn !== connection;
      if (!isFormer || pendingOn === connection) handler.onMessage(channel, payload);
    });
    redis.on('ready', () => {
      if (wasReady) this.reconnects.inc();
      wasReady = true;
      this.scheduleReconcile();
    });
    redis.on('close', () => {
      connection.unsubscribes = [];
      this.detectLost(connection);
    });
    // ioredis emits `moved` for an unsolicited sunsubscribe and for a rejected SSUBSCRIBE.
    redis.on('moved', () => {
      connection.isSuspect = true;
      this.scheduleReconcile();
      this.scheduleRefresh(connection);
    });
    return connection;
  }

  /** Reconciles at the end of the turn, so that a thousand changes make one pipeline. */
  private scheduleReconcile(): void {
    if (this.isClosed) return;
    this.reconcileTimer ??= setImmediate(() => {
      this.reconcileTimer = undefined;
      this.reconcile();
    });
  }

  private reconcile(): void {
    for (const connection of this.connections.values()) {
      if (connection.isSuspect) this.detectLost(connection);
      this.sendUnsubscribes(connection);
    }
    const subscribes = new Map<MasterConnection, Subscription[]>();
    for (const subscription of this.misplaced) {
      const target = this.connections.get(this.slotMap.masterOfSlot(subscription.slot) ?? '');
      if (target?.redis.status !== 'ready' || subscription.pendingOn !== undefined) continue;
      subscription.pendingOn = target;
      const batch = subscribes.get(target);
      if (batch === undefined) subscribes.set(target, [subscription]);
      else batch.push(subscription);
    }
    for (const [target, batch] of subscribes) void this.sendSubscribes(target, batch);
  }

  /**
   * Never rejects: `exec` resolves with an error for each command in flight on a lost connection.
   */
  private async sendSubscribes(target: MasterConnection, batch: Subscription[]): Promise<void> {
    const commands = batch.map(({ channel }) => ['ssubscribe', channel]);
    const replies = (await target.redis.pipeline(commands).exec()) ?? [];
    const subscribed = subscribedOn(target.redis);
    batch.forEach((subscription, i) => {
      subscription.pendingOn = undefined;
      const error = replies[i]?.[0];
      if (error) this.logRejection(target, error.message);
      // Not if it was unsubscribed meanwhile, or dropped by Redis since the reply.
      else if (this.misplaced.has(subscription) && subscribed.has(subscription.channel)) {
        this.confirm(subscription, target);
      }
    });
  }

  private confirm(subscription: Subscription, target: MasterConnection): void {
    const { channel, handler, confirmedOn } = subscription;
    target.rejection = undefined;
    if (confirmedOn !== undefined) {
      // The former master may have lost the slot unnoticed, and with it messages for some time.
      this.markLost(subscription);
      this.scheduleUnsubscribe(channel, confirmedOn);
    }
    subscription.confirmedOn = target;
    this.misplaced.delete(subscription);
    this.confirmed++;
    handler.onConfirmed(channel);
  }

  private markLost(subscription: Subscription): void {
    subscription.confirmedOn = undefined;
    this.misplaced.add(subscription);
    this.confirmed--;
    this.lost.inc();
    subscription.handler.onLost(subscription.channel);
  }

  /** Finds the channels that Redis has dropped: all of them, if the connection is closed. */
  private detectLost(connection: MasterConnection): void {
    connection.isSuspect = false;
    const subscribed = subscribedOn(connection.redis);
    for (const subscription of this.desired.values()) {
      if (subscription.confirmedOn === connection && !subscribed.has(subscription.channel)) {
        this.markLost(subscription);
      }
    }
  }

  private scheduleUnsubscribe(channel: string, connection: MasterConnection): void {
    connection.unsubscribes.push(channel);
    this.scheduleReconcile();
  }

  private sendUnsubscribes({ unsubscribes, redis }: MasterConnection): void {
    if (unsubscribes.length === 0 || redis.status !== 'ready') return;
    // A rejection (MOVED) means that Redis has already dropped the channel.
    void redis.pipeline(unsubscribes.map((channel) => ['sunsubscribe', channel])).exec();
    unsubscribes.length = 0;
  }

  /** Logs a rejection once until a subscription succeeds. MOVED is normal and not logged. */
  private logRejection(connection: MasterConnection, reason: string): void {
    if (reason.startsWith('MOVED ') || connection.redis.status !== 'ready') return;
    if (connection.rejection === reason) return;
    connection.rejection = reason;
    this.log.warn({ redis: connection.address, reason }, 'Redis rejects a subscription');
  }

  /** @param preferred the connection that reported a move: its server knows the new master */
  private scheduleRefresh(preferred?: MasterConnection): void {
    if (this.connector.fetchSlotMap === null || this.isClosed) return;
    this.refreshTimer ??= setTimeout(() => {
      void this.refresh(preferred).finally(() => {
        this.refreshTimer = undefined;
      });
    }, REFRESH_DELAY_MS);
  }

  private async refresh(preferred?: MasterConnection): Promise<void> {
    try {
      const slotMap = await this.fetchSlotMap(preferred);
      // A node that has just been reset knows no masters.
      if (slotMap.masters.length > 0 && !this.isClosed) this.apply(slotMap);
    } catch (error) {
      // No server is available; the next tick tries again.
      this.log.debug({ reason: (error as Error).message }, 'no slot map');
    }
  }

  private fetchSlotMap(preferred?: MasterConnection): Promise<SlotMap> {
    const ready = [...this.connections.values()].filter(({ redis }) => redis.status === 'ready');
    const queried =
      preferred?.redis.status === 'ready' ? preferred : ready[this.ticks % ready.length];
    return this.connector.fetchSlotMap!(queried);
  }

  private apply(slotMap: SlotMap): void {
    this.slotMap = slotMap;
    this.connectMasters();
    const inUse = new Set<MasterConnection | undefined>();
    for (const subscription of this.desired.values()) {
      const { confirmedOn, slot } = subscription;
      inUse.add(confirmedOn);
      if (confirmedOn?.address !== slotMap.masterOfSlot(slot)) this.misplaced.add(subscription);
      else if (confirmedOn !== undefined) this.misplaced.delete(subscription);
    }
    for (const [address, connection] of this.connections) {
      // A former master keeps its connection until another master has confirmed its channels.
      if (slotMap.masters.includes(address) || inUse.has(connection)) continue;
      this.connections.delete(address);
      void closeClient(connection.redis);
    }
    this.scheduleReconcile();
  }
}

/**
 * The channels to which Redis has this connection subscribed, according to the `ssubscribe` and
 * `sunsubscribe` frames so far. ioredis keeps this list; its `moved` event does not name the
 * channel.
 */
function subscribedOn(redis: Redis): ReadonlySet<string> {
  const subscriber = redis.status === 'ready' && redis.condition?.subscriber;
  return new Set(subscriber ? subscriber.channels('ssubscribe') : []);
}
