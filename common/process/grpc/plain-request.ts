/**
 * Recognises requests that are so plain that a `UnaryCall` can answer them; the library has all
 * others.
 */
import type { Field } from '../http2/hpack-table.js';

const PLAIN_TYPES = ['application/grpc', 'application/grpc+proto'];
const TIMEOUT = /^\d{1,8}[HMSmun]$/;
const TIMEOUT_UNIT_MS: Record<string, number> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};

/** Fields that occur at most once, each with its bit. */
const BITS: Record<string, number> = {
  ':method': 1,
  ':scheme': 2,
  ':path': 4,
  ':authority': 8,
  'content-type': 16,
  'grpc-encoding': 32,
  'grpc-timeout': 64,
  te: 128,
};
const PSEUDO_BITS = 1 | 2 | 4 | 8;
const REQUIRED_BITS = 1 | 2 | 4 | 16;
/** Invalid in HTTP/2 (RFC 9113 §8.2.2), or with rules of their own. */
const SPECIAL = new Set([
  'connection',
  'content-length',
  'host',
  'keep-alive',
  'proxy-connection',
  'transfer-encoding',
  'upgrade',
]);

/** POST, protobuf, not compressed, a valid timeout or none, and valid HTTP/2. */
export function isPlain(fields: readonly Field[]): boolean {
  let seen = 0;
  for (const field of fields) {
    const { name } = field;
    const bit = BITS[name];
    if (bit !== undefined) {
      const isLatePseudo = bit & PSEUDO_BITS && seen & ~PSEUDO_BITS;
      if (seen & bit || isLatePseudo || !isPlainValue(name, field.value)) return false;
      seen |= bit;
    } else {
      if (name.startsWith(':') || SPECIAL.has(name)) return false;
      seen |= OTHER_BIT;
    }
    if (!field.isValid) return false;
  }
  return (seen & REQUIRED_BITS) === REQUIRED_BITS;
}

const OTHER_BIT = 256;

function isPlainValue(name: string, value: string): boolean {
  switch (name) {
    case ':method':
      return value === 'POST';
    case ':scheme':
      return value === 'http' || value === 'https';
    case 'content-type':
      return PLAIN_TYPES.includes(value);
    case 'grpc-encoding':
      return value === 'identity';
    case 'grpc-timeout':
      return TIMEOUT.test(value);
    case 'te':
      return value === 'trailers';
    default:
      return true;
  }
}

/** @param timeout a valid value of `grpc-timeout` */
export function timeoutMs(timeout: string): number {
  return Number(timeout.slice(0, -1)) * TIMEOUT_UNIT_MS[timeout.at(-1)!]!;
}
