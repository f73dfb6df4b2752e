/** A consumer of events: one stream of `EventService.Watch`. */
import { type ClientDuplexStream, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import {
  type ClientEvent,
  EventServiceClient,
  type EventServiceWatchRequest,
  type EventServiceWatchResponse,
  OpenWatch,
} from '../../../proto/gen/longline/v1/events.js';

export interface WatchSettings extends Partial<OpenWatch> {
  readonly group: string;
  /** Acknowledges each event at once. Default: true. */
  readonly acks?: boolean;
  readonly token?: string;
}

export class EventWatch {
  readonly events: ClientEvent[] = [];
  /** Resolves with the error with which the stream has ended. */
  readonly ended: Promise<ServiceError>;
  readonly #client: EventServiceClient;
  readonly #stream: ClientDuplexStream<EventServiceWatchRequest, EventServiceWatchResponse>;

  /** @param address `host:port` of the gRPC port of a router */
  constructor(address: string, { acks = true, token = '', ...open }: WatchSettings) {
    this.#client = new EventServiceClient(address, credentials.createInsecure());
    const metadata = new Metadata();
    if (token !== '') metadata.set('authorization', `Bearer ${token}`);
    this.#stream = this.#client.watch(metadata);
    this.#stream.on('data', ({ events }: EventServiceWatchResponse) => {
      this.events.push(...events);
      if (acks && events.length > 0) this.ack(events);
    });
    this.ended = new Promise((resolve) => {
      this.#stream.on('error', (error: ServiceError) => resolve(error));
    });
    this.#stream.write({ request: { $case: 'open', value: OpenWatch.fromPartial(open) } });
  }

  ack(events: readonly Pick<ClientEvent, 'id'>[]): void {
    const ids = events.map(({ id }) => id);
    this.#stream.write({ request: { $case: 'ack', value: { ids } } });
  }

  /** Events of one client, as `type` or `type reason`. */
  of(clientId: string): string[] {
    return this.events
      .filter((event) => event.clientId === clientId)
      .map(({ type, reason }) => `${type} ${reason}`.trim());
  }

  close(): void {
    this.#stream.cancel();
    this.#client.close();
  }
}
