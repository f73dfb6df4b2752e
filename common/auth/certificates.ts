/** Client certificates whose authority has been verified: of backends, links and devices. */
import { X509Certificate } from 'node:crypto';
import type { PeerCertificate } from 'node:tls';
import { type Rejection, rejection } from '../process/errors.js';
import { unixMs } from '../process/time/clock.js';
import { NO_GROUPS } from './claims/group-claims.js';
import type { VerifiedToken } from './verified-cache.js';

const ALTERNATIVE = /^(?:DNS|URI):(.+)$/;

/** Returns the common name, and the DNS names and URIs of the subject alternative name. */
export function certificateNames(certificate: PeerCertificate | undefined): string[] {
  if (certificate === undefined) return [];
  const { subject, subjectaltname = '' } = certificate;
  // Node returns several common names as a list; it is ambiguous which one identifies the peer.
  const common: unknown = subject?.CN;
  const names = typeof common === 'string' ? [common] : [];
  // Node quotes a name that contains a comma, which could otherwise be read as two names. No valid
  // name needs quotes, so a certificate with one has no alternative names.
  if (subjectaltname.includes('"')) return names;
  for (const alternative of subjectaltname.split(', ')) {
    const name = ALTERNATIVE.exec(alternative)?.[1];
    if (name !== undefined) names.push(name);
  }
  return names;
}

export interface DeviceCertificate extends Omit<VerifiedToken, 'clientId'> {
  /** Undefined: there is no common name, or more than one. */
  readonly clientId: string | undefined;
}

/** @param der a certificate whose authority was verified */
export function readDeviceCertificate(der: Buffer): DeviceCertificate {
  const certificate = new X509Certificate(der);
  // Node returns several common names as a list.
  const name: unknown = certificate.toLegacyObject().subject?.CN;
  return {
    clientId: typeof name === 'string' ? name : undefined,
    expiresAtMs: Date.parse(certificate.validTo),
    // No token, so none that can be revoked.
    issuedAtMs: Number.POSITIVE_INFINITY,
    labels: '',
    groups: NO_GROUPS,
  };
}

/** Whether the device may connect as this client. */
export function checkDeviceCertificate(
  certificate: DeviceCertificate,
  clientId: string,
): Omit<DeviceCertificate, 'clientId'> | Rejection {
  const { expiresAtMs, issuedAtMs, labels, groups } = certificate;
  if (certificate.clientId === undefined) {
    const message = 'the client certificate must have exactly one common name (CN)';
    return rejection('UNAUTHENTICATED', message);
  }
  if (certificate.clientId !== clientId) {
    return rejection('PERMISSION_DENIED', 'the client certificate is for another clientId');
  }
  // The authority was not asked again if a TLS session was resumed.
  if (expiresAtMs <= unixMs()) {
    return rejection('TOKEN_EXPIRED', 'the client certificate has expired; get a new one');
  }
  return { expiresAtMs, issuedAtMs, labels, groups };
}
