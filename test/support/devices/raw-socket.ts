/** A TCP connection that says exactly the bytes it is told, and keeps what comes back. */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { eventually } from '../eventually.js';

export class RawSocket {
  #received: Buffer[] = [];
  /** The peer has sent a FIN, or the connection is gone. */
  isOver = false;
  /** `ECONNRESET` and the like, if that is how it ended. */
  errorCode: string | undefined;

  private constructor(readonly socket: Socket) {
    socket.on('data', (bytes) => this.#received.push(bytes));
    const over = () => {
      this.isOver = true;
    };
    socket.on('end', over);
    socket.on('close', over);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.errorCode = error.code;
    });
  }

  /** @param from one of this machine's own addresses */
  static async connect(port: number, from = '127.0.0.1'): Promise<RawSocket> {
    const options = { host: '127.0.0.1', port, localAddress: from };
    const socket = connect({ ...options, allowHalfOpen: true, noDelay: true });
    await once(socket, 'connect');
    return new RawSocket(socket);
  }

  get text(): string {
    return this.bytes.toString('latin1');
  }

  /** All that has come. */
  get bytes(): Buffer {
    return Buffer.concat(this.#received);
  }

  /** Of an HTTP answer; undefined before it came. */
  get status(): number | undefined {
    const status = /^HTTP\/1\.1 (\d{3}) /.exec(this.text)?.[1];
    return status === undefined ? undefined : Number(status);
  }

  /** The catalogue code in the body of an answer. */
  get code(): string | undefined {
    return /"code":"([A-Z_]+)"/.exec(this.text)?.[1];
  }

  /** Resolves when the bytes are with the kernel, or the connection is gone. */
  send(bytes: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      if (!this.socket.writable) resolve();
      else this.socket.write(bytes, () => resolve());
    });
  }

  /** Says FIN, goes on reading. */
  halfClose(): void {
    this.socket.end();
  }

  /** Reads no more: what comes piles up on the way. */
  stopReading(): void {
    this.socket.pause();
  }

  readOn(): void {
    this.socket.resume();
  }

  /** Ends with a RST. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  close(): void {
    this.socket.destroy();
  }

  untilOver(deadlineMs = 10_000): Promise<boolean> {
    return eventually(() => this.isOver, deadlineMs);
  }

  untilText(wanted: string, deadlineMs = 10_000): Promise<boolean> {
    return eventually(() => this.text.includes(wanted), deadlineMs);
  }
}
