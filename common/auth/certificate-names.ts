/** Names in a client certificate whose authority has been verified. */
import type { PeerCertificate } from 'node:tls';

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
