/**
 * Notices that a master is another server than before, or was restarted: it may have less than it
 * had. A server that is restarted has another run id, and a promoted one another address.
 */
import type { RedisLink } from '../../redis/redis-link.js';

export class MasterChanges {
  /** Run id of each master, by address. */
  readonly #runIds = new Map<string, string>();

  constructor(readonly link: Pick<RedisLink, 'subscriber' | 'masterCheck'>) {}

  /** Whether a master has changed since the last call. */
  take(): boolean {
    const { subscriber, masterCheck } = this.link;
    const masters = subscriber.masters();
    for (const address of this.#runIds.keys()) {
      if (!masters.includes(address)) this.#runIds.delete(address);
    }
    let hasOther = false;
    for (const address of masters) {
      const runId = masterCheck.runIdAt(address);
      // Not connected: the next call compares it.
      if (runId === '' || this.#runIds.get(address) === runId) continue;
      this.#runIds.set(address, runId);
      hasOther = true;
    }
    return hasOther;
  }
}
