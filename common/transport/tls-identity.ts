/**
 * The certificates of a TLS server: one, or several that are selected by the client's server name
 * (SNI, RFC 6066 §3). Certificate and key files are watched: changed files apply to new handshakes,
 * and open connections stay.
 */
import { createHash, X509Certificate } from 'node:crypto';
import {
  createSecureContext,
  createServer,
  type SecureContext,
  type Server,
  type TLSSocket,
} from 'node:tls';
import type { Logger } from '../process/log.js';
import { WatchedFiles } from '../process/watched-files.js';
import { type TlsFailure, tlsFailureOf } from './tls-failures.js';

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
  /** Undefined: no client certificate is requested. */
  readonly clients: ClientCertificates | undefined;
  /** Connections open without TLS, and the handshake starts with `Transport.secure`. */
  readonly startsPlain: boolean;
}

export interface ClientCertificates {
  /** Path of a PEM file with the authorities that issue them. */
  readonly ca: string;
  readonly isRequired: boolean;
}

const HANDSHAKE_MS = 10_000;
/** Name, HMAC key and AES key of 16 bytes each, as in Node's `ticketKeys`. */
const TICKET_KEY_BYTES = 48;
/** SSL_MAX_SID_CTX_LENGTH of OpenSSL. */
const SESSION_CONTEXT_CHARACTERS_MAX = 32;

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
  /** PEM: the authorities of client certificates. */
  readonly clientCa: Buffer | undefined;
}

export class TlsIdentity {
  readonly #users: ((material: TlsMaterial) => void)[] = [];
  #contexts: readonly NamedContext[] = [];
  #ticketKeys: readonly Buffer[] = [];
  #clientCa: Buffer | undefined;
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
    const authorities = files.clients === undefined ? [] : [files.clients.ca];
    const paths = [...pairs, ...files.ticketKeys, ...authorities];
    identity.#watched = await WatchedFiles.open(paths, (bytes) => identity.#apply(bytes), log);
    return identity;
  }

  /** Calls `use` now, and whenever a file has changed. */
  onChange(use: (material: TlsMaterial) => void): void {
    this.#users.push(use);
    use(this.#material);
  }

  /** Node's TLS: a server that does not listen, and is given its connections. */
  createServer(): Server {
    const { clients, minVersion } = this.files;
    const server = createServer({
      ALPNProtocols: ['http/1.1', 'mqtt'],
      handshakeTimeout: HANDSHAKE_MS,
      SNICallback: (name, done) => done(null, this.#find(name)),
      requestCert: clients !== undefined,
      // `isRejected` decides, so that rejections are counted.
      rejectUnauthorized: false,
    });
    // With a listener for this event, Node does not close the socket itself.
    server.on('tlsClientError', (error, socket) => {
      socket.destroy();
      this.onFailed(tlsFailureOf(error));
    });
    this.onChange(({ certificates, ticketKeys, clientCa }) => {
      const { cert, key } = certificates[0]!;
      server.setSecureContext({ minVersion, cert, key, ...authorities(clientCa) });
      // The server takes one key.
      if (ticketKeys.length > 0) server.setTicketKeys(ticketKeys[0]!);
    });
    return server;
  }

  /** Whether a client of Node's server may not connect, because of its certificate. */
  isRejected(socket: TLSSocket): boolean {
    const hasCertificate = socket.getPeerX509Certificate() !== undefined;
    if (hasCertificate ? socket.authorized : !this.files.clients?.isRequired) return false;
    this.onFailed('certificate_rejected');
    return true;
  }

  close(): void {
    this.#watched?.close();
  }

  #apply(contents: readonly Buffer[]): void {
    const { certificates, ticketKeys, minVersion, clients } = this.files;
    const rest = contents.slice(2 * certificates.length);
    const keys = rest.slice(0, ticketKeys.length);
    const clientCa = rest[ticketKeys.length];
    const invalid = keys.findIndex(({ length }) => length !== TICKET_KEY_BYTES);
    if (invalid >= 0) {
      const { length } = keys[invalid]!;
      throw new Error(`${ticketKeys[invalid]} has ${length} bytes instead of ${TICKET_KEY_BYTES}`);
    }
    // Throws unless all of them are valid.
    if (clientCa !== undefined) checkAuthorities(clients!.ca, clientCa);
    this.#contexts = certificates.map((_, i) => {
      const pair = { cert: contents[2 * i]!, key: contents[2 * i + 1]! };
      // Throws if the key does not match the certificate.
      return {
        ...pair,
        names: dnsNames(pair.cert),
        context: createSecureContext({ minVersion, ...pair, ...authorities(clientCa) }),
      };
    });
    this.#ticketKeys = keys;
    this.#clientCa = clientCa;
    for (const use of this.#users) use(this.#material);
  }

  get #material(): TlsMaterial {
    const [certificates, ticketKeys] = [this.#contexts, this.#ticketKeys];
    return { certificates, ticketKeys, clientCa: this.#clientCa };
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

/** A session is resumed without its certificate, so only under the same authorities. */
function authorities(clientCa: Buffer | undefined): { ca?: Buffer; sessionIdContext?: string } {
  if (clientCa === undefined) return {};
  const digest = createHash('sha256').update(clientCa).digest('hex');
  return { ca: clientCa, sessionIdContext: digest.slice(0, SESSION_CONTEXT_CHARACTERS_MAX) };
}

/** @throws when the file has no certificate, or an invalid one, which OpenSSL would pass over */
function checkAuthorities(path: string, pem: Buffer): void {
  const certificates = String(pem)
    .split(/(?=^-----BEGIN )/m)
    .filter((part) => part.startsWith('-'));
  if (certificates.length === 0) throw new Error(`${path} contains no certificate in PEM`);
  for (const [i, certificate] of certificates.entries()) {
    try {
      new X509Certificate(certificate);
    } catch {
      throw new Error(`part ${i + 1} of ${path} is no valid certificate in PEM`);
    }
  }
}

function dnsNames(pem: Buffer): string[] {
  const { subjectAltName = '' } = new X509Certificate(pem);
  return subjectAltName.split(', ').flatMap((alternative) => {
    return alternative.startsWith('DNS:') ? [alternative.slice(4).toLowerCase()] : [];
  });
}
