/** All devices of a drill, and what befalls them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { pick } from '../faults/random.js';
import type { DeviceFault } from '../faults/schedule.js';
import { Device, type DeviceWorld } from './device.js';

const SWEEP_MS = 500;
/** How long a device does not read before a reset that takes what was sent with it. */
const DEAF_MS = 700;

export interface FleetOptions extends DeviceWorld {
  readonly count: number;
  /** What their clientIds begin with. */
  readonly prefix: string;
  /** Where devices reach every edge. */
  readonly edgeUrls: readonly string[];
  /** Pushes so much to a client that its connection cannot take it. */
  readonly flood: (clientId: string) => void;
  /** Ends what befalls them. */
  readonly signal: AbortSignal;
}

export class Fleet {
  readonly devices: readonly Device[];
  readonly #options: FleetOptions;
  readonly #sweeping: NodeJS.Timeout;

  constructor(options: FleetOptions) {
    this.#options = options;
    this.devices = Array.from(
      { length: options.count },
      (_, i) => new Device(`${options.prefix}-${i}`, i % 2 === 1, options),
    );
    this.#sweeping = setInterval(() => {
      for (const device of this.devices) device.sweep(performance.now());
    }, SWEEP_MS);
  }

  get openCount(): number {
    return this.devices.filter(({ isOpen }) => isOpen).length;
  }

  /** How long nobody has received anything. */
  silentMs(): number {
    const newestMs = Math.max(...this.devices.map(({ receivedAtMs }) => receivedAtMs));
    return performance.now() - newestMs;
  }

  /** Spread over `overMs`. */
  async connect(overMs: number): Promise<void> {
    const perStep = Math.ceil((this.devices.length / overMs) * 20);
    for (const [i, device] of this.devices.entries()) {
      device.connect();
      if (i % perStep === perStep - 1) await sleep(20);
    }
  }

  /** Resolves when it is over, that is, when the devices may listen again. */
  async befall(fault: DeviceFault): Promise<void> {
    switch (fault.kind) {
      case 'cut':
        return this.#cut(this.#these(fault.devices), fault.how);
      case 'away': {
        const devices = this.#these(fault.devices);
        for (const device of devices) device.leave();
        await this.#sleep(fault.forMs);
        for (const device of devices) device.back();
        return;
      }
      case 'pause': {
        const [device] = this.#these([fault.device]);
        device!.pause();
        this.#options.flood(device!.clientId);
        await this.#sleep(fault.forMs);
        device!.back();
        return;
      }
      case 'takeover': {
        const { edgeUrls, random } = this.#options;
        for (const device of this.#these(fault.devices)) {
          device.takeOver(fault.where === 'anywhere' ? pick(random, edgeUrls) : undefined);
        }
      }
    }
  }

  /** Everybody comes back, whatever was planned. */
  heal(): void {
    for (const device of this.devices) device.back();
  }

  stop(): void {
    clearInterval(this.#sweeping);
    for (const device of this.devices) device.stop();
  }

  async #cut(devices: Device[], how: 'reset' | 'fin' | 'deaf'): Promise<void> {
    if (how === 'deaf') {
      for (const device of devices) device.pause();
      await this.#sleep(DEAF_MS);
    }
    for (const device of devices) {
      device.cut(how === 'fin' ? 'fin' : 'reset');
      if (how === 'deaf') device.back();
    }
  }

  #sleep(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.#options.signal });
  }

  #these(numbers: readonly number[]): Device[] {
    return numbers.map((number) => this.devices[number]!);
  }
}
