/**
 * The PROXY protocol, versions 1 and 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt): what a
 * proxy says about a connection before the first byte of its client, so that who is behind it still
 * sees the client's address.
 *
 * A header is as good as whoever sent it: it is read only when its sender is believed. Any other
 * sender is rejected, and not just ignored, because what a stranger writes there is a lie.
 */

import { type Endpoint, ipBytes, isMapped } from '../net/ip-address.js';
import { type Rejection, rejection } from '../process/errors.js';

export interface ProxyHeader {
  /** What follows is the client's. */
  readonly byteLength: number;
  /** The client; undefined: the proxy speaks for itself, or does not know. */
  readonly source: Endpoint | undefined;
  /** What else it says, by type (§2.2); of a type that comes twice, the last. */
  readonly extras: ReadonlyMap<number, Buffer>;
}

/** §2.1: 107 bytes, line end included, always hold a header of version 1. */
const V1_BYTES_MAX = 107;
const V1_START = Buffer.from('PROXY ');
const V1_TCP = /^PROXY TCP([46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (\d{1,5}) (\d{1,5})$/;
const V1_UNKNOWN = /^PROXY UNKNOWN(?: [^\r\n]*)?$/;
const CRLF = Buffer.from('\r\n');

const V2_SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const V2_START_BYTES = 16;
/** Addresses and extras. The largest that are known carry a certificate's names. */
const V2_REST_BYTES_MAX = 2_048;
const COMMAND = { local: 0, proxy: 1 };
/** What may go over a TCP connection, and how many bytes its two ends take (§2.2). */
const FAMILY = { unspecified: 0x00, tcp4: 0x11, tcp6: 0x21, unix: 0x31 };
const ADDRESS_BYTES = new Map([
  [FAMILY.unspecified, 0],
  [FAMILY.tcp4, 12],
  [FAMILY.tcp6, 36],
  [FAMILY.unix, 216],
]);

/**
 * Reads a header at the beginning of a connection's bytes.
 * @param isBelieved asked only when there is one
 * @returns 'none' when there is none, 'more' while that is not clear or it is not complete
 */
export function readProxyHeader(
  bytes: Buffer,
  isBelieved: () => boolean,
): ProxyHeader | Rejection | 'more' | 'none' {
  const start = [V1_START, V2_SIGNATURE].find((each) => beginsAlike(bytes, each));
  if (start === undefined) return 'none';
  if (bytes.length < start.length) return 'more';
  if (!isBelieved()) {
    const why = 'this peer is in none of LONGLINE_PROXY_NETWORKS and may not send a PROXY header';
    return rejection('PROXY_NOT_ALLOWED', why);
  }
  return start === V1_START ? readV1(bytes) : readV2(bytes);
}

/** A header of version 2. Two addresses of different families are both written as IPv6. */
export function proxyHeader(
  source: Endpoint,
  destination: Endpoint,
  extras: readonly (readonly [type: number, value: Buffer])[],
): Buffer {
  const isV4 = isMapped(source.ip) && isMapped(destination.ip);
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(source.port, 0);
  ports.writeUInt16BE(destination.port, 2);
  const ips = [source.ip, destination.ip].map((ip) => (isV4 ? ip.subarray(12) : ip));
  const rest = Buffer.concat([...ips, ports, ...extras.flatMap(extraBytes)]);
  const start = Buffer.alloc(V2_START_BYTES);
  V2_SIGNATURE.copy(start);
  start[12] = 0x20 | COMMAND.proxy;
  start[13] = isV4 ? FAMILY.tcp4 : FAMILY.tcp6;
  start.writeUInt16BE(rest.length, 14);
  return Buffer.concat([start, rest]);
}

function extraBytes([type, value]: readonly [number, Buffer]): Buffer[] {
  return [Buffer.from([type, value.length >> 8, value.length & 0xff]), value];
}

function beginsAlike(bytes: Buffer, start: Buffer): boolean {
  if (bytes.length > 0 && bytes[0] !== start[0]) return false;
  const length = Math.min(bytes.length, start.length);
  return bytes.subarray(0, length).equals(start.subarray(0, length));
}

function readV1(bytes: Buffer): ProxyHeader | Rejection | 'more' {
  const end = bytes.subarray(0, V1_BYTES_MAX).indexOf(CRLF);
  if (end < 0) {
    return bytes.length < V1_BYTES_MAX ? 'more' : malformed(`no line end in ${V1_BYTES_MAX} bytes`);
  }
  const line = bytes.toString('latin1', 0, end);
  const byteLength = end + CRLF.length;
  const extras = new Map<number, Buffer>();
  if (V1_UNKNOWN.test(line)) return { byteLength, source: undefined, extras };
  const [, family, from, to, fromPort, toPort] = V1_TCP.exec(line) ?? [];
  if (family === undefined) return malformed('expected "PROXY TCP4|TCP6 source destination ports"');
  const source = v1Endpoint(family, from!, fromPort!);
  if (source === undefined || v1Endpoint(family, to!, toPort!) === undefined) {
    return malformed('an address or a port of the line is none');
  }
  return { byteLength, source, extras };
}

/** In the canonical form of its family; a port without leading zeros (§2.1). */
function v1Endpoint(family: string, address: string, portText: string): Endpoint | undefined {
  const ip = ipBytes(address);
  const isOfFamily = address.includes(':') === (family === '6');
  const port = Number(portText);
  if (ip === undefined || !isOfFamily || port > 65_535 || String(port) !== portText) {
    return undefined;
  }
  return { ip, port };
}

function readV2(bytes: Buffer): ProxyHeader | Rejection | 'more' {
  if (bytes.length < V2_START_BYTES) return 'more';
  const command = bytes[12]! & 0x0f;
  if (bytes[12]! >> 4 !== 2 || command > COMMAND.proxy) {
    return malformed('expected version 2, and LOCAL or PROXY');
  }
  const restBytes = bytes.readUInt16BE(14);
  if (restBytes > V2_REST_BYTES_MAX) return malformed(`it is over ${V2_REST_BYTES_MAX} bytes`);
  const byteLength = V2_START_BYTES + restBytes;
  if (bytes.length < byteLength) return 'more';
  const rest = bytes.subarray(V2_START_BYTES, byteLength);
  // Of LOCAL, nothing else is to be looked at: the connection is the proxy's own.
  if (command === COMMAND.local) return { byteLength, source: undefined, extras: new Map() };
  const family = bytes[13]!;
  const addressBytes = ADDRESS_BYTES.get(family);
  if (addressBytes === undefined) return malformed('expected TCP over IPv4 or IPv6, or UNSPEC');
  if (restBytes < addressBytes) return malformed('it is too short for its addresses');
  const extras = readExtras(rest.subarray(addressBytes));
  if (extras === undefined) return malformed('what follows its addresses does not fit');
  return { byteLength, source: v2Source(family, rest), extras };
}

function v2Source(family: number, rest: Buffer): Endpoint | undefined {
  if (family === FAMILY.tcp4) {
    return { ip: ipBytes(rest.subarray(0, 4).join('.'))!, port: rest.readUInt16BE(8) };
  }
  if (family !== FAMILY.tcp6) return undefined;
  return { ip: Buffer.from(rest.subarray(0, 16)), port: rest.readUInt16BE(32) };
}

/** Undefined when they do not fill their room exactly. */
function readExtras(bytes: Buffer): Map<number, Buffer> | undefined {
  const extras = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length; ) {
    if (at + 3 > bytes.length) return undefined;
    const end = at + 3 + bytes.readUInt16BE(at + 1);
    if (end > bytes.length) return undefined;
    extras.set(bytes[at]!, Buffer.from(bytes.subarray(at + 3, end)));
    at = end;
  }
  return extras;
}

function malformed(why: string): Rejection {
  return rejection('PROXY_MALFORMED', `a PROXY header cannot be read: ${why}`);
}
