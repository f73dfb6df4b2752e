/** Devices that behave, one for each protocol, to which something is pushed all the time. */
import { setTimeout as sleep } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { type ClientState, type ConnectOptions, connect } from '../../edge/client/connect.js';
import { Device } from '../support/device.js';
import { eventually } from '../support/eventually.js';
import type { RunningCluster } from '../support/running-cluster.js';

interface HealthyDevice {
  readonly protocol: string;
  readonly received: readonly unknown[];
  /** Connections that it has had. */
  readonly connections: number;
  close(): void | Promise<void>;
}

const PUSH_INTERVAL_MS = 50;
const ARRIVAL_MS_MAX = 10_000;

export class Healthy {
  readonly #devices: HealthyDevice[];
  readonly #pushed: string[] = [];
  /** Of the slowest verdict, in milliseconds. */
  slowestMs = 0;

  constructor(readonly running: RunningCluster) {
    const sse = new Device(clientIdOf('sse'), running.connectUrl(clientIdOf('sse')));
    this.#devices = [
      {
        protocol: 'sse',
        get received() {
          return sse.received;
        },
        get connections() {
          return sse.connections;
        },
        close: () => sse.close(),
      },
      this.#client('ndjson', {}),
      this.#client('websocket-json', { webSocket: WebSocket }),
    ];
  }

  get count(): number {
    return this.#devices.length;
  }

  get pushes(): number {
    return this.#pushed.length * this.count;
  }

  untilConnected(): Promise<boolean> {
    return eventually(() => this.#devices.every(({ connections }) => connections === 1), 30_000);
  }

  /** Pushes to all of them until it is told that it is over. */
  async push(isOver: () => boolean): Promise<void> {
    while (!isOver()) {
      const text = `push ${this.#pushed.length}`;
      this.#pushed.push(text);
      for (const { protocol } of this.#devices) {
        const sentMs = performance.now();
        await this.running.push.push(clientIdOf(protocol), text);
        this.slowestMs = Math.max(this.slowestMs, performance.now() - sentMs);
      }
      await sleep(PUSH_INTERVAL_MS);
    }
  }

  /** What is wrong with them, after what is on its way has had time to come. */
  async failures(): Promise<string[]> {
    const isDone = () =>
      this.#devices.every(({ received }) => received.length >= this.#pushed.length);
    await eventually(isDone, ARRIVAL_MS_MAX).catch(() => {});
    return this.#devices.flatMap(({ protocol, received, connections }) => [
      ...(received.join() === this.#pushed.join()
        ? []
        : [
            `${protocol}: a device that behaves got ${received.length} of ${this.#pushed.length} pushes, or not in order`,
          ]),
      ...(connections === 1
        ? []
        : [`${protocol}: a device that behaves connected ${connections} times`]),
    ]);
  }

  async close(): Promise<void> {
    for (const device of this.#devices) await device.close();
  }

  #client(protocol: string, options: Pick<ConnectOptions, 'webSocket'>): HealthyDevice {
    const received: unknown[] = [];
    const states: ClientState[] = [];
    const client = connect({
      router: this.running.cluster.routerUrl,
      clientId: clientIdOf(protocol),
      onPush: ({ data }) => received.push(data),
      onState: (state) => states.push(state),
      ...options,
    });
    return {
      protocol,
      received,
      get connections() {
        return states.filter(({ type }) => type === 'connected').length;
      },
      close: () => client.close(),
    };
  }
}

function clientIdOf(protocol: string): string {
  return `healthy-${protocol}`;
}
