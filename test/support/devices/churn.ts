/**
 * Connects and disconnects devices by the thousand, each with one of the possible endings: a third
 * of them with server-sent events, a third with WebSockets, a third with MQTT. The last two
 * disconnect in the middle of a message.
 */
import { DEVICE_PROTOCOLS, type DeviceProtocol } from '../../../bench/support/devices/requests.js';
import { openTransport } from '../../../common/transport/open-transport.js';
import type {
  Connection,
  Transport,
  TransportEvents,
} from '../../../common/transport/transport.js';

/**
 * `closed`: FIN after the response (half-close) · `reset`: RST after the response ·
 * `unfinished`: FIN in the middle of the request · `silent`: FIN before the first byte
 */
export type Ending = 'closed' | 'reset' | 'unfinished' | 'silent';

const ENDINGS: readonly Ending[] = ['closed', 'reset', 'unfinished', 'silent'];
const PROTOCOLS: readonly DeviceProtocol[] = ['sse', 'ws', 'mqtt'];
/** Bytes sent after the response: a ping and the first half of a message. */
const REPLIES: Partial<Record<DeviceProtocol, Buffer>> = {
  ws: Buffer.from('898000000000' + '818500000000' + '4865', 'hex'),
  mqtt: Buffer.from('c000' + '82070002', 'hex'),
};
const CONCURRENT_MAX = 400;
const LOCAL_ADDRESSES = 16;

export class Churn implements TransportEvents {
  readonly #transport: Transport;
  readonly #numbers = new Map<Connection, number>();
  #started = 0;
  #target = 0;
  #answered = 0;
  #onDone = () => {};

  constructor(readonly port: number) {
    const limits = { connectionsMax: CONCURRENT_MAX, sendBufferBytesMax: 64 * 1024 };
    this.#transport = openTransport(undefined, this, limits).transport;
  }

  /** Number of devices so far that received a response. */
  get answered(): number {
    return this.#answered;
  }

  /** Resolves when `count` more devices have connected and disconnected. */
  run(count: number): Promise<void> {
    this.#target += count;
    return new Promise((resolve) => {
      this.#onDone = resolve;
      this.#connectMore();
    });
  }

  close(): Promise<void> {
    return this.#transport.close();
  }

  onOpen(connection: Connection): void {
    const number = this.#numbers.get(connection)!;
    const greeting = DEVICE_PROTOCOLS[protocolOf(number)];
    const request = Buffer.from(greeting.request(`/connect?clientId=churn-${number}`), 'latin1');
    const ending = endingOf(number);
    if (ending === 'silent') this.#transport.end(connection);
    else if (ending === 'unfinished') {
      this.#transport.write(connection, request.subarray(0, request.length / 2));
      this.#transport.end(connection);
    } else this.#transport.write(connection, request);
  }

  onBytes(connection: Connection): void {
    this.#answered++;
    const number = this.#numbers.get(connection)!;
    const reply = REPLIES[protocolOf(number)];
    if (reply !== undefined) this.#transport.write(connection, reply);
    if (endingOf(number) === 'reset') this.#transport.destroy(connection);
    else this.#transport.end(connection);
  }

  onClose(connection: Connection): void {
    this.#numbers.delete(connection);
    this.#connectMore();
  }

  onEnd(): void {}
  onOverLimit(): void {}
  onTimer(): void {}

  #connectMore(): void {
    while (this.#started < this.#target && this.#numbers.size < CONCURRENT_MAX) {
      const address = `127.0.2.${1 + (this.#started % LOCAL_ADDRESSES)}`;
      const connection = this.#transport.connect('127.0.0.1', this.port, address);
      // The slot of a closed connection is free in the next turn of the event loop.
      if (connection === undefined) {
        setImmediate(() => this.#connectMore());
        return;
      }
      this.#numbers.set(connection, this.#started++);
    }
    if (this.#numbers.size === 0 && this.#started === this.#target) this.#onDone();
  }
}

function endingOf(number: number): Ending {
  return ENDINGS[number % ENDINGS.length]!;
}

function protocolOf(number: number): DeviceProtocol {
  return PROTOCOLS[Math.floor(number / ENDINGS.length) % PROTOCOLS.length]!;
}
