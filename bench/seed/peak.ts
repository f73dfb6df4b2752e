import { mib } from '../support/memory/process-memory.js';
import type { LimitedMemory, MemoryUse } from './limited-memory.js';

const SAMPLE_MS = 250;

/** The parts of the memory when most of it was used. */
export class Peak {
  usedBytes = 0;
  #uses: readonly (readonly [string, MemoryUse])[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(memory: LimitedMemory) {
    this.#timer = setInterval(() => {
      const { usedBytes } = memory;
      if (usedBytes <= this.usedBytes) return;
      this.usedBytes = usedBytes;
      this.#uses = memory.groups.map((group) => [group, memory.useOf(group)]);
    }, SAMPLE_MS);
  }

  /** In MiB. */
  report(): Record<string, Record<string, number>> {
    return Object.fromEntries(
      this.#uses.map(([group, use]) => [
        group,
        Object.fromEntries(Object.entries(use).map(([part, bytes]) => [part, mib(bytes)])),
      ]),
    );
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
