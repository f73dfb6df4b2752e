/**
 * TLV that a front proxy adds to its PROXY headers: a marker, and the version of the assignment
 * under which it routed the device. The marker tells the edge that the device cannot follow a
 * redirect; the version, whether the router's assignment is as new as the edge's. Two further TLVs
 * tell what the front has done already.
 *
 * The type is in the range for applications (proxy-protocol.txt §2.2.7). Cloud providers use some
 * of it (0xE0, 0xEA, 0xEE), so the value starts with a name.
 */
import { type Position, parsePosition, positionText } from './position.js';
import type { ProxyHeader } from './proxy-protocol.js';

const TYPE = 0xe5;
const NAME = 'longline ';

/** Tells the edge that the front has answered the WebSocket upgrade that the device begins with. */
export const UPGRADED_TLV = [0xe6, Buffer.from(`${NAME}upgraded`)] as const;

/** Resume ticket that the front has issued to a device with a client certificate. */
const TICKET_TYPE = 0xe7;

export function ticketTlv(ticket: string): readonly [type: number, value: Buffer] {
  return [TICKET_TYPE, Buffer.from(NAME + ticket)];
}

/** Returns the ticket; undefined if there is none. */
export function readTicketTlv({ tlvs }: ProxyHeader): string | undefined {
  const text = tlvs.get(TICKET_TYPE)?.toString('latin1') ?? '';
  return text.startsWith(NAME) ? text.slice(NAME.length) : undefined;
}

export function frontTlv(routedUnder: Position): readonly [type: number, value: Buffer] {
  return [TYPE, Buffer.from(NAME + positionText(routedUnder))];
}

export function hasUpgradedTlv({ tlvs }: ProxyHeader): boolean {
  const [type, value] = UPGRADED_TLV;
  return tlvs.get(type)?.equals(value) ?? false;
}

/** Returns the assignment version; undefined for a header that is not from a front proxy. */
export function readFrontTlv({ tlvs }: ProxyHeader): Position | undefined {
  const text = tlvs.get(TYPE)?.toString('latin1') ?? '';
  return text.startsWith(NAME) ? parsePosition(text.slice(NAME.length)) : undefined;
}
