/**
 * A TCP connection that sends given bytes and collects the received ones, over TLS if the port of
 * devices ends it (`TLS_RUN`).
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { eventually } from '../eventually.js';
import { TLS_RUN } from '../tls/tls-run.js';

export class RawSocket {
  #received: Buffer[] = [];
  /** The peer has sent a FIN, or the connection is closed. */
  isEnded = false;
  /** Such as `ECONNRESET`, if the connection ended with an error. */
  errorCode: string | undefined;

  private constructor(
    readonly socket: Socket,
    private readonly tcp: Socket,
  ) {
    socket.on('data', (bytes) => this.#received.push(bytes));
    const onEnd = () => {
      this.isEnded = true;
    };
    socket.on('end', onEnd);
    socket.on('close', onEnd);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.errorCode = error.code;
    });
  }

  /** @param from local address to connect from */
  static async connect(port: number, from = '127.0.0.1'): Promise<RawSocket> {
    const options = { host: '127.0.0.1', port, localAddress: from };
    const tcp = connect({ ...options, allowHalfOpen: true, noDelay: true });
    await once(tcp, 'connect');
    if (!TLS_RUN) return new RawSocket(tcp, tcp);
    const tls = connectTls({ socket: tcp, rejectUnauthorized: false });
    const socket = new RawSocket(tls, tcp);
    // The edge may also reject it before.
    await new Promise<void>((resolve) => {
      tls.once('secureConnect', resolve);
      tls.once('close', resolve);
    });
    return socket;
  }

  get text(): string {
    return this.bytes.toString('latin1');
  }

  /** All received bytes. */
  get bytes(): Buffer {
    return Buffer.concat(this.#received);
  }

  /** Status of the HTTP response; undefined before its arrival. */
  get status(): number | undefined {
    const status = /^HTTP\/1\.1 (\d{3}) /.exec(this.text)?.[1];
    return status === undefined ? undefined : Number(status);
  }

  /** Error code in the body of the response. */
  get code(): string | undefined {
    return /"code":"([A-Z_]+)"/.exec(this.text)?.[1];
  }

  /** Resolves when the kernel has the bytes, or the connection is closed. */
  send(bytes: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      if (!this.socket.writable) resolve();
      else this.socket.write(bytes, () => resolve());
    });
  }

  /** Sends a FIN and continues to read. */
  halfClose(): void {
    this.socket.end();
  }

  /** Stops reading, so that bytes accumulate in the buffers of kernel and peer. */
  stopReading(): void {
    this.socket.pause();
  }

  resumeReading(): void {
    this.socket.resume();
  }

  /** Closes the connection with a RST. */
  reset(): void {
    this.tcp.resetAndDestroy();
  }

  close(): void {
    this.socket.destroy();
  }

  untilEnded(deadlineMs?: number): Promise<boolean> {
    return eventually(() => this.isEnded, deadlineMs);
  }

  untilText(wanted: string, deadlineMs?: number): Promise<boolean> {
    return eventually(() => this.text.includes(wanted), deadlineMs);
  }
}
