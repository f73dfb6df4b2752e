/** A TCP proxy that can go silent, as a network does that is cut: nothing passes and nothing ends. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export class TcpProxy {
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  #isCut = false;

  private constructor(
    readonly server: Server,
    readonly targetPort: number,
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

  cut(): void {
    this.#isCut = true;
    for (const [near, far] of this.#pairs) {
      for (const socket of [near, far]) {
        socket.unpipe();
        socket.pause();
      }
    }
  }

  /** What was connected through it finds out that it is not any more. */
  heal(): void {
    this.#isCut = false;
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
    if (this.#isCut) return;
    near.pipe(far);
    far.pipe(near);
  }

  #endAll(): void {
    for (const pair of this.#pairs) for (const socket of pair) socket.destroy();
  }
}
