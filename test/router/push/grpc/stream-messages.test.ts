/** Messages of a PushStream call beside those of the generated code. */
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { rejection } from '../../../../common/process/errors.js';
import {
  type PushResponse,
  PushStreamRequest,
  PushStreamResponse,
} from '../../../../proto/gen/longline/v1/push.js';
import { decodeFrame } from '../../../../router/push/grpc/stream-frames.js';
import { encodeResults } from '../../../../router/push/grpc/stream-results.js';
import type { StreamResult } from '../../../../router/push/push-stream.js';

const numbers = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  fc.bigInt({ min: 2n ** 48n, max: 2n ** 54n }),
  fc.bigInt({ min: 0n, max: 300n }),
);
const correlationIds = numbers.map(String);
const ids = fc.constantFrom('', '1795386373482-0', '1795386373482-12345');
const responses: fc.Arbitrary<PushResponse> = fc.record({
  verdict: fc.nat(9),
  messageId: ids,
  acceptLevel: fc.nat(3),
  replacedId: ids,
  flightRecord: fc.constantFrom(...Array(9).fill(undefined), { steps: [] }),
});
const rejections = fc.constant(rejection('CLIENT_ID_INVALID', 'the clientId is empty'));
const results: fc.Arbitrary<StreamResult> = fc.record({
  correlationId: correlationIds,
  response: fc.oneof({ weight: 9, arbitrary: responses }, rejections),
});

test('results are the bytes of the generated code', () => {
  fc.assert(
    fc.property(fc.array(results, { maxLength: 100 }), (sent) => {
      const message = sent.map(({ correlationId, response }) => ({
        correlationId,
        outcome:
          'code' in response
            ? ({ $case: 'failure', value: response } as const)
            : ({ $case: 'push', value: response } as const),
      }));
      const expected = PushStreamResponse.encode({ results: message }).finish();
      expect(encodeResults(sent).equals(expected)).toBe(true);
    }),
  );
});

test('every 64-bit number of an item is returned exactly', () => {
  fc.assert(
    fc.property(fc.array(correlationIds, { maxLength: 20 }), (sent) => {
      const items = sent.map((correlationId) => ({ correlationId, push: undefined }));
      const { items: read } = decodeFrame(
        Buffer.from(PushStreamRequest.encode({ items }).finish()),
      );
      expect(read.map(({ correlationId }) => correlationId)).toEqual(sent);
    }),
  );
});
