/**
 * Devices that come and go by the thousand, each with one of the ways that a connection can end: half
 * of them for server-sent events, half as WebSockets, which go in the middle of a message.
 */
import { GREETINGS } from '../../bench/greetings.js';
import { openTransport } from '../../common/transport/open-transport.js';
import type { Connection, Transport, TransportEvents } from '../../common/transport/transport.js';

/**
 * `closed` answered, then a FIN and nothing more said (half-close) · `reset` answered, then reset ·
 * `unfinished` gone in the middle of the request · `silent` gone without a word
 */
export type Ending = 'closed' | 'reset' | 'unfinished' | 'silent';

const ENDINGS: readonly Ending[] = ['closed', 'reset', 'unfinished', 'silent'];
/** An empty ping, and the first half of a message. */
const SPEECH = Buffer.from('898000000000' + '818500000000' + '4865', 'hex');
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
    const { request: requestOf } = isWebSocket(number) ? GREETINGS.ws : GREETINGS.sse;
    const request = requestOf(`/connect?clientId=churn-${number}`);
    const ending = endingOf(number);
    if (ending === 'silent') this.#transport.end(connection);
    else if (ending === 'unfinished') {
      this.#transport.write(connection, Buffer.from(request.slice(0, 30)));
      this.#transport.end(connection);
    } else this.#transport.write(connection, Buffer.from(request));
  }

  onBytes(connection: Connection): void {
    this.#answered++;
    const number = this.#numbers.get(connection)!;
    if (isWebSocket(number)) this.#transport.write(connection, SPEECH);
    if (endingOf(number) === 'reset') this.#transport.destroy(connection);
    else this.#transport.end(connection);
  }

  onClose(connection: Connection): void {
    this.#numbers.delete(connection);
    this.#connectMore();
  }

  onEnd(): void {}
  onTurnedAway(): void {}
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

function isWebSocket(number: number): boolean {
  return Math.floor(number / ENDINGS.length) % 2 === 1;
}
