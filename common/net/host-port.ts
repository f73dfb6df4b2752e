/** `host:port` as settings and processes write it, an IPv6 address in brackets (RFC 3986 §3.2.2). */

export interface HostPort {
  /** A name or an address, without brackets. */
  readonly host: string;
  readonly port: number;
}

const HOST_PORT = /^(?:\[([0-9a-f:.]+)\]|([^\s:/?#@[\]]+)):(\d{1,5})$/i;

/** Undefined for what is no `host:port`. */
export function parseHostPort(text: string): HostPort | undefined {
  const [, bracketed, plain, digits] = HOST_PORT.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port < 1 || port > 65_535) return undefined;
  return { host: (bracketed ?? plain)!, port };
}

/** Of a URL, with the port that its scheme implies. */
export function hostPortOf(url: string): HostPort {
  const { hostname, port, protocol } = new URL(url);
  const implied = protocol === 'https:' ? 443 : 80;
  return { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? implied : Number(port) };
}
