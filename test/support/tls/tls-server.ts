/** A transport with TLS that records its events and echoes nothing by itself. */
import { pino } from 'pino';
import {
  NativeTransport,
  nativeUnavailableReason,
} from '../../../common/transport/native-transport.js';
import { NetTransport } from '../../../common/transport/net-transport.js';
import { type TlsFiles, TlsIdentity } from '../../../common/transport/tls-identity.js';
import type {
  Connection,
  Transport,
  TransportEvents,
} from '../../../common/transport/transport.js';

type Implementation = typeof NetTransport | typeof NativeTransport;

/** The transports that are available here. */
export const IMPLEMENTATIONS: readonly (readonly [name: string, Implementation])[] = [
  ['net', NetTransport] as const,
  ['native', NativeTransport] as const,
].filter(([name]) => name === 'net' || nativeUnavailableReason() === undefined);

export class TlsServer {
  readonly failures: string[] = [];
  readonly opened: Connection[] = [];
  readonly closed: string[] = [];
  /** In DER. */
  readonly certificates: Buffer[] = [];
  overLimit = 0;
  received = '';
  /** Handles the bytes instead of `received`. */
  onBytes: ((connection: Connection, bytes: Buffer) => void) | undefined;
  transport!: Transport;
  port = 0;
  #identity!: TlsIdentity;

  static async start(
    Transport: Implementation,
    files: Pick<TlsFiles, 'certificates'> & Partial<TlsFiles>,
    connectionsMax = 20,
  ): Promise<TlsServer> {
    const server = new TlsServer();
    const usual = { ticketKeys: [], minVersion: 'TLSv1.2', clients: undefined } as const;
    server.#identity = await TlsIdentity.open(
      { ...usual, startsPlain: false, ...files },
      (failure) => server.failures.push(failure),
      pino({ level: 'silent' }),
    );
    const limits = { connectionsMax, sendBufferBytesMax: 64 * 1024 };
    server.transport = new Transport(server.#events(), limits, server.#identity);
    server.port = await server.transport.listen('127.0.0.1', 0);
    return server;
  }

  async stop(): Promise<void> {
    this.#identity.close();
    await this.transport.close();
  }

  #events(): TransportEvents {
    return {
      onOpen: (connection) => void this.opened.push(connection),
      onBytes: (connection, bytes) => {
        if (this.onBytes !== undefined) this.onBytes(connection, bytes);
        else this.received += bytes;
      },
      onClientCertificate: (_, certificate) =>
        void this.certificates.push(Buffer.from(certificate)),
      onEnd: (connection) => this.transport.end(connection),
      onClose: (_, cause) => void this.closed.push(cause),
      onOverLimit: () => {
        this.overLimit++;
      },
      onTimer: () => {},
    };
  }
}
