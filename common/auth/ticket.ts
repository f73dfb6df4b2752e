/**
 * Resume tickets: what an edge gives a device whose token it has checked, so that the next edge can
 * tell in microseconds that this was done. A ticket is for one clientId and ends with the token; it is
 * worth what the token is worth, and for nothing but to connect.
 *
 *   bytes   0       version, 1
 *           1..6    when it expires, Unix time in milliseconds, big-endian
 *           7..23   HMAC-SHA256 over "longline ticket", bytes 0 to 6 and the clientId; its first 17
 *                   bytes (RFC 2104 §5 allows half of the hash or more)
 *
 * In base64url these are 32 characters without padding and without unused bits, so there is exactly
 * one text for each ticket; and no dot, by which a ticket differs from a JWT wherever both may come.
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
   * @param secrets the first one signs, all verify: that is how they are replaced
   * @param skewMs how long after its time a ticket still counts, as a token does
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
