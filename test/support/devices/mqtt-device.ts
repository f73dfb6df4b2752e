/** A device with mqtt.js, a third-party client. */
import { connect, type IClientOptions, type MqttClient } from 'mqtt';
import { eventually } from '../eventually.js';
import { deviceScheme } from '../tls/tls-run.js';

export interface MqttReceived {
  readonly topic: string;
  readonly payload: string;
  readonly qos: number;
  readonly properties: Readonly<Record<string, unknown>>;
}

export class MqttDevice {
  readonly received: MqttReceived[] = [];
  /** Reason code of the server's DISCONNECT, which only MQTT 5 has. */
  disconnectReason: number | undefined;
  serverReference: string | undefined;
  isClosed = false;

  private constructor(readonly client: MqttClient) {
    client.on('message', (topic, payload, { qos, properties }) => {
      this.received.push({
        topic,
        payload: payload.toString(),
        qos,
        properties: { ...properties },
      });
    });
    client.on('disconnect', ({ reasonCode, properties }) => {
      this.disconnectReason = reasonCode;
      this.serverReference = properties?.serverReference;
    });
    client.on('close', () => {
      this.isClosed = true;
    });
    client.on('error', () => {});
  }

  /**
   * Connects without automatic reconnects.
   * @param server a port, or a URL
   * @throws Error if the server rejects the CONNECT
   */
  static async connect(
    server: number | string,
    clientId: string,
    options: IClientOptions = {},
  ): Promise<MqttDevice> {
    const url =
      typeof server === 'number' ? `${deviceScheme('mqtt')}://127.0.0.1:${server}` : server;
    const client = connect(url, {
      clientId,
      reconnectPeriod: 0,
      protocolVersion: 4,
      rejectUnauthorized: false,
      ...options,
    });
    // Created before the connect: pushes of a present session follow CONNACK immediately.
    const device = new MqttDevice(client);
    await new Promise<void>((resolve, reject) => {
      client.once('connect', () => resolve());
      client.once('error', reject);
      client.once('close', () => reject(new Error(`${clientId}: closed before CONNACK`)));
    });
    return device;
  }

  get payloads(): string[] {
    return this.received.map(({ payload }) => payload);
  }

  /** Resolves with the granted QoS of each filter. */
  async subscribe(filters: string | string[], qos: 0 | 1 | 2 = 1): Promise<number[]> {
    const granted = await this.client.subscribeAsync(filters, { qos });
    return granted.map((each) => each.qos);
  }

  until(count: number): Promise<boolean> {
    return eventually(() => this.received.length >= count);
  }

  untilClosed(deadlineMs?: number): Promise<boolean> {
    return eventually(() => this.isClosed, deadlineMs);
  }

  close(): Promise<void> {
    return this.client.endAsync();
  }

  /** Closes the connection without a DISCONNECT, like a device without power. */
  drop(): void {
    this.client.stream.destroy();
  }
}
