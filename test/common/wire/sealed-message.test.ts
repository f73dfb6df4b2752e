import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { seal, unseal } from '../../../common/wire/sealed-message.js';
import { PrivateEnvelope, ShardEnvelope } from '../../../proto/gen/longline/v1/envelope.js';

const push = ShardEnvelope.fromPartial({
  queryId: 7,
  replyChannel: 'lr:{7}:router',
  clientId: 'alice',
  body: { $case: 'push', value: { payload: Buffer.from('p'), contentType: '', ttlMs: 60_000 } },
});

describe('a sealed message', () => {
  test('is read as it was, with what follows it', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.uint8Array(), (message, appended) => {
        const content = Buffer.concat([message, appended]);
        expect(unseal(Buffer.concat([seal(message), appended]))).toEqual({
          type: 'intact',
          content,
          appended: Buffer.from(appended),
        });
      }),
    );
  });

  test('with any one bit flipped is corrupt', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1 }), fc.nat(), (message, at) => {
        const bytes = seal(message);
        const bit = at % (8 * bytes.length);
        bytes[bit >> 3]! ^= 1 << (bit & 7);
        expect(unseal(bytes)).toEqual({ type: 'corrupt' });
      }),
    );
  });

  test('that is cut is corrupt', () => {
    const bytes = seal(ShardEnvelope.encode(push).finish());
    for (let length = 2; length < bytes.length; length++) {
      expect(unseal(bytes.subarray(0, length))).toEqual({ type: 'corrupt' });
    }
  });

  test('is read by a version that knows no seal', () => {
    const bytes = seal(ShardEnvelope.encode(push).finish());
    expect(ShardEnvelope.decode(bytes)).toEqual(push);
  });
});

test('a message of a version that knows no seal is not taken for a sealed one', () => {
  const body = { $case: 'written' as const, value: {} };
  const standing = { owner: true, others: 0, uninvolved: false, otherEdges: [] };
  const reply = { queryId: 7, ...standing, body, times: undefined };
  const replies = { edgeId: 'edge-1', replies: [reply] };
  const messages = [
    ShardEnvelope.encode(push).finish(),
    ShardEnvelope.encode({ ...push, queryId: 0, replyChannel: '', clientId: '' }).finish(),
    PrivateEnvelope.encode({ body: { $case: 'replies', value: replies } }).finish(),
    PrivateEnvelope.encode({ body: { $case: 'probe', value: { nonce: 1 } } }).finish(),
    new Uint8Array(),
  ];
  for (const message of messages) expect(unseal(Buffer.from(message)).type).toBe('unsealed');
});
