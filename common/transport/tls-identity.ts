/**
 * The certificates of a TLS server: one, or several that are selected by the client's server name
 * (SNI, RFC 6066 §3). Certificate and key files are watched: changed files apply to new handshakes,
 * and open connections stay.
 */
import { X509Certificate } from 'node:crypto';
import type { ServerOpts } from 'node:net';
import { createSecureContext, createServer, type SecureContext, type Server } from 'node:tls';
import type { Logger } from '../process/log.js';
import { WatchedFiles } from '../process/watched-files.js';

/** Paths of PEM files; intermediate certificates follow the certificate in `cert`. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

const HANDSHAKE_MS = 10_000;
const OPTIONS = { minVersion: 'TLSv1.2', handshakeTimeout: HANDSHAKE_MS } as const;

interface NamedContext {
  /** In lower case; `*.` matches one label (RFC 6125 §6.4.3). */
  readonly names: readonly string[];
  readonly context: SecureContext;
}

export class TlsIdentity {
  #servers: Server[] = [];
  #contexts: readonly NamedContext[] = [];
  /** For clients whose server name matches no certificate. */
  #default!: { readonly cert: Buffer; readonly key: Buffer };
  #files: WatchedFiles | undefined;

  private constructor(readonly onHandshakeFailed: () => void) {}

  /**
   * @param files the first certificate is used for server names that match none
   * @throws EnvironmentError when a file cannot be read or is invalid
   */
  static async open(
    files: readonly TlsFiles[],
    onHandshakeFailed: () => void,
    log: Logger,
  ): Promise<TlsIdentity> {
    const identity = new TlsIdentity(onHandshakeFailed);
    const paths = files.flatMap(({ cert, key }) => [cert, key]);
    identity.#files = await WatchedFiles.open(paths, (contents) => identity.#apply(contents), log);
    return identity;
  }

  createServer(options: ServerOpts): Server {
    const server = createServer({
      ...options,
      ...OPTIONS,
      ...this.#default,
      SNICallback: (name, done) => done(null, this.#find(name)),
    });
    // The client disconnected, timed out, does not speak TLS, or supports no common version or
    // cipher. With a listener for this event, Node does not close the socket itself.
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

  #apply(contents: readonly Buffer[]): void {
    const pairs = Array.from({ length: contents.length / 2 }, (_, i) => ({
      cert: contents[2 * i]!,
      key: contents[2 * i + 1]!,
    }));
    // Throws if a key does not match its certificate.
    this.#contexts = pairs.map((pair) => ({
      names: dnsNames(pair.cert),
      context: createSecureContext({ ...OPTIONS, ...pair }),
    }));
    this.#default = pairs[0]!;
    for (const server of this.#servers) server.setSecureContext({ ...OPTIONS, ...this.#default });
  }

  /** Undefined: no certificate matches, and Node uses the default. */
  #find(serverName: string): SecureContext | undefined {
    const name = serverName.toLowerCase();
    const wildcard = name.replace(/^[^.]+/, '*');
    const contextOf = (pattern: string) =>
      this.#contexts.find(({ names }) => names.includes(pattern))?.context;
    return contextOf(name) ?? contextOf(wildcard);
  }
}

function dnsNames(pem: Buffer): string[] {
  const { subjectAltName = '' } = new X509Certificate(pem);
  return subjectAltName.split(', ').flatMap((alternative) => {
    return alternative.startsWith('DNS:') ? [alternative.slice(4).toLowerCase()] : [];
  });
}
