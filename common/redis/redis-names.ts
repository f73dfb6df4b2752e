/**
 * The names of all keys and channels in Redis. Every name starts with the prefix of the cluster, if
 * it has one, so that several clusters can share a Redis: with the prefix `prod`, the channel
 * `ll:{0}` is `prod:ll:{0}`. A prefix has no braces, so the tag alone determines the slot.
 */

export class RedisNames {
  readonly #start: string;
  /** Hash: settings that all processes of the cluster share. */
  readonly settings: string;
  /** Hash: the assignment. */
  readonly assignment: string;
  /** String: the lock of the leading control. */
  readonly leader: string;
  /** Hash: the clients and users that may not connect. */
  readonly blocks: string;
  /** Hash: the controls that run. */
  readonly controls: string;
  /** Stream: reports of the processes about their clocks. */
  readonly clocks: string;
  /** String: the floor of new ids. */
  readonly idFloor: string;

  /** @param prefix '' for none */
  constructor(readonly prefix: string) {
    this.#start = prefix === '' ? '' : `${prefix}:`;
    this.settings = `${this.#start}ll:settings`;
    this.assignment = `${this.#start}ll:assignment`;
    this.leader = `${this.#start}ll:leader`;
    this.controls = `${this.#start}ll:controls`;
    this.clocks = `${this.#start}ll:clocks`;
    this.idFloor = `${this.#start}ll:id-floor`;
    this.blocks = `${this.#start}ll:blocks`;
  }

  /**
   * The channel to which the edges of a shard are subscribed. The keys of the shard start with it.
   */
  shardChannel(tag: string): string {
    return `${this.#start}ll:{${tag}}`;
  }

  /** A channel to which one process is subscribed, for replies and probes to it. */
  privateChannel(tag: string, processId: string): string {
    return `${this.#start}lr:{${tag}}:${processId}`;
  }

  /** Sorted set: the groups of event consumers. */
  get eventGroups(): string {
    return `${this.#start}ll:{watch}`;
  }

  /** Hash: the consumers of a group, and what each reads. */
  eventGroup(group: string): string {
    return `${this.#start}ll:{watch}:${group}`;
  }

  /** Stream: the newest events of one kind. All kinds are in one slot. */
  events(kind: string): string {
    return `${this.#start}ll:{events}:${kind}`;
  }
}
