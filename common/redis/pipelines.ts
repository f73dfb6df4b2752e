/** A lane to each master, for whoever knows the key of a command. */
import type { Endpoint } from './connection.js';
import { Lane } from './pipeline.js';
import { splitAddress } from './slot-map.js';

export class Lanes {
  readonly #lanes = new Map<string, Lane>();

  /** @param endpoint any node, with the credentials that all share */
  constructor(
    readonly endpoint: Endpoint,
    readonly name: string,
  ) {}

  /** The lane to a master; undefined while it cannot take commands. */
  to(address: string | undefined): Lane | undefined {
    if (address === undefined) return undefined;
    let lane = this.#lanes.get(address);
    if (lane === undefined) {
      lane = new Lane({ ...this.endpoint, ...splitAddress(address) }, this.name);
      this.#lanes.set(address, lane);
    }
    return lane.isReady ? lane : undefined;
  }

  /** Opens a lane to each of these masters and closes those to all others. */
  follow(masters: readonly string[]): void {
    for (const [address, lane] of this.#lanes) {
      if (masters.includes(address)) continue;
      lane.close();
      this.#lanes.delete(address);
    }
    for (const address of masters) this.to(address);
  }

  close(): void {
    this.follow([]);
  }
}
