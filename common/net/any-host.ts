/** The address of all sockets that accept both families, and what replaces it without IPv6. */
import { createServer } from 'node:net';

/** Linux, macOS and Windows accept IPv4 on it, too, unless a socket asks not to (RFC 3493 §5.3). */
export const ANY_HOST = '::';
export const ANY_IPV4_HOST = '0.0.0.0';

/** Errors of a kernel without IPv6: it was built, booted or configured so. */
const NO_IPV6: readonly string[] = ['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL', 'EPROTONOSUPPORT'];

/** Returns the host to listen on: `host`, or 0.0.0.0 in place of `::` on a machine without IPv6. */
export async function listenableHost(host: string): Promise<string> {
  return host === ANY_HOST && !(await hasIpv6()) ? ANY_IPV4_HOST : host;
}

/** Resolves with whether a socket can be bound to an IPv6 address. */
export function hasIpv6(): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', ({ code }: NodeJS.ErrnoException) => resolve(!NO_IPV6.includes(code!)));
    probe.listen(0, ANY_HOST, () => probe.close(() => resolve(true)));
  });
}
