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
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

export interface TlsFiles {
  /** The first is used for server names that match none. */
  readonly certificates: readonly CertificateFiles[];
  /** Paths of files with 48 bytes each; the first seals session tickets. */
  readonly ticketKeys: readonly string[];
  readonly minVersion: 'TLSv1.2' | 'TLSv1.3';
}

const HANDSHAKE_MS = 10_000;
/** Name, HMAC key and AES key of 16 bytes each, as in Node's `ticketKeys`. */
const TICKET_KEY_BYTES = 48;

export interface NamedCertificate {
  /** PEM: the certificate, then intermediate ones. */
  readonly cert: Buffer;
  /** PEM. */
  readonly key: Buffer;
  /** Server names, in lower case; `*.` matches one label (RFC 6125 §6.4.3). */
  readonly names: readonly string[];
}

type NamedContext = NamedCertificate & { readonly context: SecureContext };

/** Certificates and keys for handshakes. */
export interface TlsMaterial {
  readonly certificates: readonly NamedCertificate[];
  /** Empty: the transport makes one. */
  readonly ticketKeys: readonly Buffer[];
}

export class TlsIdentity {
  readonly #users: ((material: TlsMaterial) => void)[] = [];
  #contexts: readonly NamedContext[] = [];
  #ticketKeys: readonly Buffer[] = [];
  #watched: WatchedFiles | undefined;

  private constructor(
    readonly files: TlsFiles,
    readonly onFailed: (failure: TlsFailure) => void,
  ) {}

  /** @throws EnvironmentError when a file cannot be read or is invalid */
  static async open(
    files: TlsFiles,
    onFailed: (failure: TlsFailure) => void,
    log: Logger,
  ): Promise<TlsIdentity> {
    const identity = new TlsIdentity(files, onFailed);
    const pairs = files.certificates.flatMap(({ cert, key }) => [cert, key]);
    const paths = [...pairs, ...files.ticketKeys];
    identity.#watched = await WatchedFiles.open(paths, (bytes) => identity.#apply(bytes), log);
    return identity;
  }

  /** Calls `use` now, and whenever a file has changed. */
  onChange(use: (material: TlsMaterial) => void): void {
    this.#users.push(use);
    use(this.#material);
  }

  /** A server with Node's TLS. */
  createServer(options: ServerOpts): Server {
    const server = createServer({
      ...options,
      handshakeTimeout: HANDSHAKE_MS,
      SNICallback: (name, done) => done(null, this.#find(name)),
    });
    // The client disconnected, timed out, does not speak TLS, or supports no common version or
    // cipher. With a listener for this event, Node does not close the socket itself.
    server.on('tlsClientError', (_error, socket) => {
      socket.destroy();
      this.onFailed('handshake_failed');
    });
    this.onChange(({ certificates, ticketKeys }) => {
      const { cert, key } = certificates[0]!;
      server.setSecureContext({ minVersion: this.files.minVersion, cert, key });
      // The server takes one key.
      if (ticketKeys.length > 0) server.setTicketKeys(ticketKeys[0]!);
    });
    return server;
  }

  close(): void {
    this.#watched?.close();
  }

  #apply(contents: readonly Buffer[]): void {
    const { certificates, ticketKeys, minVersion } = this.files;
    const keys = contents.slice(2 * certificates.length);
    const invalid = keys.findIndex(({ length }) => length !== TICKET_KEY_BYTES);
    if (invalid >= 0) {
      const { length } = keys[invalid]!;
      throw new Error(`${ticketKeys[invalid]} has ${length} bytes instead of ${TICKET_KEY_BYTES}`);
    }
    this.#contexts = certificates.map((_, i) => {
      const pair = { cert: contents[2 * i]!, key: contents[2 * i + 1]! };
      // Throws if the key does not match the certificate.
      return {
        ...pair,
        names: dnsNames(pair.cert),
        context: createSecureContext({ minVersion, ...pair }),
      };
    });
    this.#ticketKeys = keys;
    for (const use of this.#users) use(this.#material);
  }

  get #material(): TlsMaterial {
    return { certificates: this.#contexts, ticketKeys: this.#ticketKeys };
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
