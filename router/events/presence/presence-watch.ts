/**
 * What one caller of `WatchPresence` watches: the names of which the state was given, and from
 * which event on each changes. Pure.
 */
import type { EventPosition } from '../../../common/cluster/events/event-reads.js';
import type { NameState } from '../../../common/cluster/events/presence-reads.js';
import { isIdBefore } from '../../../common/cluster/inbox.js';
import { userOf } from '../../../common/wire/client-id.js';
import type { DeliveredEvent } from '../partition.js';

/** Maximum names of one watch, given or members of the group. */
export const NAMES_MAX = 1_000;
export const MEMBERS_MAX = 10_000;

/** Events of a shard, with the part of their id that is unique in it. */
export type ShardEvent = DeliveredEvent & { readonly streamId: string };

export interface Changes {
  readonly events: readonly DeliveredEvent[];
  /** Members that have joined the group: their state is to be read. */
  readonly joined: readonly string[];
}

const CLIENT_TYPES = ['client.connected', 'client.moved', 'client.disconnected'];

interface Watched {
  /** The name is watched from this event on, by its id. */
  readonly sinceId: string;
  /** The newest event that its state contains; undefined: its state was not read yet. */
  readonly stateId: string | undefined;
}

export class PresenceWatch {
  readonly #names = new Map<string, Watched>();

  /** @param group '': the names are given */
  constructor(readonly group: string) {}

  get nameCount(): number {
    return this.#names.size;
  }

  /** The states of names were read at a position of their shard. */
  onStates(states: readonly NameState[], { id }: EventPosition): void {
    for (const { name } of states) this.#names.set(name, { sinceId: id, stateId: id });
  }

  /**
   * The same for members that have joined. Returns the states of those that have not left
   * meanwhile.
   */
  onJoinedStates(states: readonly NameState[], { id }: EventPosition): NameState[] {
    const stay = states.filter(({ name }) => this.#names.has(name));
    for (const { name } of stay) {
      this.#names.set(name, { ...this.#names.get(name)!, stateId: id });
    }
    return stay;
  }

  /** Events of a shard were lost: its names are read again. */
  forget(isOfShard: (name: string) => boolean): void {
    for (const name of [...this.#names.keys()].filter(isOfShard)) this.#names.delete(name);
  }

  onEvents(events: readonly ShardEvent[]): Changes {
    const changes: DeliveredEvent[] = [];
    const joined: string[] = [];
    for (const event of events) {
      const { type, clientId } = event;
      if (CLIENT_TYPES.includes(type)) {
        if (this.#isNew(clientId, event) || this.#isNew(userOf(clientId), event)) {
          changes.push(event);
        }
      } else if (this.group !== '' && event.fields.get('g') === this.group) {
        if (this.#changeMember(event, joined)) changes.push(event);
      }
    }
    return { events: changes, joined };
  }

  /** Returns whether the event changes the members. */
  #changeMember({ type, clientId, streamId }: ShardEvent, joined: string[]): boolean {
    const known = this.#names.get(clientId);
    if (type === 'group.joined' && known === undefined) {
      this.#names.set(clientId, { sinceId: streamId, stateId: undefined });
      joined.push(clientId);
      return true;
    }
    if (type !== 'group.left' || known === undefined) return false;
    return isIdBefore(known.sinceId, streamId) && this.#names.delete(clientId);
  }

  #isNew(name: string, { streamId }: ShardEvent): boolean {
    const stateId = this.#names.get(name)?.stateId;
    return stateId !== undefined && isIdBefore(stateId, streamId);
  }
}
