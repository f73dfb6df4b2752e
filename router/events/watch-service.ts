/** `longline.v1.EventService` over gRPC. */
import { randomBytes } from 'node:crypto';
import type { ServerDuplexStream, ServerUnaryCall } from '@grpc/grpc-js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import { toServiceError } from '../../common/process/grpc/calls.js';
import type { GrpcConnections } from '../../common/process/grpc/connections.js';
import type { Metrics } from '../../common/process/metrics.js';
import type {
  DeadLetter,
  EventServiceServer,
  EventServiceWatchRequest,
  EventServiceWatchResponse,
  ListDeadLettersRequest,
  OpenWatch,
  ClientEvent as WireEvent,
} from '../../proto/gen/longline/v1/events.js';
import type { PushApi } from '../push/operations.js';
import { tooOld } from '../push/push-stream.js';
import { credentialsOf, end, toWire } from './calls.js';
import { parseFilter } from './event-filter.js';
import { isWebhookGroup, webhookGroup } from './group-names.js';
import { GroupReader, type ReaderLink } from './group-reader.js';
import type { DeliveredEvent } from './partition.js';
import type { PresenceService } from './presence/presence-service.js';
import { readDeadLetters } from './webhooks/dead-letters.js';

/** Maximum number of events that one watch has received and not acknowledged. */
const UNACKED_MAX = 1_000;
/** Maximum events in one message. */
const EVENTS_PER_MESSAGE = 500;
export const STALLED_MS = 60_000;
const CHECKS_PER_STALL = 12;
/** Interval of signs of life. */
const IDLE_MS = 15_000;
const WATCHES_MAX = 256;
const LETTERS_LISTED = 100;
const LETTERS_LISTED_MAX = 1_000;
const NAME = /^[A-Za-z0-9._-]{1,64}$/;

export interface WatchOptions {
  readonly api: PushApi;
  readonly presence: PresenceService;
  readonly link: ReaderLink;
  readonly names: ShardNames;
  /** Undefined: events are off. */
  readonly keepMs: number | undefined;
  readonly connections: Pick<GrpcConnections, 'onRetired'>;
  /**
   * A watch whose consumer does not acknowledge an event for this time ends, so that others get
   * it.
   */
  readonly stalledMs: number;
  readonly metrics: Metrics;
}

type WatchCall = ServerDuplexStream<EventServiceWatchRequest, EventServiceWatchResponse>;

export class WatchService {
  readonly #open = new Set<Watch>();
  readonly #sent;

  constructor(readonly options: WatchOptions) {
    const { metrics } = options;
    metrics.gauge(
      'longline_router_event_watches',
      'Watches of events by backends',
      () => this.#open.size,
    );
    metrics.gauge(
      'longline_router_events_unacknowledged',
      'Events that were sent to watches and are not acknowledged',
      () => [...this.#open].reduce((sum, { unacked }) => sum + unacked, 0),
    );
    this.#sent = metrics.counter(
      'longline_router_events_sent_total',
      'Events sent to watches, each time that they were sent',
    );
  }

  get implementation(): EventServiceServer {
    return {
      watch: (call) => this.#start(call),
      watchPresence: (call) => this.options.presence.start(call),
      listDeadLetters: async (call, callback) => {
        const letters = await this.#listDeadLetters(call);
        if ('code' in letters) callback(toServiceError(letters));
        else callback(null, { letters });
      },
    };
  }

  async #listDeadLetters(
    call: ServerUnaryCall<ListDeadLettersRequest, unknown>,
  ): Promise<DeadLetter[] | Rejection> {
    const { api, link } = this.options;
    const backend = api.authorize(credentialsOf(call), 'events');
    if ('code' in backend) return backend;
    const { webhook, limit } = call.request;
    if (limit > LETTERS_LISTED_MAX) {
      const message = `limit is ${limit}; the maximum is ${LETTERS_LISTED_MAX}`;
      return rejection('REQUEST_MALFORMED', message);
    }
    const read = await readDeadLetters(link, webhookGroup(webhook), limit || LETTERS_LISTED);
    return read.type === 'done' ? read.reply : rejection('REDIS_UNAVAILABLE', read.reason);
  }

  #start(call: WatchCall): void {
    const { api, connections } = this.options;
    // The caller has cancelled or disconnected.
    call.on('error', () => {});
    const backend = api.authorize(credentialsOf(call), 'events');
    if ('code' in backend) return end(call, backend);
    let watch: Watch | undefined;
    const forget = connections.onRetired(call.getPeer(), () => end(call, tooOld()));
    call.on('data', ({ request }: EventServiceWatchRequest) => {
      if (request?.$case === 'ack' && watch !== undefined) watch.ack(request.value.ids);
      else if (request?.$case === 'open' && watch === undefined) {
        const opened = this.#openWatch(call, request.value);
        if ('code' in opened) end(call, opened);
        else watch = opened;
      } else end(call, rejection('REQUEST_MALFORMED', 'expected one open request, then acks'));
    });
    call.on('end', () => call.end());
    call.on('close', () => {
      forget();
      if (watch === undefined) return;
      this.#open.delete(watch);
      void watch.close();
    });
  }

  /**
   * Leaves all groups, so that consumers of other routers get the events at once. Never rejects.
   */
  async close(): Promise<void> {
    this.options.presence.close();
    await Promise.all([...this.#open].map((watch) => watch.close()));
  }

  #openWatch(call: WatchCall, request: OpenWatch): Watch | Rejection {
    const { keepMs, link, names } = this.options;
    if (keepMs === undefined) {
      return rejection('EVENTS_DISABLED', 'events are off; set LONGLINE_EVENTS');
    }
    if (this.#open.size >= WATCHES_MAX) {
      return rejection('OVERLOADED', `${WATCHES_MAX} watches are open on this router`);
    }
    const { group, consumer = '' } = request;
    const named = { group, ...(consumer !== '' && { consumer }) };
    for (const [field, value] of Object.entries(named)) {
      if (!NAME.test(value)) {
        const message = `${field} must be 1 to 64 of A-Z a-z 0-9 . _ -`;
        return rejection('REQUEST_MALFORMED', message);
      }
    }
    if (isWebhookGroup(group)) {
      return rejection('REQUEST_MALFORMED', `${group} is the group of a webhook`);
    }
    const start = parseStart(request.start);
    if (start === undefined) {
      const message = `start is ${JSON.stringify(request.start.slice(0, 80))}; expected now, oldest, or a Unix time in ms`;
      return rejection('REQUEST_MALFORMED', message);
    }
    const isSelected = parseFilter(request);
    if ('code' in isSelected) return isSelected;
    const watch = new Watch(call, this.options.stalledMs, (count) => this.#sent.inc(count), {
      link,
      names,
      keepMs,
      group,
      consumer: consumer || `watch-${randomBytes(6).toString('hex')}`,
      start,
      isSelected,
    });
    this.#open.add(watch);
    return watch;
  }
}

type ReaderOptions = ConstructorParameters<typeof GroupReader>[0];

/** One watch, from its first request until its end. */
class Watch {
  readonly #reader: GroupReader;
  readonly #checkTimer: NodeJS.Timeout;
  #sentAtMs = performance.now();

  constructor(
    readonly call: WatchCall,
    readonly stalledMs: number,
    readonly onSent: (count: number) => void,
    options: Omit<ReaderOptions, 'unackedMax' | 'onEvents' | 'onLost' | 'onEnd'>,
  ) {
    this.#reader = new GroupReader({
      ...options,
      unackedMax: UNACKED_MAX,
      onEvents: (_partition, events) => this.#send(events),
      // The events in flight go to another consumer, too.
      onLost: () => {},
      onEnd: (reason) => end(call, reason === 'full' ? groupsFull() : replaced(options)),
    });
    const check = () => this.#check(performance.now());
    this.#checkTimer = setInterval(check, stalledMs / CHECKS_PER_STALL);
  }

  get unacked(): number {
    return this.#reader.unacked;
  }

  ack(ids: readonly string[]): void {
    this.#reader.ack(ids);
  }

  close(): Promise<void> {
    clearInterval(this.#checkTimer);
    return this.#reader.close();
  }

  #check(nowMs: number): void {
    if (nowMs - this.#reader.oldestAtMs > this.stalledMs) {
      const message = `an event was not acknowledged for ${this.stalledMs} ms; watch again`;
      return end(this.call, rejection('CONSUMER_STALLED', message));
    }
    if (nowMs - this.#sentAtMs >= IDLE_MS) this.#write([]);
  }

  #send(events: readonly DeliveredEvent[]): void {
    for (let i = 0; i < events.length; i += EVENTS_PER_MESSAGE) {
      this.#write(events.slice(i, i + EVENTS_PER_MESSAGE).map(toWire));
    }
    this.onSent(events.length);
  }

  /** Bounded for a caller that does not read: by the events that it has not acknowledged. */
  #write(events: WireEvent[]): void {
    this.#sentAtMs = performance.now();
    if (!this.call.cancelled && !this.call.writableEnded) this.call.write({ events });
  }
}

/** An id for Redis, or `now`; undefined for text that is none. */
function parseStart(text: string): string | undefined {
  if (text === '' || text === 'now') return 'now';
  if (text === 'oldest') return '0-0';
  return /^\d{1,15}$/.test(text) ? `${text}-0` : undefined;
}

function groupsFull(): Rejection {
  return rejection(
    'EVENT_GROUPS_FULL',
    'the cluster has 32 groups of event consumers, the maximum',
  );
}

function replaced({ group, consumer }: Pick<ReaderOptions, 'group' | 'consumer'>): Rejection {
  return rejection('CONSUMER_REPLACED', `${consumer} of ${group} watches through another stream`);
}
