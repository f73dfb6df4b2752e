/**
 * Messages of results on a PushStream call, written by hand where all results are usual ones: each
 * push has one, and the generated code makes a BigInt of its number and several objects. Pure.
 */
import { sizeWithLength, varintSize, writeVarint } from '../../../common/wire/protobuf/fields.js';
import {
  type PushResponse,
  PushStreamResponse,
  type PushStreamResult,
} from '../../../proto/gen/longline/v1/push.js';
import type { StreamResult } from '../push-stream.js';

/** Tags (number and wire type of a field): in the message, in a result, and in a response. */
const RESULT = 0x0a;
const [CORRELATION_ID, PUSH] = [0x08, 0x12] as const;
const [VERDICT, MESSAGE_ID, ACCEPT_LEVEL, REPLACED_ID] = [0x08, 0x12, 0x18, 0x22] as const;
/** Longer numbers may not be exact. */
const NUMBER_DIGITS_MAX = 15;

interface UsualResult {
  readonly correlationId: string;
  readonly response: PushResponse;
}

export function encodeResults(results: readonly StreamResult[]): Buffer {
  if (!results.every(isUsual)) {
    return Buffer.from(PushStreamResponse.encode({ results: results.map(toResult) }).finish());
  }
  let length = 0;
  for (const result of results) length += sizeWithLength(sizeOf(result));
  const bytes = Buffer.allocUnsafe(length);
  let at = 0;
  for (const result of results) {
    const { verdict, messageId, acceptLevel, replacedId } = result.response;
    const correlationId = Number(result.correlationId);
    at = writeVarint(bytes, at, RESULT, sizeOf(result));
    if (correlationId > 0) at = writeVarint(bytes, at, CORRELATION_ID, correlationId);
    at = writeVarint(bytes, at, PUSH, sizeOfResponse(result.response));
    at = writeVarint(bytes, at, VERDICT, verdict);
    at = writeText(bytes, at, MESSAGE_ID, messageId);
    if (acceptLevel > 0) at = writeVarint(bytes, at, ACCEPT_LEVEL, acceptLevel);
    at = writeText(bytes, at, REPLACED_ID, replacedId);
  }
  return bytes;
}

function isUsual(result: StreamResult): result is UsualResult {
  const { correlationId, response } = result;
  if ('code' in response || correlationId.length > NUMBER_DIGITS_MAX) return false;
  return response.flightRecord === undefined && response.verdict > 0;
}

function sizeOf({ correlationId, response }: UsualResult): number {
  const number = Number(correlationId);
  return (number > 0 ? 1 + varintSize(number) : 0) + sizeWithLength(sizeOfResponse(response));
}

function sizeOfResponse(response: PushResponse): number {
  const { verdict, messageId, acceptLevel, replacedId } = response;
  return (
    1 +
    varintSize(verdict) +
    (messageId === '' ? 0 : sizeWithLength(messageId.length)) +
    (acceptLevel > 0 ? 1 + varintSize(acceptLevel) : 0) +
    (replacedId === '' ? 0 : sizeWithLength(replacedId.length))
  );
}

/** @param text an id, which is ASCII; empty: no field */
function writeText(bytes: Buffer, from: number, tag: number, text: string): number {
  if (text === '') return from;
  const at = writeVarint(bytes, from, tag, text.length);
  return at + bytes.write(text, at, 'latin1');
}

function toResult({ correlationId, response }: StreamResult): PushStreamResult {
  const outcome: PushStreamResult['outcome'] =
    'code' in response ? { $case: 'failure', value: response } : { $case: 'push', value: response };
  return { correlationId, outcome };
}
