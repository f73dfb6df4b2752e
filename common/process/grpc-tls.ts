/**
 * TLS of gRPC, from files that may change: what is new counts for connections that come after it,
 * and those that are open stay.
 */
import { createSecureContext } from 'node:tls';
import {
  type ChannelCredentials,
  credentials,
  experimental,
  ServerCredentials,
} from '@grpc/grpc-js';
import type { GrpcTlsFiles, LinkTlsFiles } from '../auth/peer-settings.js';
import type { Logger } from './log.js';
import { WatchedFiles } from './watched-files.js';

type CaListener = Parameters<experimental.CertificateProvider['addCaCertificateListener']>[0];
type IdentityListener = Parameters<
  experimental.CertificateProvider['addIdentityCertificateListener']
>[0];

/** Hands the library what is in force, now and when it changes. */
class Certificates implements experimental.CertificateProvider {
  readonly #caListeners = new Set<CaListener>();
  readonly #identityListeners = new Set<IdentityListener>();
  #ca: Buffer | undefined;
  #identity: { readonly cert: Buffer; readonly key: Buffer } | undefined;

  /** @throws Error when they do not fit together, and then nothing has changed */
  replace(ca: Buffer | undefined, cert: Buffer | undefined, key: Buffer | undefined): void {
    createSecureContext({ ca, cert, key });
    this.#ca = ca;
    this.#identity = cert && key && { cert, key };
    for (const listener of this.#caListeners) this.#tellCa(listener);
    for (const listener of this.#identityListeners) this.#tellIdentity(listener);
  }

  addCaCertificateListener(listener: CaListener): void {
    this.#caListeners.add(listener);
    // Whoever listens wants to hear it, and the library is deaf until it has returned from this.
    process.nextTick(() => this.#tellCa(listener));
  }

  removeCaCertificateListener(listener: CaListener): void {
    this.#caListeners.delete(listener);
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.add(listener);
    process.nextTick(() => this.#tellIdentity(listener));
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.delete(listener);
  }

  #tellCa(listener: CaListener): void {
    listener(this.#ca ? { caCertificate: this.#ca } : null);
  }

  #tellIdentity(listener: IdentityListener): void {
    const identity = this.#identity;
    listener(identity ? { certificate: identity.cert, privateKey: identity.key } : null);
  }
}

/**
 * What a gRPC server listens with. Whether a client has to show a certificate is not decided here: it
 * may have a token instead, and a probe of its health needs neither.
 * @param files undefined: without TLS
 * @throws EnvironmentError when the files are of no use
 */
export async function serverCredentials(
  files: GrpcTlsFiles | undefined,
  log: Logger,
): Promise<ServerCredentials> {
  if (files === undefined) return ServerCredentials.createInsecure();
  const certificates = new Certificates();
  const { cert, key, clientCa } = files;
  const paths = clientCa === undefined ? [cert, key] : [cert, key, clientCa];
  await WatchedFiles.open(
    paths,
    ([certNow, keyNow, caNow]) => certificates.replace(caNow, certNow, keyNow),
    log,
  );
  // The library calls its first parameter the authority's, and takes it for the server's own.
  return experimental.createCertificateProviderServerCredentials(
    certificates,
    clientCa === undefined ? null : certificates,
    false,
  );
}

/**
 * What links to control are opened with.
 * @param files undefined: without TLS
 * @throws EnvironmentError when the files are of no use
 */
export async function linkCredentials(
  files: LinkTlsFiles | undefined,
  log: Logger,
): Promise<ChannelCredentials> {
  if (files === undefined) return credentials.createInsecure();
  const certificates = new Certificates();
  const { ca, own } = files;
  await WatchedFiles.open(
    own === undefined ? [ca] : [ca, own.cert, own.key],
    ([caNow, certNow, keyNow]) => certificates.replace(caNow, certNow, keyNow),
    log,
  );
  return experimental.createCertificateProviderChannelCredentials(
    certificates,
    own === undefined ? null : certificates,
  );
}
