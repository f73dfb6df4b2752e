/**
 * Resume tickets: an edge issues one to a device whose token it has verified, so that the next edge
 * authenticates the device in microseconds. A ticket is valid for one clientId until the token
 * expires, and only for connecting.
 *
 *   bytes   0       version: 3, or 4 with groups
 *           1..6    expiry, Unix time in milliseconds, big-endian
 *           7..11   when the token was issued, Unix time in seconds, big-endian; 0: it does not say
 *           12..29  first 18 bytes of HMAC-SHA256 over "longline ticket", bytes 0 to 11, the bytes
 *                   from 30 on, a zero byte and the clientId (RFC 2104 §5 allows truncation to half
 *                   of the hash or more)
 *           30..    the labels of the token; version 4: these, a line end, and the groups that the
 *                   token permits
 *
 * In base64url without padding these are 40 characters, or more with labels or groups, which spaces
 * or line ends fill up so that no bits are unused and each ticket has exactly one encoding. It
 * contains no dot, which distinguishes it from a JWT.
 *
 * Tickets of versions before 0.2.0 have version 1, 17 bytes of the HMAC from byte 7, no zero byte
 * in it, and nothing else. They are accepted, so that devices return during an upgrade.
 */
import { timingSafeEqual } from 'node:crypto';
import { type GroupClaims, NO_GROUPS } from './claims/group-claims.js';
import { HmacSha256 } from './hmac-sha256.js';

interface Layout {
  readonly signedBytes: number;
  readonly macBytes: number;
}

const [BEFORE, WITHOUT_GROUPS, WITH_GROUPS] = [1, 3, 4] as const;
const LAYOUT: Layout = { signedBytes: 12, macBytes: 18 };
const LAYOUT_BEFORE: Layout = { signedBytes: 7, macBytes: 17 };
const ISSUED_AT = 7;
const ISSUED_S_MAX = 2 ** 40 - 1;
const TEXT_AT = LAYOUT.signedBytes + LAYOUT.macBytes;
/** Base64url of 24 bytes, or of 30, up to 512 of labels and 1,024 of groups. */
const TICKET = /^(?:[\w-]{4}){8,523}$/;
const EXPIRY_MS_MAX = 2 ** 48 - 1;
const CONTEXT = Buffer.from('longline ticket');
const ZERO = Buffer.alloc(1);

export type TicketCheck =
  | {
      readonly expiresAtMs: number;
      /** A whole second, as in `Verified`. */
      readonly issuedAtMs: number;
      readonly labels: string;
      readonly groups: GroupClaims;
    }
  | 'forged'
  | 'expired';

export function hasTicketFormat(text: string): boolean {
  return TICKET.test(text);
}

export class Tickets {
  readonly #keys: readonly HmacSha256[];

  /**
   * @param secrets the first one signs, all verify, so that secrets can be replaced
   * @param skewMs time that a ticket stays valid after its expiry, as for tokens
   */
  constructor(
    secrets: readonly string[],
    readonly skewMs: number,
  ) {
    this.#keys = secrets.map((secret) => new HmacSha256(Buffer.from(secret)));
  }

  /**
   * @param labels as `labelsText` writes them; '': none
   * @param issuedAtMs when the token was issued, Unix ms; 0: it does not say
   */
  issue(
    clientId: string,
    expiresAtMs: number,
    labels = '',
    groups: GroupClaims = NO_GROUPS,
    issuedAtMs = 0,
  ): string {
    const hasGroups = groups !== NO_GROUPS;
    const text = hasGroups ? `${labels}\n${groups}` : labels;
    const textBytes = Math.ceil(Buffer.byteLength(text) / 3) * 3;
    const ticket = Buffer.alloc(TEXT_AT + textBytes, hasGroups ? '\n' : ' ');
    ticket[0] = hasGroups ? WITH_GROUPS : WITHOUT_GROUPS;
    ticket.writeUIntBE(Math.min(EXPIRY_MS_MAX, Math.floor(expiresAtMs)), 1, 6);
    ticket.writeUIntBE(Math.min(ISSUED_S_MAX, Math.floor(issuedAtMs / 1_000)), ISSUED_AT, 5);
    ticket.write(text, TEXT_AT);
    const mac = macOf(this.#keys[0]!, ticket, clientId, LAYOUT);
    ticket.write(mac, LAYOUT.signedBytes, 'binary');
    return ticket.toString('base64url');
  }

  check(ticket: string, clientId: string, nowMs: number): TicketCheck {
    if (!hasTicketFormat(ticket)) return 'forged';
    const bytes = Buffer.from(ticket, 'base64url');
    const version = bytes[0]!;
    const layout = layoutOf(version, bytes.length);
    if (layout === undefined) return 'forged';
    const mac = bytes.subarray(layout.signedBytes, layout.signedBytes + layout.macBytes);
    const isOurs = this.#keys.some((key) =>
      timingSafeEqual(mac, Buffer.from(macOf(key, bytes, clientId, layout), 'binary')),
    );
    if (!isOurs) return 'forged';
    const expiresAtMs = bytes.readUIntBE(1, 6);
    if (expiresAtMs + this.skewMs <= nowMs) return 'expired';
    const issuedAtMs = version === BEFORE ? 0 : bytes.readUIntBE(ISSUED_AT, 5) * 1_000;
    return { expiresAtMs, issuedAtMs, ...readText(bytes.toString('utf8', TEXT_AT), version) };
  }
}

/** Undefined for a version that is unknown, or that has tickets of another length. */
function layoutOf(version: number, length: number): Layout | undefined {
  if (version === BEFORE) {
    const { signedBytes, macBytes } = LAYOUT_BEFORE;
    return length === signedBytes + macBytes ? LAYOUT_BEFORE : undefined;
  }
  const isKnown = version === WITHOUT_GROUPS || version === WITH_GROUPS;
  return isKnown && length >= TEXT_AT ? LAYOUT : undefined;
}

function readText(text: string, version: number): { labels: string; groups: GroupClaims } {
  if (version !== WITH_GROUPS) return { labels: text.trimEnd(), groups: NO_GROUPS };
  const end = text.indexOf('\n');
  return { labels: text.slice(0, end), groups: text.slice(end + 1).replace(/\n+$/, '') };
}

/** One character per byte. */
function macOf(key: HmacSha256, ticket: Buffer, clientId: string, layout: Layout): string {
  const start = ticket.subarray(0, layout.signedBytes);
  // Labels and groups have no zero byte, so it separates them from the clientId.
  const text = layout === LAYOUT ? [ticket.subarray(TEXT_AT), ZERO] : [];
  return key.digest('binary', CONTEXT, start, ...text, clientId).slice(0, layout.macBytes);
}
