/**
 * Resume tickets: an edge issues one to a device whose token it has verified, so that the next edge
 * authenticates the device in microseconds. A ticket is valid for one clientId until the token
 * expires, and only for connecting.
 *
 *   bytes   0       version, 1
 *           1..6    expiry, Unix time in milliseconds, big-endian
 *           7..23   first 17 bytes of HMAC-SHA256 over "longline ticket", bytes 0 to 6 and the
 *                   clientId (RFC 2104 §5 allows truncation to half of the hash or more)
 *
 * In base64url these are 32 characters without padding or unused bits, so each ticket has exactly
 * one encoding. It contains no dot, which distinguishes it from a JWT.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

const VERSION = 1;
const SIGNED_BYTES = 7;
const MAC_BYTES = 17;
const TICKET = /^[\w-]{32}$/;
const EXPIRY_MS_MAX = 2 ** 48 - 1;
const CONTEXT = 'longline ticket';

export type TicketCheck = { readonly expiresAtMs: number } | 'forged' | 'expired';

export function hasTicketFormat(text: string): boolean {
  return TICKET.test(text);
}

export class Tickets {
  /**
   * @param secrets the first one signs, all verify, so that secrets can be replaced
   * @param skewMs time that a ticket stays valid after its expiry, as for tokens
   */
  constructor(
    readonly secrets: readonly string[],
    readonly skewMs: number,
  ) {}

  issue(clientId: string, expiresAtMs: number): string {
    const ticket = Buffer.alloc(SIGNED_BYTES + MAC_BYTES);
    ticket[0] = VERSION;
    ticket.writeUIntBE(Math.min(EXPIRY_MS_MAX, Math.floor(expiresAtMs)), 1, 6);
    const signed = ticket.subarray(0, SIGNED_BYTES);
    macOf(this.secrets[0]!, signed, clientId).copy(ticket, SIGNED_BYTES);
    return ticket.toString('base64url');
  }

  check(ticket: string, clientId: string, nowMs: number): TicketCheck {
    if (!hasTicketFormat(ticket)) return 'forged';
    const bytes = Buffer.from(ticket, 'base64url');
    const signed = bytes.subarray(0, SIGNED_BYTES);
    const mac = bytes.subarray(SIGNED_BYTES);
    if (bytes[0] !== VERSION) return 'forged';
    const isOurs = this.secrets.some((secret) =>
      timingSafeEqual(mac, macOf(secret, signed, clientId)),
    );
    if (!isOurs) return 'forged';
    const expiresAtMs = bytes.readUIntBE(1, 6);
    return expiresAtMs + this.skewMs <= nowMs ? 'expired' : { expiresAtMs };
  }
}

function macOf(secret: string, signed: Buffer, clientId: string): Buffer {
  const hmac = createHmac('sha256', secret).update(CONTEXT).update(signed).update(clientId);
  return hmac.digest().subarray(0, MAC_BYTES);
}
