/** All devices of a drill, and their faults. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { DeviceFault } from '../faults/device-fault.js';
import { pick } from '../faults/random.js';
import { Device, type DeviceContext } from './device.js';

const SWEEP_MS = 500;
/** How long a device stops reading before a reset, so that pushes in flight are lost. */
const SILENT_MS = 700;

export interface FleetOptions extends DeviceContext {
  readonly count: number;
  /** Prefix of the clientIds. */
  readonly prefix: string;
  /** Source address of the i-th device's connections. */
  readonly sourceHostOf?: (i: number) => string | undefined;
  /** Address of every edge for devices. */
  readonly edgeUrls: readonly string[];
  /** Pushes more to a client than its connection can buffer. */
  readonly flood: (clientId: string) => void;
  /** Aborts the faults in progress. */
  readonly signal: AbortSignal;
}

export class Fleet {
  readonly devices: readonly Device[];
  readonly #options: FleetOptions;
  readonly #sweepTimer: NodeJS.Timeout;

  constructor(options: FleetOptions) {
    this.#options = options;
    this.devices = Array.from(
      { length: options.count },
      (_, i) =>
        new Device(`${options.prefix}-${i}`, i % 2 === 1, {
          ...options,
          sourceHost: options.sourceHostOf?.(i),
        }),
    );
    this.#sweepTimer = setInterval(() => {
      for (const device of this.devices) device.sweep(performance.now());
    }, SWEEP_MS);
  }

  get openCount(): number {
    return this.devices.filter(({ isOpen }) => isOpen).length;
  }

  /** Milliseconds since the last receipt of any device. */
  silentMs(): number {
    const newestMs = Math.max(...this.devices.map(({ receivedAtMs }) => receivedAtMs));
    return performance.now() - newestMs;
  }

  /** Starts all connections, spread over `overMs`. */
  async connect(overMs: number): Promise<void> {
    const perStep = Math.ceil((this.devices.length / overMs) * 20);
    for (const [i, device] of this.devices.entries()) {
      device.connect();
      if (i % perStep === perStep - 1) await sleep(20);
    }
  }

  /** Resolves at the end of the fault, when the devices read or reconnect again. */
  async inject(fault: DeviceFault): Promise<void> {
    switch (fault.kind) {
      case 'cut':
        return this.#cut(this.#devicesAt(fault.devices), fault.how);
      case 'away': {
        const devices = this.#devicesAt(fault.devices);
        for (const device of devices) device.disconnect();
        await this.#sleep(fault.forMs);
        for (const device of devices) device.resume();
        return;
      }
      case 'pause': {
        const [device] = this.#devicesAt([fault.device]);
        device!.pause();
        this.#options.flood(device!.clientId);
        await this.#sleep(fault.forMs);
        device!.resume();
        return;
      }
      case 'takeover': {
        const { edgeUrls, random } = this.#options;
        for (const device of this.#devicesAt(fault.devices)) {
          device.takeOver(fault.where === 'anywhere' ? pick(random, edgeUrls) : undefined);
        }
      }
    }
  }

  /** Ends all absences early. */
  resumeAll(): void {
    for (const device of this.devices) device.resume();
  }

  stop(): void {
    clearInterval(this.#sweepTimer);
    for (const device of this.devices) device.stop();
  }

  async #cut(devices: Device[], how: 'reset' | 'fin' | 'silent'): Promise<void> {
    if (how === 'silent') {
      for (const device of devices) device.pause();
      await this.#sleep(SILENT_MS);
    }
    for (const device of devices) {
      device.cut(how === 'fin' ? 'fin' : 'reset');
      if (how === 'silent') device.resume();
    }
  }

  #sleep(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.#options.signal });
  }

  #devicesAt(numbers: readonly number[]): Device[] {
    return numbers.map((number) => this.devices[number]!);
  }
}
