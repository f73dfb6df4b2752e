/**
 * Publishes which connections this edge has accepted, on the channels of their shards.
 * Announcements are collected and published once per turn of the event loop, in one envelope per
 * shard. The same command notes the devices of users, which is how routers know the devices of a
 * user, and writes the events of connections.
 */
import {
  announceWithEvents,
  type ConnectedClient,
} from '../../common/cluster/events/client-events.js';
import type { EventBounds } from '../../common/cluster/events/event-stream.js';
import { noteDevices, type UserDevice } from '../../common/cluster/presence/user-devices.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import { atTurnEnd } from '../../common/process/time/turn-end.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import type { ScriptLink } from '../../common/redis/script.js';
import type { Connection } from '../../common/transport/transport.js';
import { deviceOf, userOf } from '../../common/wire/client-id.js';
import { sealAnnounce } from '../../common/wire/protobuf/announce-envelope.js';
import type { AnnounceBody, Announcement } from '../../proto/gen/longline/v1/envelope.js';

/** Keeps one envelope well below a megabyte. */
const ANNOUNCEMENTS_PER_ENVELOPE_MAX = 1_000;

/** For the events of connections. */
export interface AnnouncedEvents {
  readonly bounds: EventBounds;
  describe(connection: Connection): { readonly protocol: string; readonly labels: string };
  /**
   * Another connection of the client is entered, which may be older, or Redis has not replied:
   * announce this one again later.
   */
  onNotEntered(connection: Connection, clientId: string): void;
}

interface AnnouncementsOptions {
  readonly link: ScriptLink & Pick<RedisLink, 'publish'>;
  readonly edgeId: string;
  readonly edgeIncarnation: string;
  readonly names: ShardNames;
  /** Seconds for which a device counts as one of its user after it was connected. */
  readonly keepDevicesS: number;
  /** Undefined: no events of connections are written. */
  readonly events: AnnouncedEvents | undefined;
}

/** To be published of one shard at the end of this turn. */
interface Pending {
  readonly announcements: Announcement[];
  readonly devices: UserDevice[];
  /** The announced clients, for their events. */
  readonly clients: ConnectedClient[];
}

const NOTHING: Pending = { announcements: [], devices: [], clients: [] };
/** An announcement that says nothing, but for the edge that sends it. */
export const NOTHING_TOLD = {
  announcements: [],
  hasClients: false,
  left: false,
  otherEdges: [],
  connectionsEnded: false,
};

export class Announcements {
  readonly #pending = new Map<number, Pending>();

  constructor(readonly options: AnnouncementsOptions) {}

  add(shard: number, announcement: Announcement): void {
    const pending = this.#pendingOf(shard);
    pending.announcements.push(announcement);
    const { events } = this.options;
    if (events !== undefined) {
      pending.clients.push({ ...announcement, ...events.describe(announcement.connection) });
    }
    addDevice(pending, announcement.clientId);
  }

  /** Notes again that a device is connected, without an announcement. */
  note(shard: number, clientId: string): void {
    addDevice(this.#pendingOf(shard), clientId);
  }

  /**
   * Publishes an empty envelope: this edge receives it back, and other edges with clients answer.
   */
  probe(shard: number): void {
    this.#publish(shard, NOTHING);
  }

  /** Tells the owner of the shard that this edge has clients of it. */
  tellHasClients(shard: number): void {
    this.#publish(shard, NOTHING, { ...NOTHING_TOLD, hasClients: true });
  }

  /**
   * Tells the owner of the shard that this edge has no client of it any more.
   * @param otherEdges incarnations of those that may have some
   */
  tellLeft(shard: number, otherEdges: string[]): void {
    this.#publish(shard, NOTHING, { ...NOTHING_TOLD, left: true, otherEdges });
  }

  isOwn(edgeIncarnation: string): boolean {
    return edgeIncarnation === this.options.edgeIncarnation;
  }

  #pendingOf(shard: number): Pending {
    if (this.#pending.size === 0) atTurnEnd(() => this.#flush());
    let pending = this.#pending.get(shard);
    if (pending === undefined) {
      pending = { announcements: [], devices: [], clients: [] };
      this.#pending.set(shard, pending);
    }
    return pending;
  }

  #flush(): void {
    for (const [shard, { announcements, devices, clients }] of this.#pending) {
      do {
        this.#publish(shard, {
          announcements: announcements.splice(0, ANNOUNCEMENTS_PER_ENVELOPE_MAX),
          devices: devices.splice(0, ANNOUNCEMENTS_PER_ENVELOPE_MAX),
          clients: clients.splice(0, ANNOUNCEMENTS_PER_ENVELOPE_MAX),
        });
      } while (announcements.length + devices.length > 0);
    }
    this.#pending.clear();
  }

  #publish(
    shard: number,
    { announcements, devices, clients }: Pending,
    told: Omit<AnnounceBody, 'edgeIncarnation'> = NOTHING_TOLD,
  ): void {
    const { link, edgeId, edgeIncarnation, names, keepDevicesS, events } = this.options;
    const channel = names.channelOf(shard);
    const bytes = sealAnnounce({ ...told, edgeIncarnation, announcements });
    // Only the envelope's return over the channel proves that it arrived, and only a reply that its
    // connections are entered: an envelope may return of a Redis that dies before it has replied.
    if (events !== undefined && clients.length > 0) {
      const edge = { edgeId, incarnation: edgeIncarnation };
      const noted = { devices, keepS: keepDevicesS };
      void announceWithEvents(link, channel, edge, clients, noted, bytes, events.bounds).then(
        (outcome) => {
          const notEntered = outcome.type === 'done' ? outcome.reply : clients;
          for (const { connection, clientId } of notEntered) {
            events.onNotEntered(connection, clientId);
          }
        },
      );
    } else if (devices.length === 0) void link.publish(channel, bytes);
    else void noteDevices(link, channel, devices, keepDevicesS, bytes);
  }
}

function addDevice({ devices }: Pending, clientId: string): void {
  const device = deviceOf(clientId);
  if (device !== undefined) devices.push({ user: userOf(clientId), device });
}
