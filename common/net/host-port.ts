/**
 * Hosts and ports as text: the only place that joins and splits them. An IPv6 address has colons of
 * its own, so it is in brackets before a port (RFC 3986 §3.2.2). Brackets around an IPv4 address
 * are accepted, too: `[$(POD_IP)]:7000` is then valid in clusters of either family.
 */
import { isIP, isIPv6 } from 'node:net';

export interface HostPort {
  /** Host name or address, without brackets. */
  readonly host: string;
  readonly port: number;
}

const PORT = /^(.*):(\d+)$/s;
const ORIGIN_URL = /^(https?):\/\/([^/\s?#]+)$/i;
/** An IPv6 address with a zone, such as `fe80::1%eth0`, is valid on one machine only. */
const ZONE = /^\[?[0-9a-f.]*:[0-9a-f:.]*%/i;
const LABEL = '[\\p{L}\\p{N}_](?:[\\p{L}\\p{M}\\p{N}_-]*[\\p{L}\\p{M}\\p{N}_])?';
const NAME = new RegExp(`^(?=.{1,253}$)${LABEL}(?:\\.${LABEL})*\\.?$`, 'u');
/** The URL standard takes a name that ends like this for an IPv4 address. */
const ENDS_IN_NUMBER = /(?:^|\.)(?:\d+|0x[0-9a-f]*)\.?$/i;

/** `host:port`, with an IPv6 address in brackets. */
export function joinHostPort(host: string, port: number): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Returns undefined for text that is not `host:port`. */
export function parseHostPort(text: string): HostPort | undefined {
  return hostPortProblem(text) === undefined ? split(text) : undefined;
}

/** Returns what is wrong with text that must be `host:port`; undefined if it is valid. */
export function hostPortProblem(text: string): string | undefined {
  const expected = 'expected host:port, with an IPv6 address in brackets: [2001:db8::1]:7000';
  if (text.includes('://')) return `${JSON.stringify(text)} is a URL; ${expected}`;
  const problem = authorityProblem(text) ?? (PORT.test(text) ? undefined : 'has no port');
  return problem && `${JSON.stringify(text)} ${problem}; ${expected}`;
}

/** Returns what is wrong with text that must be a URL of scheme, host and port. */
export function originUrlProblem(text: string): string | undefined {
  const [, , authority] = ORIGIN_URL.exec(text) ?? [];
  const problem = authority === undefined ? 'is no such URL' : authorityProblem(authority);
  const expected = 'expected scheme, host and port without a path: http://[2001:db8::1]:7000';
  return problem && `${JSON.stringify(text)} ${problem}; ${expected}`;
}

/** Removes the brackets around an IPv4 address in text without `originUrlProblem`. */
export function canonicalOriginUrl(text: string): string {
  const [, scheme, authority] = ORIGIN_URL.exec(text)!;
  if (!PORT.test(authority!)) {
    const host = withoutBrackets(authority!);
    return `${scheme}://${isIPv6(host) ? `[${host}]` : host}`;
  }
  const { host, port } = split(authority!);
  return `${scheme}://${joinHostPort(host, port)}`;
}

/** Returns what is wrong with text that must be a host to listen on; undefined if it is valid. */
export function hostProblem(text: string): string | undefined {
  const expected = 'expected an address such as ::, ::1 or 0.0.0.0, or a host name';
  const [, before] = PORT.exec(text) ?? [];
  let problem: string | undefined;
  if (ZONE.test(text)) problem = 'has a zone, which is not supported';
  else if (isHost(text)) return undefined;
  else if (before !== undefined && isHost(before)) {
    problem = 'has a port, and each port has a setting of its own';
  } else problem = 'is neither an address nor a host name';
  return `${JSON.stringify(text)} ${problem}; ${expected}`;
}

/** Removes the brackets around an address. */
export function withoutBrackets(host: string): string {
  return host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
}

/** Returns host and port of a URL; the default port is that of its scheme. */
export function hostPortOf(url: string): HostPort {
  const { hostname, port, protocol } = new URL(url);
  const defaultPort = protocol === 'https:' ? 443 : 80;
  return { host: withoutBrackets(hostname), port: port === '' ? defaultPort : Number(port) };
}

/** Requires that text ends with a port. */
function split(text: string): HostPort {
  const [, host, port] = PORT.exec(text)!;
  return { host: withoutBrackets(host!), port: Number(port) };
}

/** Returns what is wrong with text that must be a host, with or without a port. */
function authorityProblem(text: string): string | undefined {
  if (ZONE.test(text)) return 'has a zone, which only one machine knows';
  const [, host = text, port] = PORT.exec(text) ?? [];
  if (isIPv6(text) || isIPv6(host)) return 'has an IPv6 address without brackets';
  if (!isHost(host)) return 'has no valid host';
  const isPort = port === undefined || (Number(port) >= 1 && Number(port) <= 65_535);
  return isPort ? undefined : `has port ${port}, and ports are from 1 to 65535`;
}

/** @param text in brackets, only an address is valid */
function isHost(text: string): boolean {
  if (isIP(withoutBrackets(text)) !== 0) return true;
  return NAME.test(text) && !ENDS_IN_NUMBER.test(text);
}
