/**
 * A TCP proxy that can simulate a partition (no bytes pass, and no connection ends) and an address
 * that leads to another server than before.
 */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class TcpProxy {
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #isPartitioned = false;

  private constructor(
    readonly server: Server,
    private targetPort: number,
  ) {
    server.on('connection', (near) => this.#join(near));
  }

  static async start(targetPort: number): Promise<TcpProxy> {
    const server = createServer();
    const proxy = new TcpProxy(server, targetPort);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  partition(): void {
    this.#isPartitioned = true;
    for (const [near, far] of this.#pairs) {
      for (const socket of [near, far]) {
        socket.unpipe();
        socket.pause();
      }
    }
  }

  /** Forwards new connections to another port, as a name in DNS does that was changed. */
  moveTo(targetPort: number): void {
    this.targetPort = targetPort;
  }

  /** Forwards new connections again and closes the existing ones. */
  resume(): void {
    this.#isPartitioned = false;
    this.#endAll();
  }

  close(): void {
    this.server.close();
    this.#endAll();
  }

  #join(near: Socket): void {
    const far = connect(this.targetPort, '127.0.0.1');
    const pair = [near, far] as const;
    this.#pairs.add(pair);
    for (const socket of pair) {
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#pairs.delete(pair);
        for (const each of pair) each.destroy();
      });
    }
    if (this.#isPartitioned) return;
    near.pipe(far);
    far.pipe(near);
  }

  #endAll(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }
}
