/** Pushes continuously to well-behaved devices and checks what they received. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { PushClient } from '../../support/cluster/push-client.js';
import { eventually } from '../../support/eventually.js';
import type { HealthyDevice } from './healthy-device.js';

const PUSH_INTERVAL_MS = 50;
const ARRIVAL_MS_MAX = 10_000;

export class HealthyDevices {
  readonly #pushed: string[] = [];
  /** Time from request to verdict of the slowest push, in milliseconds. */
  slowestMs = 0;

  constructor(
    readonly devices: readonly HealthyDevice[],
    readonly client: PushClient,
  ) {}

  get pushes(): number {
    return this.#pushed.length * this.devices.length;
  }

  untilConnected(): Promise<boolean> {
    return eventually(() => this.devices.every((device) => device.connections() === 1));
  }

  /** Pushes to every device until `isStopped` returns true. */
  async push(isStopped: () => boolean): Promise<void> {
    while (!isStopped()) {
      const text = `push ${this.#pushed.length}`;
      this.#pushed.push(text);
      await Promise.all(this.devices.map(({ clientId }) => this.#push(clientId, text)));
      await sleep(PUSH_INTERVAL_MS);
    }
  }

  /** Waits for pushes in flight; returns a line per device that missed one or reconnected. */
  async failures(): Promise<string[]> {
    const { length } = this.#pushed;
    const isDone = () => this.devices.every(({ received }) => received.length >= length);
    await eventually(isDone, ARRIVAL_MS_MAX).catch(() => {});
    return this.devices.flatMap((device) => [
      ...(device.received.join() === this.#pushed.join()
        ? []
        : [
            `${device.clientId} received ${device.received.length} of ${length} pushes, or in another order`,
          ]),
      ...(device.connections() === 1
        ? []
        : [`${device.clientId} opened ${device.connections()} connections; expected 1`]),
    ]);
  }

  async close(): Promise<void> {
    for (const device of this.devices) await device.close();
  }

  async #push(clientId: string, text: string): Promise<void> {
    const sentMs = performance.now();
    await this.client.push(clientId, text);
    this.slowestMs = Math.max(this.slowestMs, performance.now() - sentMs);
  }
}
