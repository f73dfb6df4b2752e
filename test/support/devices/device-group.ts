/** Devices that must all receive the same durable pushes, in order. */
import { expect } from '@jest/globals';
import type { PushOptions } from '../cluster/push-client.js';
import type { RunningCluster } from '../cluster/running-cluster.js';
import { eventually } from '../eventually.js';
import { Device } from './device.js';

export class DeviceGroup {
  readonly devices: Device[] = [];
  readonly #sent: string[] = [];
  readonly #running: RunningCluster;

  private constructor(running: RunningCluster) {
    this.#running = running;
  }

  /** Connects `perEdge` devices to each edge. */
  static async connect(
    running: RunningCluster,
    edges: readonly string[],
    perEdge: number,
  ): Promise<DeviceGroup> {
    const group = new DeviceGroup(running);
    for (const edgeId of edges) {
      for (const clientId of await running.clientIdsOf(edgeId, perEdge, edgeId)) {
        group.devices.push(new Device(clientId, running.connectUrl(clientId)));
      }
    }
    await eventually(() => group.devices.every(({ connectedTo }) => connectedTo !== undefined));
    return group;
  }

  /** Sends a durable push to every device without waiting for delivery. */
  async push(options: PushOptions): Promise<void> {
    const payload = `push ${this.#sent.length}`;
    this.#sent.push(payload);
    await Promise.all(
      this.devices.map(({ clientId }) => this.#running.push.push(clientId, payload, options)),
    );
  }

  async untilAllReceived(): Promise<void> {
    await eventually(() => {
      for (const { clientId, received } of this.devices) {
        expect({ [clientId]: received }).toEqual({ [clientId]: this.#sent });
      }
    });
  }

  async close(): Promise<void> {
    await Promise.all(this.devices.map((device) => device.close()));
  }
}
