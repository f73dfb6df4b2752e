/**
 * Devices that come and go by the thousand, each with one of the ways that a connection can end: a
 * third of them for server-sent events, a third as WebSockets, a third over MQTT. The last two go in
 * the middle of a message.
 */
import { GREETINGS, type GreetingName } from '../../../bench/memory/requests.js';
import { openTransport } from '../../../common/transport/open-transport.js';
import type {
  Connection,
  Transport,
  TransportEvents,
} from '../../../common/transport/transport.js';

/**
 * `closed` answered, then a FIN and nothing more said (half-close) · `reset` answered, then reset ·
 * `unfinished` gone in the middle of the request · `silent` gone without a word
 */
export type Ending = 'closed' | 'reset' | 'unfinished' | 'silent';

const ENDINGS: readonly Ending[] = ['closed', 'reset', 'unfinished', 'silent'];
const PROTOCOLS: readonly GreetingName[] = ['sse', 'ws', 'mqtt'];
/** What they say when they are answered: a ping, and the first half of a message. */
const SPEECHES: Partial<Record<GreetingName, Buffer>> = {
  ws: Buffer.from('898000000000' + '818500000000' + '4865', 'hex'),
  mqtt: Buffer.from('c000' + '82070002', 'hex'),
};
const AT_ONCE = 400;
const LOCAL_ADDRESSES = 16;

export class Churn implements TransportEvents {
  readonly #transport: Transport;
  readonly #numbers = new Map<Connection, number>();
  #started = 0;
  #wanted = 0;
  #answered = 0;
  #onDone = () => {};

  constructor(readonly port: number) {
    const limits = { connectionsMax: AT_ONCE, sendBufferBytesMax: 64 * 1024 };
    this.#transport = openTransport(undefined, this, limits).transport;
  }

  /** How many were answered before they went, so far. */
  get answered(): number {
    return this.#answered;
  }

  /** Resolves when so many more have come and gone. */
  run(count: number): Promise<void> {
    this.#wanted += count;
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
    const greeting = GREETINGS[protocolOf(number)];
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
    const speech = SPEECHES[protocolOf(number)];
    if (speech !== undefined) this.#transport.write(connection, speech);
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
    while (this.#started < this.#wanted && this.#numbers.size < AT_ONCE) {
      const address = `127.0.2.${1 + (this.#started % LOCAL_ADDRESSES)}`;
      const connection = this.#transport.connect('127.0.0.1', this.port, address);
      // The slot of the one before is free in the next turn.
      if (connection === undefined) {
        setImmediate(() => this.#connectMore());
        return;
      }
      this.#numbers.set(connection, this.#started++);
    }
    if (this.#numbers.size === 0 && this.#started === this.#wanted) this.#onDone();
  }
}

function endingOf(number: number): Ending {
  return ENDINGS[number % ENDINGS.length]!;
}

function protocolOf(number: number): GreetingName {
  return PROTOCOLS[Math.floor(number / ENDINGS.length) % PROTOCOLS.length]!;
}
