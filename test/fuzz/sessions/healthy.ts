/** Pushes all the time to devices that behave, and judges what they got. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { PushClient } from '../../support/cluster/push-client.js';
import { eventually } from '../../support/eventually.js';
import type { HealthyDevice } from './healthy-device.js';

const PUSH_INTERVAL_MS = 50;
const ARRIVAL_MS_MAX = 10_000;

export class Healthy {
  readonly #pushed: string[] = [];
  /** Of the slowest verdict, in milliseconds. */
  slowestMs = 0;

  constructor(
    readonly devices: readonly HealthyDevice[],
    readonly client: PushClient,
  ) {}

  get pushes(): number {
    return this.#pushed.length * this.devices.length;
  }

  untilConnected(): Promise<boolean> {
    return eventually(() => this.devices.every((device) => device.connections() === 1), 30_000);
  }

  /** Resolves when it was told that it is over. */
  async push(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const text = `push ${this.#pushed.length}`;
      this.#pushed.push(text);
      await Promise.all(this.devices.map(({ clientId }) => this.#push(clientId, text)));
      await sleep(PUSH_INTERVAL_MS);
    }
  }

  /** What is wrong with the devices, after what is on its way has had time to come. */
  async failures(): Promise<string[]> {
    const { length } = this.#pushed;
    const isDone = () => this.devices.every(({ received }) => received.length >= length);
    await eventually(isDone, ARRIVAL_MS_MAX).catch(() => {});
    return this.devices.flatMap((device) => [
      ...(device.received.join() === this.#pushed.join()
        ? []
        : [`${device.clientId} got ${device.received.length} of ${length} pushes, or disordered`]),
      ...(device.connections() === 1
        ? []
        : [`${device.clientId} has had ${device.connections()} connections`]),
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
