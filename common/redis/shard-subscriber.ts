/**
 * Sharded subscriptions that are proven, not hoped for. One plain connection per master carries
 * one SSUBSCRIBE per channel; a standalone Redis is a cluster with one master.
 *
 * The hard thing: a subscription ends without anyone's doing. Redis drops it when its slot moves
 * or its master is demoted (an unsolicited `sunsubscribe`), and with the connection. So this keeps
 * what is wanted apart from what Redis confirmed, and a reconciler closes the difference: in the
 * turn of a change, when a connection becomes ready, after a refreshed slot map, and once a
 * second whatever happened. The slot map is only a hint about where to ask, because a freshly
 * asked node may not have heard of a move: a channel stays where it is confirmed until another
 * master confirms it or Redis takes it away.
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
import type { SlotMap } from './slot-map.js';

export interface ChannelHandler {
  /** `payload` is a slice of what was read from the socket, not a copy. */
  onMessage(channel: string, payload: Buffer): void;
  /** Redis confirmed the subscription: from now on messages flow. */
  onConfirmed(channel: string): void;
  /** The subscription was confirmed and is not any more: messages may be missed until onConfirmed. */
  onLost(channel: string): void;
}

/** How the subscriber reaches Redis. */
export interface Reach {
  readonly slotMap: SlotMap;
  /** Opens a connection that reconnects for ever. */
  connect(address: string): Redis;
  /**
   * Asks for a newer map; null on a standalone Redis, which has one for ever.
   * @param ready a connection of ours that can be asked, if there is one
   */
  readonly askSlotMap:
    | ((ready: { readonly redis: Redis; readonly address: string } | undefined) => Promise<SlotMap>)
    | null;
}

interface Subscription {
  readonly channel: string;
  readonly slot: number;
  readonly handler: ChannelHandler;
  /** The connection on which Redis confirmed it. */
  heldOn: MasterConnection | undefined;
  /** The connection on which an SSUBSCRIBE awaits its answer. */
  joiningOn: MasterConnection | undefined;
}

interface MasterConnection {
  readonly address: string;
  readonly redis: Redis;
  /** Channels to SUNSUBSCRIBE at the end of this turn. */
  leaving: string[];
  /** Redis may have taken channels away; found out at the end of this turn. */
  isSuspect: boolean;
  /** The last logged rejection, so that each is logged once. */
  rejection: string | undefined;
}

const TICK_MS = 1_000;
/** A map that nothing casts doubt on is asked for again every so many ticks. */
const TICKS_PER_REFRESH = 3;
/** Bounds what a cluster costs whose nodes redirect to each other. */
const REFRESH_GAP_MS = 200;

export class ShardSubscriber {
  private readonly desired = new Map<string, Subscription>();
  /** Those of `desired` that are not known to be held on the master of their slot. */
  private readonly unsettled = new Set<Subscription>();
  private readonly connections = new Map<string, MasterConnection>();
  private slotMap: SlotMap;
  private confirmed = 0;
  private ticks = 0;
  private readonly ticking: NodeJS.Timeout;
  private turn: NodeJS.Immediate | undefined;
  private refreshing: NodeJS.Timeout | undefined;
  private isClosed = false;
  private readonly lost: Counter;
  private readonly reconnects: Counter;

  constructor(
    private readonly reach: Reach,
    private readonly log: Logger,
    metrics: Metrics,
  ) {
    metrics.gauge(
      'longline_redis_subscriptions_desired',
      'Shard channels that this process wants to hear',
      () => this.desired.size,
    );
    metrics.gauge(
      'longline_redis_subscriptions_confirmed',
      'Shard channels that Redis confirmed',
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
    this.slotMap = reach.slotMap;
    this.connectMasters();
    this.ticking = setInterval(() => this.tick(), TICK_MS);
  }

  /** Subscribes, and keeps subscribed. A repeated call changes nothing. */
  want(channel: string, handler: ChannelHandler): void {
    const wanted = this.desired.get(channel);
    if (wanted !== undefined) {
      assert(wanted.handler === handler, `channel ${channel} already has another handler`);
      return;
    }
    const subscription: Subscription = {
      channel,
      slot: keySlot(channel),
      handler,
      heldOn: undefined,
      joiningOn: undefined,
    };
    this.desired.set(channel, subscription);
    this.unsettled.add(subscription);
    this.reconcileSoon();
  }

  /** Unsubscribes. The handler hears nothing any more, not even `onLost`. */
  unwant(channel: string): void {
    const subscription = this.desired.get(channel);
    if (subscription === undefined) return;
    this.desired.delete(channel);
    this.unsettled.delete(subscription);
    const { heldOn, joiningOn } = subscription;
    if (heldOn !== undefined) {
      this.confirmed--;
      this.leave(channel, heldOn);
    }
    // Sent now and not after the answer: it must precede the SSUBSCRIBE of whoever wants it next.
    if (joiningOn !== undefined) this.leave(channel, joiningOn);
  }

  isConfirmed(channel: string): boolean {
    return this.desired.get(channel)?.heldOn !== undefined;
  }

  get confirmedCount(): number {
    return this.confirmed;
  }

  /** `host:port` of each master, sorted. */
  masters(): readonly string[] {
    return this.slotMap.masters;
  }

  /** The master of the channel's slot, as far as the slot map knows. */
  masterOf(channel: string): string | undefined {
    return this.slotMap.masterOf(channel);
  }

  async close(): Promise<void> {
    this.isClosed = true;
    clearInterval(this.ticking);
    clearTimeout(this.refreshing);
    clearImmediate(this.turn);
    this.desired.clear();
    this.unsettled.clear();
    this.confirmed = 0;
    await Promise.all(Array.from(this.connections.values(), ({ redis }) => closeClient(redis)));
  }

  private tick(): void {
    for (const connection of this.connections.values()) {
      connection.isSuspect = true;
      // Something to answer, so that the socket timeout notices a dead peer.
      if (connection.redis.status === 'ready') connection.redis.ping().catch(() => {});
    }
    const isDoubtful = this.confirmed < this.desired.size;
    if (++this.ticks % TICKS_PER_REFRESH === 0 || isDoubtful) this.refreshSoon();
    this.reconcileSoon();
  }

  private connectMasters(): void {
    for (const address of this.slotMap.masters) {
      if (!this.connections.has(address)) this.connections.set(address, this.connect(address));
    }
  }

  private connect(address: string): MasterConnection {
    const redis = this.reach.connect(address);
    const connection: MasterConnection = {
      address,
      redis,
      leaving: [],
      isSuspect: false,
      rejection: undefined,
    };
    let wasReady = false;
    redis.on('smessageBuffer', (channel: Buffer, payload: Buffer) => {
      const name = channel.toString();
      this.desired.get(name)?.handler.onMessage(name, payload);
    });
    redis.on('ready', () => {
      if (wasReady) this.reconnects.inc();
      wasReady = true;
      this.reconcileSoon();
    });
    redis.on('close', () => {
      connection.leaving = [];
      this.dropLost(connection);
    });
    // ioredis says `moved` for an unsolicited sunsubscribe and for a rejected SSUBSCRIBE.
    redis.on('moved', () => {
      connection.isSuspect = true;
      this.reconcileSoon();
      this.refreshSoon(connection);
    });
    return connection;
  }

  /** At the end of the turn, so that a thousand changes make one pipeline. */
  private reconcileSoon(): void {
    if (this.isClosed) return;
    this.turn ??= setImmediate(() => {
      this.turn = undefined;
      this.reconcile();
    });
  }

  private reconcile(): void {
    for (const connection of this.connections.values()) {
      if (connection.isSuspect) this.dropLost(connection);
      this.sendLeaves(connection);
    }
    const joins = new Map<MasterConnection, Subscription[]>();
    for (const subscription of this.unsettled) {
      const target = this.connections.get(this.slotMap.masterOfSlot(subscription.slot) ?? '');
      if (target?.redis.status !== 'ready' || subscription.joiningOn !== undefined) continue;
      subscription.joiningOn = target;
      const joining = joins.get(target);
      if (joining === undefined) joins.set(target, [subscription]);
      else joining.push(subscription);
    }
    for (const [target, subscriptions] of joins) void this.join(target, subscriptions);
  }

  /** Never rejects: `exec` resolves with an error for each command that a lost connection took. */
  private async join(target: MasterConnection, subscriptions: Subscription[]): Promise<void> {
    const commands = subscriptions.map(({ channel }) => ['ssubscribe', channel]);
    const replies = (await target.redis.pipeline(commands).exec()) ?? [];
    const subscribed = subscribedOn(target.redis);
    subscriptions.forEach((subscription, i) => {
      subscription.joiningOn = undefined;
      const error = replies[i]?.[0];
      if (error) this.noteRejection(target, error.message);
      // Neither unwanted meanwhile, nor taken back between the answer and now.
      else if (this.unsettled.has(subscription) && subscribed.has(subscription.channel)) {
        this.confirm(subscription, target);
      }
    });
  }

  private confirm(subscription: Subscription, target: MasterConnection): void {
    const { channel, handler, heldOn } = subscription;
    target.rejection = undefined;
    if (heldOn !== undefined) {
      // A master that lost the slot unnoticed may have swallowed messages for some time.
      this.lose(subscription);
      this.leave(channel, heldOn);
    }
    subscription.heldOn = target;
    this.unsettled.delete(subscription);
    this.confirmed++;
    handler.onConfirmed(channel);
  }

  private lose(subscription: Subscription): void {
    subscription.heldOn = undefined;
    this.unsettled.add(subscription);
    this.confirmed--;
    this.lost.inc();
    subscription.handler.onLost(subscription.channel);
  }

  /** Finds out what Redis has taken away; with the connection gone, that is everything. */
  private dropLost(connection: MasterConnection): void {
    connection.isSuspect = false;
    const subscribed = subscribedOn(connection.redis);
    for (const subscription of this.desired.values()) {
      if (subscription.heldOn === connection && !subscribed.has(subscription.channel)) {
        this.lose(subscription);
      }
    }
  }

  private leave(channel: string, connection: MasterConnection): void {
    connection.leaving.push(channel);
    this.reconcileSoon();
  }

  private sendLeaves({ leaving, redis }: MasterConnection): void {
    if (leaving.length === 0 || redis.status !== 'ready') return;
    // A rejection (MOVED) means that Redis has dropped the channel itself.
    void redis.pipeline(leaving.map((channel) => ['sunsubscribe', channel])).exec();
    leaving.length = 0;
  }

  /** A moved slot is everyday business; any other rejection is logged once, until one succeeds. */
  private noteRejection(connection: MasterConnection, reason: string): void {
    if (reason.startsWith('MOVED ') || connection.redis.status !== 'ready') return;
    if (connection.rejection === reason) return;
    connection.rejection = reason;
    this.log.warn({ redis: connection.address, reason }, 'Redis rejects a subscription');
  }

  /** @param informant whoever spoke of a move knows where to */
  private refreshSoon(informant?: MasterConnection): void {
    if (this.reach.askSlotMap === null || this.isClosed) return;
    this.refreshing ??= setTimeout(() => {
      void this.refresh(informant).finally(() => {
        this.refreshing = undefined;
      });
    }, REFRESH_GAP_MS);
  }

  private async refresh(informant?: MasterConnection): Promise<void> {
    try {
      const slotMap = await this.askSlotMap(informant);
      // A node that has just been reset knows no master at all.
      if (slotMap.masters.length > 0 && !this.isClosed) this.adopt(slotMap);
    } catch (error) {
      // Nobody can be asked at the moment; the next tick asks again.
      this.log.debug({ reason: (error as Error).message }, 'no slot map');
    }
  }

  private askSlotMap(informant?: MasterConnection): Promise<SlotMap> {
    const ready = [...this.connections.values()].filter(({ redis }) => redis.status === 'ready');
    const asked =
      informant?.redis.status === 'ready' ? informant : ready[this.ticks % ready.length];
    return this.reach.askSlotMap!(asked);
  }

  private adopt(slotMap: SlotMap): void {
    this.slotMap = slotMap;
    this.connectMasters();
    const inUse = new Set<MasterConnection | undefined>();
    for (const subscription of this.desired.values()) {
      const { heldOn, slot } = subscription;
      inUse.add(heldOn);
      if (heldOn?.address !== slotMap.masterOfSlot(slot)) this.unsettled.add(subscription);
      else if (heldOn !== undefined) this.unsettled.delete(subscription);
    }
    for (const [address, connection] of this.connections) {
      // A former master keeps its connection until its channels are confirmed elsewhere.
      if (slotMap.masters.includes(address) || inUse.has(connection)) continue;
      this.connections.delete(address);
      void closeClient(connection.redis);
    }
    this.reconcileSoon();
  }
}

/**
 * The channels that Redis lists for this connection, by every `ssubscribe` and `sunsubscribe` frame
 * so far. ioredis keeps it; its `moved` event does not say which channel was taken away.
 */
function subscribedOn(redis: Redis): ReadonlySet<string> {
  const subscriber = redis.status === 'ready' && redis.condition?.subscriber;
  return new Set(subscriber ? subscriber.channels('ssubscribe') : []);
}
