import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  isIntactAppendix,
  readPush,
  type SentPush,
  sealPush,
} from '../../../common/wire/push-envelope.js';
import { seal, unseal } from '../../../common/wire/sealed-message.js';
import { ShardEnvelope } from '../../../proto/gen/longline/v1/envelope.js';

const pushes: fc.Arbitrary<SentPush> = fc.record({
  queryId: fc.nat(Number.MAX_SAFE_INTEGER),
  replyChannel: fc.constantFrom('', 'lr:{7}:router', 'prefix:lr:{1234}:router:0-0-0'),
  clientId: fc.string({ minLength: 1, maxLength: 300, unit: 'grapheme' }),
  contentType: fc.constantFrom('', 'text/plain', 'a'.repeat(128)),
  ttlMs: fc.nat(0xffff_ffff),
  payload: fc.oneof(
    fc.uint8Array(),
    fc.nat(70_000).map((length) => Buffer.alloc(length, '.')),
  ),
});
const ids = fc.tuple(fc.nat(), fc.nat()).map(([ms, n]) => `${ms}-${n}`);

/** The fields that the script appends. */
function appendix(id: string, seq: string): Buffer {
  const fields: [number, string][] = [
    [0x42, id],
    [0x4a, seq],
    [0x62, id + seq],
  ];
  return Buffer.concat(
    fields.flatMap(([tag, text]) => [Buffer.from([tag, text.length]), Buffer.from(text)]),
  );
}

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  const bit = at % (8 * copy.length);
  copy[bit >> 3]! ^= 1 << (bit & 7);
  return copy;
}

describe('the envelope of a push', () => {
  test('is what the generated code decodes, and ends with the payload', () => {
    fc.assert(
      fc.property(pushes, (push) => {
        const bytes = sealPush(push);
        const unsealed = unseal(bytes);
        if (unsealed.type !== 'intact') throw new Error(unsealed.type);
        const { queryId, replyChannel, clientId, contentType, ttlMs } = push;
        const payload = Buffer.from(push.payload);
        expect(ShardEnvelope.decode(unsealed.content)).toEqual({
          ...{ queryId, replyChannel, clientId, id: '', seq: '' },
          body: { $case: 'push', value: { payload, contentType, ttlMs, clientIds: [] } },
        });
        expect(bytes.subarray(bytes.length - payload.length).equals(payload)).toBe(true);
      }),
    );
  });

  test('is read as it was sent, and with what the script appends', () => {
    fc.assert(
      fc.property(pushes, ids, fc.nat(), (push, id, seq) => {
        const sent = { ...push, payload: Buffer.from(push.payload) };
        const bytes = sealPush(push);
        expect(readPush(bytes)).toEqual({ ...sent, id: '', seq: 0 });
        const stored = Buffer.concat([bytes, appendix(id, `${seq}`)]);
        expect(readPush(stored)).toEqual({ ...sent, id, seq });
      }),
    );
  });

  test('with any bit flipped or any byte cut is not read', () => {
    const small = pushes.filter(({ payload }) => payload.length < 200);
    fc.assert(
      fc.property(small, ids, fc.nat(), fc.boolean(), (push, id, at, isStored) => {
        const sealed = sealPush(push);
        const bytes = isStored ? Buffer.concat([sealed, appendix(id, '7')]) : sealed;
        expect(readPush(flipped(bytes, at))).toBeUndefined();
        const length = at % bytes.length;
        if (length !== sealed.length) expect(readPush(bytes.subarray(0, length))).toBeUndefined();
      }),
      { numRuns: 2_000 },
    );
  });

  test.each<[string, Partial<ShardEnvelope>]>([
    ['another message', { body: { $case: 'presence', value: {} } }],
    ['one with the payload first, as of an earlier version', { clientId: 'alice' }],
    ['one without a body', { body: undefined }],
  ])('%s is left to the generated code', (_, changes) => {
    const value = { payload: Buffer.from('p'), contentType: 'text/plain', ttlMs: 1 };
    const envelope = ShardEnvelope.fromPartial({ queryId: 1, body: { $case: 'push', value } });
    const bytes = seal(ShardEnvelope.encode({ ...envelope, ...changes }).finish());
    expect(readPush(bytes)).toBeUndefined();
  });

  test('one to several clients is left to the generated code', () => {
    const clientIds = fc.array(fc.string(), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(pushes, clientIds, ({ queryId, replyChannel, ...push }, several) => {
        const { contentType, ttlMs } = push;
        const value = {
          payload: Buffer.from(push.payload),
          contentType,
          ttlMs,
          clientIds: several,
        };
        const envelope = { queryId, replyChannel, clientId: '', id: '', seq: '' };
        const body = { $case: 'push', value } as const;
        const bytes = seal(ShardEnvelope.encode({ ...envelope, body }).finish());
        expect(readPush(bytes)).toBeUndefined();
      }),
    );
  });

  test('random bytes behind a right seal are read or not, and never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ maxLength: 20 }), (a, b) => {
        readPush(Buffer.concat([seal(a), b]));
        isIntactAppendix(Buffer.from(b), 0);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('what the script appends', () => {
  test('is intact as it was appended, and with any one bit flipped or any byte cut it is not', () => {
    fc.assert(
      fc.property(ids, fc.nat().map(String), fc.nat(), (messageId, seq, at) => {
        const bytes = appendix(messageId, seq);
        expect(isIntactAppendix(bytes, 0)).toBe(true);
        expect(isIntactAppendix(flipped(bytes, at), 0)).toBe(false);
        expect(isIntactAppendix(bytes.subarray(0, 1 + (at % (bytes.length - 1))), 0)).toBe(false);
      }),
      { numRuns: 2_000 },
    );
  });

  test('is nothing for a push that is not stored', () => {
    expect(isIntactAppendix(Buffer.alloc(0), 0)).toBe(true);
  });
});
