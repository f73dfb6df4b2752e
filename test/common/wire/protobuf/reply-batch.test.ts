import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readReplies, sealReplies } from '../../../../common/wire/protobuf/reply-batch.js';
import { seal } from '../../../../common/wire/sealed-message.js';
import {
  PrivateEnvelope,
  type Reply,
  type ReplyBatch,
} from '../../../../proto/gen/longline/v1/envelope.js';

const outcomes = ['absent', 'written', 'slow', 'closed', 'catchingUp', 'dropped'] as const;
const plainReplies: fc.Arbitrary<Reply> = fc.record({
  queryId: fc.nat(Number.MAX_SAFE_INTEGER),
  owner: fc.boolean(),
  others: fc.nat(0xffff_ffff),
  uninvolved: fc.boolean(),
  otherEdges: fc.constant([]),
  body: fc.constantFrom(...outcomes).map(($case) => ({ $case, value: {} })),
  times: fc.constant(undefined),
});
const otherReplies: fc.Arbitrary<Reply> = fc.tuple(plainReplies, fc.nat(3)).map(([reply, kind]) => {
  if (kind === 0) return { ...reply, body: undefined };
  if (kind === 1) return { ...reply, times: { heardAtUs: 1, errorUs: 2, tookUs: 3 } };
  if (kind === 2) return { ...reply, otherEdges: ['edge-1', 'edge-2'] };
  const value = { outcomes: Buffer.from([4, 0]), firstIndex: 7 };
  return { ...reply, body: { $case: 'multiPush', value } };
});
const batchesOf = (replies: fc.Arbitrary<Reply>): fc.Arbitrary<ReplyBatch> =>
  fc.record({
    edgeId: fc.string({ maxLength: 40, unit: 'grapheme' }),
    replies: fc.array(replies, { maxLength: 200 }),
  });
const generated = (batch: ReplyBatch) =>
  seal(PrivateEnvelope.encode({ body: { $case: 'replies', value: batch } }).finish());

test('a batch is the bytes of the generated code', () => {
  const batches = batchesOf(fc.oneof(plainReplies, otherReplies));
  fc.assert(
    fc.property(batches, (batch) => {
      expect(sealReplies(batch).equals(generated(batch))).toBe(true);
    }),
  );
});

test('what became of pushes is read as it was sent', () => {
  fc.assert(
    fc.property(batchesOf(plainReplies), (batch) => {
      const read = readReplies(generated(batch));
      // Without edge and replies there is nothing to read: the generated code reads that.
      if (batch.edgeId === '' && batch.replies.length === 0) expect(read).toBeUndefined();
      else expect(read).toEqual(batch);
    }),
  );
});

test('a batch with any other reply is left to the generated code', () => {
  fc.assert(
    fc.property(batchesOf(plainReplies), otherReplies, fc.nat(), (batch, other, at) => {
      const replies = batch.replies.toSpliced(at % (batch.replies.length + 1), 0, other);
      expect(readReplies(generated({ ...batch, replies }))).toBeUndefined();
    }),
  );
});

test('a field of a later version is left to the generated code', () => {
  const reply = Buffer.from([0x08, 0x05, 0x10, 0x01, 0x22, 0x00, 0x78, 0x01]);
  const batch = Buffer.concat([Buffer.from([0x0a, 0x01, 0x65, 0x12, reply.length]), reply]);
  const bytes = seal(Buffer.concat([Buffer.from([0x0a, batch.length]), batch]));
  expect(readReplies(bytes)).toBeUndefined();
});

test('with any bit flipped or any byte cut it is not read', () => {
  fc.assert(
    fc.property(batchesOf(plainReplies), fc.nat(), (batch, at) => {
      const bytes = generated(batch);
      const flipped = Buffer.from(bytes);
      const bit = at % (8 * bytes.length);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect(readReplies(flipped)).toBeUndefined();
      expect(readReplies(bytes.subarray(0, at % bytes.length))).toBeUndefined();
    }),
  );
});
