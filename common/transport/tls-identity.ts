/**
 * What a TLS server shows of itself: one certificate, or several of which the client's server name
 * (SNI, RFC 6066 §3) chooses. Certificates and keys are watched: what is new counts for the
 * handshakes that come after it, and connections that are open stay.
 */
import { X509Certificate } from 'node:crypto';
import type { ServerOpts } from 'node:net';
import { createSecureContext, createServer, type SecureContext, type Server } from 'node:tls';
import type { Logger } from '../process/log.js';
import { WatchedFiles } from '../process/watched-files.js';

/** Paths of PEM files; a certificate is followed by what lies between it and its authority. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

const HANDSHAKE_MS = 10_000;
const OPTIONS = { minVersion: 'TLSv1.2', handshakeTimeout: HANDSHAKE_MS } as const;

interface Named {
  /** Lower-case; `*.` stands for one label (RFC 6125 §6.4.3). */
  readonly names: readonly string[];
  readonly context: SecureContext;
}

export class TlsIdentity {
  #servers: Server[] = [];
  #named: readonly Named[] = [];
  /** For clients that name nobody whom we know. */
  #first!: { readonly cert: Buffer; readonly key: Buffer };
  #files: WatchedFiles | undefined;

  private constructor(readonly onHandshakeFailed: () => void) {}

  /**
   * @param files the first one is shown to clients that name nobody whom we know
   * @throws EnvironmentError when they are of no use
   */
  static async open(
    files: readonly TlsFiles[],
    onHandshakeFailed: () => void,
    log: Logger,
  ): Promise<TlsIdentity> {
    const identity = new TlsIdentity(onHandshakeFailed);
    const paths = files.flatMap(({ cert, key }) => [cert, key]);
    identity.#files = await WatchedFiles.open(paths, (all) => identity.#take(all), log);
    return identity;
  }

  createServer(options: ServerOpts): Server {
    const server = createServer({
      ...options,
      ...OPTIONS,
      ...this.#first,
      SNICallback: (name, done) => done(null, this.#find(name)),
    });
    // The peer has gone, is too slow, speaks no TLS, or wants what we have not. Node leaves it to
    // whoever listens here to close the connection; it would stay open for ever.
    server.on('tlsClientError', (_error, socket) => {
      socket.destroy();
      this.onHandshakeFailed();
    });
    this.#servers.push(server);
    return server;
  }

  close(): void {
    this.#files?.close();
  }

  #take(contents: readonly Buffer[]): void {
    const pairs = Array.from({ length: contents.length / 2 }, (_, i) => ({
      cert: contents[2 * i]!,
      key: contents[2 * i + 1]!,
    }));
    // Throws when a key is not that of its certificate.
    this.#named = pairs.map((pair) => ({
      names: dnsNames(pair.cert),
      context: createSecureContext({ ...OPTIONS, ...pair }),
    }));
    this.#first = pairs[0]!;
    for (const server of this.#servers) server.setSecureContext({ ...OPTIONS, ...this.#first });
  }

  /** Undefined: the first one. */
  #find(serverName: string): SecureContext | undefined {
    const name = serverName.toLowerCase();
    const wildcard = name.replace(/^[^.]+/, '*');
    const matches = (wanted: string) => this.#named.find(({ names }) => names.includes(wanted));
    return (matches(name) ?? matches(wildcard))?.context;
  }
}

function dnsNames(pem: Buffer): string[] {
  const { subjectAltName = '' } = new X509Certificate(pem);
  return subjectAltName.split(', ').flatMap((alternative) => {
    return alternative.startsWith('DNS:') ? [alternative.slice(4).toLowerCase()] : [];
  });
}
