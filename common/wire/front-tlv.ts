/**
 * What the front of a router adds to its PROXY headers: that it is one, and under which assignment it
 * sends the device. So an edge knows that the device sees one address only, and whether the router
 * knew as much as the edge does.
 *
 * The type is of those that applications may use (proxy-protocol.txt §2.2.7). Clouds use some of
 * them for their own ends (0xE0, 0xEA, 0xEE), so the value names us, too.
 */
import type { Position } from '../cluster/assignment.js';
import { parsePosition, positionText } from './connect-query.js';
import type { ProxyHeader } from './proxy-protocol.js';

const TYPE = 0xe5;
const NAME = 'longline ';

export function frontTlv(sentUnder: Position): readonly [type: number, value: Buffer] {
  return [TYPE, Buffer.from(NAME + positionText(sentUnder))];
}

/** Undefined for a header that is not of a front. */
export function sentUnderOf({ extras }: ProxyHeader): Position | undefined {
  const text = extras.get(TYPE)?.toString('latin1') ?? '';
  return text.startsWith(NAME) ? parsePosition(text.slice(NAME.length)) : undefined;
}
