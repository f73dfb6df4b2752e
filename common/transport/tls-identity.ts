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
import type { TlsFailure } from './tls-failures.js';

/** Paths of PEM files; intermediate certificates follow the certificate in `cert`. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

const HANDSHAKE_MS = 10_000;
const OPTIONS = { minVersion: 'TLSv1.2', handshakeTimeout: HANDSHAKE_MS } as const;

export interface NamedCertificate {
  /** PEM: the certificate, then intermediate ones. */
  readonly cert: Buffer;
  /** PEM. */
  readonly key: Buffer;
  /** Server names, in lower case; `*.` matches one label (RFC 6125 §6.4.3). */
  readonly names: readonly string[];
}

type NamedContext = NamedCertificate & { readonly context: SecureContext };

/** Takes at least one. */
type UseCertificates = (certificates: readonly [NamedCertificate, ...NamedCertificate[]]) => void;

export class TlsIdentity {
  readonly #users: UseCertificates[] = [];
  /** The first is for clients whose server name matches no certificate. */
  #contexts!: readonly [NamedContext, ...NamedContext[]];
  #files: WatchedFiles | undefined;

  private constructor(readonly onFailed: (failure: TlsFailure) => void) {}

  /**
   * @param files the first certificate is used for server names that match none
   * @throws EnvironmentError when a file cannot be read or is invalid
   */
  static async open(
    files: readonly TlsFiles[],
    onFailed: (failure: TlsFailure) => void,
    log: Logger,
  ): Promise<TlsIdentity> {
    const identity = new TlsIdentity(onFailed);
    const paths = files.flatMap(({ cert, key }) => [cert, key]);
    identity.#files = await WatchedFiles.open(paths, (contents) => identity.#apply(contents), log);
    return identity;
  }

  /** Calls `use` now, and whenever the certificates have changed. */
  onCertificates(use: UseCertificates): void {
    this.#users.push(use);
    use(this.#contexts);
  }

  /** A server with Node's TLS. */
  createServer(options: ServerOpts): Server {
    const server = createServer({
      ...options,
      ...OPTIONS,
      SNICallback: (name, done) => done(null, this.#find(name)),
    });
    // The client disconnected, timed out, does not speak TLS, or supports no common version or
    // cipher. With a listener for this event, Node does not close the socket itself.
    server.on('tlsClientError', (_error, socket) => {
      socket.destroy();
      this.onFailed('handshake_failed');
    });
    this.onCertificates(([{ cert, key }]) => server.setSecureContext({ ...OPTIONS, cert, key }));
    return server;
  }

  close(): void {
    this.#files?.close();
  }

  #apply(contents: readonly Buffer[]): void {
    const contextAt = (i: number): NamedContext => {
      const pair = { cert: contents[2 * i]!, key: contents[2 * i + 1]! };
      // Throws if the key does not match the certificate.
      const context = createSecureContext({ ...OPTIONS, ...pair });
      return { ...pair, context, names: dnsNames(pair.cert) };
    };
    const others = Array.from({ length: contents.length / 2 - 1 }, (_, i) => contextAt(i + 1));
    this.#contexts = [contextAt(0), ...others];
    for (const use of this.#users) use(this.#contexts);
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
