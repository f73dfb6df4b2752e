/**
 * Encodes header blocks without the dynamic table, so that a block is the same on every connection.
 */
import { type NameAndValue, staticIndexOf, staticNameIndexOf } from './hpack-table.js';

export function encodeFields(fields: readonly NameAndValue[]): Buffer {
  const parts: Buffer[] = [];
  for (const field of fields) {
    const index = staticIndexOf(field);
    if (index > 0) {
      parts.push(encodeInteger(0x80, 7, index)); // RFC 7541 §6.1
      continue;
    }
    const nameIndex = staticNameIndexOf(field.name);
    parts.push(encodeInteger(0, 4, nameIndex)); // §6.2.2
    if (nameIndex === 0) pushString(parts, field.name);
    pushString(parts, field.value);
  }
  return Buffer.concat(parts);
}

function pushString(parts: Buffer[], text: string): void {
  parts.push(encodeInteger(0, 7, text.length), Buffer.from(text, 'latin1'));
}

/** §5.1 */
function encodeInteger(flags: number, prefixBits: number, value: number): Buffer {
  const prefixMax = (1 << prefixBits) - 1;
  if (value < prefixMax) return Buffer.of(flags | value);
  const bytes = [flags | prefixMax];
  let rest = value - prefixMax;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}
