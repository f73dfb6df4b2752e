/**
 * TLS for gRPC from files that may change: new certificates apply to new connections; open
 * connections stay.
 */
import { createSecureContext } from 'node:tls';
import {
  type ChannelCredentials,
  credentials,
  experimental,
  ServerCredentials,
} from '@grpc/grpc-js';
import type { Logger } from '../process/log.js';
import { WatchedFiles } from '../process/watched-files.js';
import type { GrpcTlsFiles, LinkTlsFiles } from './peer-settings.js';

type CaListener = Parameters<experimental.CertificateProvider['addCaCertificateListener']>[0];
type IdentityListener = Parameters<
  experimental.CertificateProvider['addIdentityCertificateListener']
>[0];

/** Provides the current certificates to the gRPC library, and notifies it of changes. */
class Certificates implements experimental.CertificateProvider {
  readonly #caListeners = new Set<CaListener>();
  readonly #identityListeners = new Set<IdentityListener>();
  #ca: Buffer | undefined;
  #identity: { readonly cert: Buffer; readonly key: Buffer } | undefined;

  /** @throws Error when key and certificate do not match; nothing has changed then */
  replace(ca: Buffer | undefined, cert: Buffer | undefined, key: Buffer | undefined): void {
    createSecureContext({ ca, cert, key });
    this.#ca = ca;
    this.#identity = cert && key && { cert, key };
    for (const listener of this.#caListeners) this.#notifyCa(listener);
    for (const listener of this.#identityListeners) this.#notifyIdentity(listener);
  }

  addCaCertificateListener(listener: CaListener): void {
    this.#caListeners.add(listener);
    // The library ignores a notification before addCaCertificateListener has returned.
    process.nextTick(() => this.#notifyCa(listener));
  }

  removeCaCertificateListener(listener: CaListener): void {
    this.#caListeners.delete(listener);
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.add(listener);
    process.nextTick(() => this.#notifyIdentity(listener));
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#identityListeners.delete(listener);
  }

  #notifyCa(listener: CaListener): void {
    listener(this.#ca ? { caCertificate: this.#ca } : null);
  }

  #notifyIdentity(listener: IdentityListener): void {
    const identity = this.#identity;
    listener(identity ? { certificate: identity.cert, privateKey: identity.key } : null);
  }
}

/**
 * Creates the credentials of a gRPC server. A client certificate is requested but not required: a
 * client may have a token instead, and a health probe needs neither.
 * @param files undefined: without TLS
 * @throws EnvironmentError when the files cannot be used
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
    ([newCert, newKey, newCa]) => certificates.replace(newCa, newCert, newKey),
    log,
  );
  // Despite its name (caCertificateProvider), the first parameter provides the server certificate.
  return experimental.createCertificateProviderServerCredentials(
    certificates,
    clientCa === undefined ? null : certificates,
    false,
  );
}

/**
 * Creates the credentials of links to control.
 * @param files undefined: without TLS
 * @throws EnvironmentError when the files cannot be used
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
    ([newCa, newCert, newKey]) => certificates.replace(newCa, newCert, newKey),
    log,
  );
  return experimental.createCertificateProviderChannelCredentials(
    certificates,
    own === undefined ? null : certificates,
  );
}
