/**
 * The PROXY protocol, versions 1 and 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt): a header
 * before the first byte of a connection, with which a proxy passes on the address of its client.
 *
 * A header is accepted only from a trusted peer. Other peers are rejected, not ignored, because
 * their header may contain a forged address.
 */
import { type Endpoint, ipBytes, isIpv4Mapped } from '../net/ip-address.js';
import { type Rejection, rejection } from '../process/errors.js';

export interface ProxyHeader {
  /** Length of the header; the bytes of the client follow. */
  readonly byteLength: number;
  /** Address of the client; undefined if the proxy connects for itself, or does not know it. */
  readonly source: Endpoint | undefined;
  /** TLV values by type (§2.2); the last one of a repeated type. */
  readonly tlvs: ReadonlyMap<number, Buffer>;
}

/** §2.1: maximum size of a header of version 1, including the line end. */
const V1_BYTES_MAX = 107;
const V1_START = Buffer.from('PROXY ');
const V1_TCP = /^PROXY TCP([46]) ([0-9a-fA-F.:]+) ([0-9a-fA-F.:]+) (\d{1,5}) (\d{1,5})$/;
const V1_UNKNOWN = /^PROXY UNKNOWN(?: [^\r\n]*)?$/;
const CRLF = Buffer.from('\r\n');

const V2_SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
const V2_START_BYTES = 16;
/** Addresses and TLVs. The largest TLVs in use contain the names of a certificate. */
const V2_REST_BYTES_MAX = 2_048;
const COMMAND = { local: 0, proxy: 1 };
/** Address families on a TCP connection, and the size of both addresses with ports (§2.2). */
const FAMILY = { unspecified: 0x00, tcp4: 0x11, tcp6: 0x21, unix: 0x31 };
const ADDRESS_BYTES = new Map([
  [FAMILY.unspecified, 0],
  [FAMILY.tcp4, 12],
  [FAMILY.tcp6, 36],
  [FAMILY.unix, 216],
]);

/**
 * Reads a header at the start of a connection.
 * @param isTrusted called only when there is a header
 * @returns 'none' without a header, 'more' while the bytes are incomplete
 */
export function readProxyHeader(
  bytes: Buffer,
  isTrusted: () => boolean,
): ProxyHeader | Rejection | 'more' | 'none' {
  const start = [V1_START, V2_SIGNATURE].find((each) => isPrefix(bytes, each));
  if (start === undefined) return 'none';
  if (bytes.length < start.length) return 'more';
  if (!isTrusted()) {
    const message = 'PROXY header from an address that is not in LONGLINE_PROXY_NETWORKS';
    return rejection('PROXY_NOT_ALLOWED', message);
  }
  return start === V1_START ? readV1(bytes) : readV2(bytes);
}

/** Builds a header of version 2. Addresses of different families are both written as IPv6. */
export function proxyHeader(
  source: Endpoint,
  destination: Endpoint,
  tlvs: readonly (readonly [type: number, value: Buffer])[],
): Buffer {
  const isV4 = isIpv4Mapped(source.ip) && isIpv4Mapped(destination.ip);
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(source.port, 0);
  ports.writeUInt16BE(destination.port, 2);
  const ips = [source.ip, destination.ip].map((ip) => (isV4 ? ip.subarray(12) : ip));
  const rest = Buffer.concat([...ips, ports, ...tlvs.flatMap(encodeTlv)]);
  const start = Buffer.alloc(V2_START_BYTES);
  V2_SIGNATURE.copy(start);
  start[12] = 0x20 | COMMAND.proxy;
  start[13] = isV4 ? FAMILY.tcp4 : FAMILY.tcp6;
  start.writeUInt16BE(rest.length, 14);
  return Buffer.concat([start, rest]);
}

function encodeTlv([type, value]: readonly [number, Buffer]): Buffer[] {
  return [Buffer.from([type, value.length >> 8, value.length & 0xff]), value];
}

function isPrefix(bytes: Buffer, start: Buffer): boolean {
  if (bytes.length > 0 && bytes[0] !== start[0]) return false;
  const length = Math.min(bytes.length, start.length);
  return bytes.subarray(0, length).equals(start.subarray(0, length));
}

function readV1(bytes: Buffer): ProxyHeader | Rejection | 'more' {
  const end = bytes.subarray(0, V1_BYTES_MAX).indexOf(CRLF);
  if (end < 0) {
    return bytes.length < V1_BYTES_MAX
      ? 'more'
      : malformed(`no line end within ${V1_BYTES_MAX} bytes`);
  }
  const line = bytes.toString('latin1', 0, end);
  const byteLength = end + CRLF.length;
  const tlvs = new Map<number, Buffer>();
  if (V1_UNKNOWN.test(line)) return { byteLength, source: undefined, tlvs };
  const [, family, from, to, fromPort, toPort] = V1_TCP.exec(line) ?? [];
  if (family === undefined) return malformed('expected "PROXY TCP4|TCP6 source destination ports"');
  const source = v1Endpoint(family, from!, fromPort!);
  if (source === undefined || v1Endpoint(family, to!, toPort!) === undefined) {
    return malformed('an address or port is invalid');
  }
  return { byteLength, source, tlvs };
}

/** Accepts only the canonical form of the family, and a port without leading zeros (§2.1). */
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
    return malformed('expected version 2 with command LOCAL or PROXY');
  }
  const restBytes = bytes.readUInt16BE(14);
  if (restBytes > V2_REST_BYTES_MAX)
    return malformed(
      `it has ${restBytes} bytes after its start; the maximum is ${V2_REST_BYTES_MAX}`,
    );
  const byteLength = V2_START_BYTES + restBytes;
  if (bytes.length < byteLength) return 'more';
  const rest = bytes.subarray(V2_START_BYTES, byteLength);
  // LOCAL: a connection of the proxy itself; the rest of the header must be ignored.
  if (command === COMMAND.local) return { byteLength, source: undefined, tlvs: new Map() };
  const family = bytes[13]!;
  const addressBytes = ADDRESS_BYTES.get(family);
  if (addressBytes === undefined)
    return malformed('expected address family TCP over IPv4 or IPv6, Unix stream, or UNSPEC');
  if (restBytes < addressBytes) return malformed('it is too short for its addresses');
  const tlvs = readTlvs(rest.subarray(addressBytes));
  if (tlvs === undefined) return malformed('its TLVs do not fit its length');
  return { byteLength, source: v2Source(family, rest), tlvs };
}

function v2Source(family: number, rest: Buffer): Endpoint | undefined {
  if (family === FAMILY.tcp4) {
    return { ip: ipBytes(rest.subarray(0, 4).join('.'))!, port: rest.readUInt16BE(8) };
  }
  if (family !== FAMILY.tcp6) return undefined;
  return { ip: Buffer.from(rest.subarray(0, 16)), port: rest.readUInt16BE(32) };
}

/** Returns undefined when the TLVs do not fill `bytes` exactly. */
function readTlvs(bytes: Buffer): Map<number, Buffer> | undefined {
  const tlvs = new Map<number, Buffer>();
  for (let at = 0; at < bytes.length; ) {
    if (at + 3 > bytes.length) return undefined;
    const end = at + 3 + bytes.readUInt16BE(at + 1);
    if (end > bytes.length) return undefined;
    tlvs.set(bytes[at]!, Buffer.from(bytes.subarray(at + 3, end)));
    at = end;
  }
  return tlvs;
}

function malformed(problem: string): Rejection {
  return rejection('PROXY_MALFORMED', `invalid PROXY header: ${problem}`);
}
