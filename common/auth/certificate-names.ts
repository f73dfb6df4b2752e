/** Who a client certificate says that its holder is, once its authority was checked. */
import type { PeerCertificate } from 'node:tls';

const ALTERNATIVE = /^(?:DNS|URI):(.+)$/;

/** The common name, and the DNS names and URIs of the subject's alternative names. */
export function certificateNames(certificate: PeerCertificate | undefined): string[] {
  if (certificate === undefined) return [];
  const { subject, subjectaltname = '' } = certificate;
  // Two common names make a list: nobody knows which one was meant.
  const common: unknown = subject?.CN;
  const names = typeof common === 'string' ? [common] : [];
  // Node puts quotes around what has commas and the like in it. No name of ours has, and whoever
  // wants to look like two names has nothing else to say either.
  if (subjectaltname.includes('"')) return names;
  for (const alternative of subjectaltname.split(', ')) {
    const name = ALTERNATIVE.exec(alternative)?.[1];
    if (name !== undefined) names.push(name);
  }
  return names;
}
