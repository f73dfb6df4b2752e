/** Clients that send a ClientHello and nothing more, from several source addresses. */
import { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import { openTransport } from '../../../common/transport/open-transport.js';
import type {
  Connection,
  Transport,
  TransportEvents,
} from '../../../common/transport/transport.js';

const LOCAL_ADDRESSES = 16;

export class HalfHandshakes implements TransportEvents {
  /** Connections that were answered or have ended. */
  readonly #served = new Set<Connection>();
  readonly #transport: Transport;

  private constructor(
    private readonly hello: Buffer,
    connectionsMax: number,
  ) {
    const limits = { connectionsMax, sendBufferBytesMax: 64 * 1024 };
    this.#transport = openTransport(undefined, this, limits).transport;
  }

  /** Starts `count` connections at once. */
  static async open(port: number, count: number): Promise<HalfHandshakes> {
    const clients = new HalfHandshakes(await clientHello(), count);
    for (let i = 0; i < count; i++) {
      clients.#transport.connect('127.0.0.1', port, `127.0.3.${1 + (i % LOCAL_ADDRESSES)}`);
    }
    return clients;
  }

  get served(): number {
    return this.#served.size;
  }

  close(): Promise<void> {
    return this.#transport.close();
  }

  onOpen(connection: Connection): void {
    this.#transport.write(connection, this.hello);
  }

  onBytes(connection: Connection): void {
    this.#served.add(connection);
  }

  onEnd(connection: Connection): void {
    this.#transport.end(connection);
  }

  onClose(connection: Connection): void {
    this.#served.add(connection);
  }

  onOverLimit(): void {}
  onTimer(): void {}
}

/** The first bytes of a client of Node's TLS. */
function clientHello(): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = new Duplex({
      read() {},
      write(bytes: Buffer, _encoding, done) {
        resolve(bytes);
        done();
      },
    });
    connect({ socket, servername: 'localhost' }).on('error', () => {});
  });
}
