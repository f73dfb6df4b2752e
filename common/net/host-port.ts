/** `host:port`, with an IPv6 address in brackets (RFC 3986 §3.2.2). */

export interface HostPort {
  /** Host name or address, without brackets. */
  readonly host: string;
  readonly port: number;
}

const HOST_PORT = /^(?:\[([0-9a-f:.]+)\]|([^\s:/?#@[\]]+)):(\d{1,5})$/i;

/** Returns undefined for text that is not `host:port`. */
export function parseHostPort(text: string): HostPort | undefined {
  const [, bracketed, plain, digits] = HOST_PORT.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port < 1 || port > 65_535) return undefined;
  return { host: (bracketed ?? plain)!, port };
}

/** Returns host and port of a URL; the default port is that of its scheme. */
export function hostPortOf(url: string): HostPort {
  const { hostname, port, protocol } = new URL(url);
  const defaultPort = protocol === 'https:' ? 443 : 80;
  return { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? defaultPort : Number(port) };
}
