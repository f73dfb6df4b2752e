/** A backend of the benches: pushes, and checks that each push is written to its device. */

export interface Load {
  readonly calls: 'unary' | 'stream';
  readonly durable: boolean;
  /** Pushes per second; 0: as many as are answered. */
  readonly perSecond: number;
}

export interface FanOut {
  /** A list of clients, or all that are connected. */
  readonly way: 'each' | 'all';
  readonly durable: boolean;
}

/** Clients with the clientIds `<prefix>0`, `<prefix>1`, … */
export interface Clients {
  readonly clients: number;
  readonly prefix: string;
}

export interface Backend {
  readonly kind: 'go' | 'node';
  readonly pid: number;
  /** Starts to push to the clients, round robin. */
  start(load: Load, clients: Clients): Promise<void>;
  /**
   * Resolves when every push is answered.
   * @throws Error when a push was not written to its device
   */
  stop(): Promise<void>;
  /**
   * Sends one payload to all clients; resolves when the call is answered.
   * @returns time of the call, as `nowUs`
   * @throws Error when a client was not reached
   */
  fanOut(fanOut: FanOut, clients: Clients): Promise<{ startUs: number }>;
  close(): Promise<void>;
}

export function clientIdsOf({ clients, prefix }: Clients): string[] {
  return Array.from({ length: clients }, (_, i) => `${prefix}${i}`);
}
