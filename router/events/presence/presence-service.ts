/** `EventService.WatchPresence` over gRPC. */
import type { ServerWritableStream } from '@grpc/grpc-js';
import type { EventSubject } from '../../../common/cluster/events/event-stream.js';
import { type Rejection, rejection } from '../../../common/process/errors.js';
import type { GrpcConnections } from '../../../common/process/grpc/connections.js';
import type { Metrics } from '../../../common/process/metrics.js';
import { rejectClientId } from '../../../common/wire/client-id.js';
import { rejectGroup } from '../../../common/wire/group-name.js';
import type {
  WatchPresenceRequest,
  WatchPresenceResponse,
} from '../../../proto/gen/longline/v1/events.js';
import type { PushApi } from '../../push/operations.js';
import { tooOld } from '../../push/push-stream.js';
import { credentialsOf, end, toWire } from '../calls.js';
import { type PresenceCaller, PresenceFeed, type PresenceFeedOptions } from './presence-feed.js';
import { MEMBERS_MAX, NAMES_MAX, PresenceWatch } from './presence-watch.js';

const WATCHES_MAX = 256;
/** Maximum states and changes in one message. */
const PER_MESSAGE = 500;
/** Maximum messages that wait for a caller that does not read. */
const PENDING_MAX = 256;
/** Interval of signs of life. */
const IDLE_MS = 15_000;

export type PresenceCall = ServerWritableStream<WatchPresenceRequest, WatchPresenceResponse>;

export interface PresenceServiceOptions extends Omit<PresenceFeedOptions, 'keepMs'> {
  readonly api: PushApi;
  readonly subjects: readonly EventSubject[];
  readonly keepMs: number;
  readonly connections: Pick<GrpcConnections, 'onRetired'>;
  readonly metrics: Metrics;
}

export class PresenceService {
  readonly #feed: PresenceFeed;

  constructor(readonly options: PresenceServiceOptions) {
    this.#feed = new PresenceFeed(options);
    options.metrics.gauge(
      'longline_router_presence_watches',
      'Watches of presence by backends',
      () => this.#feed.watchCount,
    );
  }

  close(): void {
    this.#feed.close();
  }

  start(call: PresenceCall): void {
    const { api, connections } = this.options;
    // The caller has cancelled or disconnected.
    call.on('error', () => {});
    const backend = api.authorize(credentialsOf(call), 'events');
    const rejected = 'code' in backend ? backend : this.#reject(call.request);
    if (rejected !== undefined) return end(call, rejected);
    const forget = connections.onRetired(call.getPeer(), () => end(call, tooOld()));
    const caller = new Caller(call);
    call.on('close', () => {
      forget();
      caller.close();
      this.#feed.remove(caller);
    });
    this.#feed.add(caller, [...new Set(call.request.names)]);
  }

  #reject({ names, group }: WatchPresenceRequest): Rejection | undefined {
    const needed: EventSubject[] = group === '' ? ['clients'] : ['clients', 'groups'];
    if (needed.some((subject) => !this.options.subjects.includes(subject))) {
      const message = `the watch needs other events; set LONGLINE_EVENTS=${needed.join(',')}`;
      return rejection('EVENTS_DISABLED', message);
    }
    if ((names.length === 0) === (group === '')) {
      return rejection('REQUEST_MALFORMED', 'set either names or group');
    }
    if (names.length > NAMES_MAX) {
      const message = `names has ${names.length}; the maximum is ${NAMES_MAX}`;
      return rejection('REQUEST_MALFORMED', message);
    }
    if (this.#feed.watchCount >= WATCHES_MAX) {
      return rejection('OVERLOADED', `${WATCHES_MAX} presence watches are open on this router`);
    }
    if (group !== '') return rejectGroup(group);
    return names.map(rejectClientId).find((rejected) => rejected !== undefined);
  }
}

class Caller implements PresenceCaller {
  readonly watch: PresenceWatch;
  readonly #timer: NodeJS.Timeout;
  #sentAtMs = performance.now();

  constructor(readonly call: PresenceCall) {
    this.watch = new PresenceWatch(call.request.group);
    this.#timer = setInterval(() => {
      if (performance.now() - this.#sentAtMs >= IDLE_MS) this.#write({});
    }, IDLE_MS);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  onStates(states: Parameters<PresenceCaller['onStates']>[0]): void {
    if (this.watch.nameCount > MEMBERS_MAX) {
      const message = `the group has more than ${MEMBERS_MAX} members, the maximum of a watch`;
      return end(this.call, rejection('GROUP_TOO_LARGE', message));
    }
    for (let i = 0; i < states.length; i += PER_MESSAGE) {
      const some = states.slice(i, i + PER_MESSAGE);
      this.#write({ states: some.map(({ name, clients }) => ({ name, clients: [...clients] })) });
    }
  }

  onChanges(events: Parameters<PresenceCaller['onChanges']>[0]): void {
    this.#write({ changes: events.map(toWire) });
  }

  onComplete(): void {
    this.#write({ isComplete: true });
  }

  #write({ states = [], changes = [], isComplete = false }: Partial<WatchPresenceResponse>): void {
    this.#sentAtMs = performance.now();
    if (this.call.cancelled || this.call.writableEnded) return;
    if (this.call.writableLength >= PENDING_MAX) {
      const message = `${PENDING_MAX} messages wait to be read; watch again`;
      return end(this.call, rejection('CONSUMER_STALLED', message));
    }
    this.call.write({ states, changes, isComplete });
  }
}
