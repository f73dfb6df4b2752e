/** Devices with TLS that can be used like a `Fleet` of one process, for idle connections. */
import type { ConnectJob, Fleet } from './fleet.js';
import { Receivers } from './receivers.js';
import { DEVICE_PROTOCOLS, type DeviceProtocol } from './requests.js';

export class TlsDevices implements Pick<Fleet, 'connect' | 'close' | 'stop'> {
  readonly #receivers: Receivers;

  constructor(readonly protocol: DeviceProtocol) {
    this.#receivers = new Receivers(DEVICE_PROTOCOLS[protocol], true);
  }

  async connect(jobs: readonly ConnectJob[]): Promise<{ seconds: number }> {
    const { request } = DEVICE_PROTOCOLS[this.protocol];
    const devices = jobs.flatMap(({ port, paths }) =>
      paths.map((path) => ({ port, request: request(path) })),
    );
    return { seconds: await this.#receivers.connect(devices) };
  }

  close(): Promise<void> {
    return this.#receivers.close();
  }

  stop(): void {
    void this.#receivers.stop();
  }
}
