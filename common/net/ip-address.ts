/**
 * IP addresses as 16 bytes, so that one comparison does for both families: an IPv4 address is an IPv6
 * address that begins with ::ffff (RFC 4291 §2.5.5.2), as sockets have it that hear both.
 */
import { isIP, isIPv4 } from 'node:net';

/** Where a connection comes from or goes to. */
export interface Endpoint {
  /** 16 bytes. */
  readonly ip: Buffer;
  readonly port: number;
}

const IPV4_PREFIX = Buffer.from('00000000000000000000ffff', 'hex');
const ENDPOINT = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/;

/** Whether the address is one of IPv4. */
export function isMapped(ip: Buffer): boolean {
  return ip.subarray(0, IPV4_PREFIX.length).equals(IPV4_PREFIX);
}

/** The unspecified address of the same family (0.0.0.0, ::), which stands for one that is not said. */
export function anyAddress({ ip }: Endpoint): Endpoint {
  return { ip: isMapped(ip) ? ipBytes('0.0.0.0')! : Buffer.alloc(16), port: 0 };
}

/** Undefined for what is no address; a zone (`%eth0`) is none of an address. */
export function ipBytes(text: string): Buffer | undefined {
  if (isIP(text) === 0 || text.includes('%')) return undefined;
  if (isIPv4(text)) return Buffer.concat([IPV4_PREFIX, ipv4Bytes(text)]);
  const [head, tail] = text.split('::', 2);
  const before = groupBytes(head!);
  const after = tail === undefined ? Buffer.alloc(0) : groupBytes(tail);
  const zeros = Buffer.alloc(16 - before.length - after.length);
  return Buffer.concat([before, zeros, after]);
}

/** Of 16 bytes, or of the 4 of an IPv4 address. */
export function ipText(ip: Buffer): string {
  if (ip.length === 4) return ip.join('.');
  if (isMapped(ip)) return ip.subarray(IPV4_PREFIX.length).join('.');
  const groups = [0, 2, 4, 6, 8, 10, 12, 14].map((at) => ip.readUInt16BE(at).toString(16));
  // The URL standard writes an address as RFC 5952 does.
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}

/** Reads `address:port`, or `[address]:port`, as the transport writes them. */
export function parseEndpoint(text: string): Endpoint | undefined {
  const match = ENDPOINT.exec(text);
  const ip = match === null ? undefined : ipBytes((match[1] ?? match[2])!);
  const port = Number(match?.[3]);
  return ip === undefined || port > 65_535 ? undefined : { ip, port };
}

export function endpointText({ ip, port }: Endpoint): string {
  return isMapped(ip) ? `${ipText(ip)}:${port}` : `[${ipText(ip)}]:${port}`;
}

function ipv4Bytes(text: string): Buffer {
  return Buffer.from(text.split('.').map(Number));
}

/** Groups of 16 bits, of which the last two may be written as an IPv4 address. */
function groupBytes(text: string): Buffer {
  const parts = text === '' ? [] : text.split(':');
  return Buffer.concat(
    parts.map((part) =>
      part.includes('.') ? ipv4Bytes(part) : Buffer.from(part.padStart(4, '0'), 'hex'),
    ),
  );
}
