/**
 * IP addresses as 16 bytes, so that both families compare alike. An IPv4 address is represented as
 * an IPv4-mapped IPv6 address, ::ffff:0:0/96 (RFC 4291 §2.5.5.2), as on dual-stack sockets.
 */
import { isIP, isIPv4 } from 'node:net';

/** Address and port of one end of a connection. */
export interface Endpoint {
  /** 16 bytes. */
  readonly ip: Buffer;
  readonly port: number;
}

const IPV4_PREFIX = Buffer.from('00000000000000000000ffff', 'hex');
const ENDPOINT = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/;

/** True for an IPv4 address. */
export function isIpv4Mapped(ip: Buffer): boolean {
  return ip.subarray(0, IPV4_PREFIX.length).equals(IPV4_PREFIX);
}

/** Returns the unspecified address of the same family (0.0.0.0 or ::), with port 0. */
export function unspecifiedAddress({ ip }: Endpoint): Endpoint {
  return { ip: isIpv4Mapped(ip) ? ipBytes('0.0.0.0')! : Buffer.alloc(16), port: 0 };
}

/** Returns 16 bytes; undefined for text that is not an address or has a zone (`%eth0`). */
export function ipBytes(text: string): Buffer | undefined {
  if (isIP(text) === 0 || text.includes('%')) return undefined;
  if (isIPv4(text)) return Buffer.concat([IPV4_PREFIX, ipv4Bytes(text)]);
  const [head, tail] = text.split('::', 2);
  const before = groupBytes(head!);
  const after = tail === undefined ? Buffer.alloc(0) : groupBytes(tail);
  const zeros = Buffer.alloc(16 - before.length - after.length);
  return Buffer.concat([before, zeros, after]);
}

/** @param ip 16 bytes, or the 4 bytes of an IPv4 address */
export function ipText(ip: Buffer): string {
  if (ip.length === 4) return ip.join('.');
  if (isIpv4Mapped(ip)) return ip.subarray(IPV4_PREFIX.length).join('.');
  const groups = [0, 2, 4, 6, 8, 10, 12, 14].map((at) => ip.readUInt16BE(at).toString(16));
  // The URL standard serialises addresses as RFC 5952 does.
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}

/** Parses `address:port` or `[address]:port`; undefined for other text. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const match = ENDPOINT.exec(text);
  const ip = match === null ? undefined : ipBytes((match[1] ?? match[2])!);
  const port = Number(match?.[3]);
  return ip === undefined || port > 65_535 ? undefined : { ip, port };
}

export function endpointText({ ip, port }: Endpoint): string {
  return isIpv4Mapped(ip) ? `${ipText(ip)}:${port}` : `[${ipText(ip)}]:${port}`;
}

/**
 * `address:port` of a socket's peer. On a dual-stack socket an IPv4 peer has an IPv4-mapped
 * address, and a link-local peer has a zone; neither is part of what the peer is called.
 */
export function peerText(address: string, port: number): string {
  const ip = ipBytes(address.split('%', 1)[0]!);
  return endpointText({ ip: ip!, port });
}

function ipv4Bytes(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number));
}

/** Parses groups of 16 bits; the last two may be written as an IPv4 address. */
function groupBytes(text: string): Buffer {
  const parts = text === '' ? [] : text.split(':');
  return Buffer.concat(
    parts.map((part) =>
      part.includes('.') ? ipv4Bytes(part) : Buffer.from(part.padStart(4, '0'), 'hex'),
    ),
  );
}
