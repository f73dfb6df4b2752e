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

const traces = fc.record({
  timed: fc.boolean(),
  traceparent: fc.constantFrom('', `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`),
  // Without anything in it, the field is left out.
  tracestate: fc.string({ minLength: 1, maxLength: 200 }),
});
const pushesOf = (payload: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Required<SentPush>> =>
  fc.record({
    queryId: fc.nat(Number.MAX_SAFE_INTEGER),
    replyChannel: fc.constantFrom('', 'lr:{7}:router', 'prefix:lr:{1234}:router:0-0-0'),
    clientId: fc.string({ minLength: 1, maxLength: 300, unit: 'grapheme' }),
    contentType: fc.constantFrom('', 'text/plain', 'a'.repeat(128)),
    ttlMs: fc.nat(0xffff_ffff),
    appendTo: fc.constantFrom('', '', 'answer', 'z'.repeat(64)),
    appendEnd: fc.boolean(),
    collapsible: fc.boolean(),
    whenSlow: fc.nat(3),
    trace: fc.option(traces, { nil: undefined }),
    payload,
  });
const smallPayloads = fc.uint8Array({ maxLength: 199 });
const payloads = fc.oneof(
  fc.uint8Array(),
  fc.nat(70_000).map((length) => Buffer.alloc(length, '.')),
);
const pushes = pushesOf(payloads);
const offsets = fc.constantFrom('', '0', '12345');
const ids = fc.tuple(fc.nat(), fc.nat()).map(([ms, n]) => `${ms}-${n}`);

const sealedOf = (push: SentPush) => sealPush(push.queryId, push.replyChannel, push.clientId, push);

/**
 * The fields that the script appends; `offset` is empty for what is no part of a growing message.
 */
function appendix(id: string, seq: string, offset: string): Buffer {
  const fields: [number, string][] = [
    [0x42, id],
    [0x4a, seq],
    ...(offset === '' ? [] : [[0x6a, offset] satisfies [number, string]]),
    [0x62, id + seq + offset],
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
        const bytes = sealedOf(push);
        const unsealed = unseal(bytes);
        if (unsealed.type !== 'intact') throw new Error(unsealed.type);
        const { queryId, replyChannel, clientId, contentType, ttlMs, whenSlow } = push;
        const { appendTo, appendEnd, collapsible, trace } = push;
        const keys = { appendTo, appendEnd, collapsible };
        const decoded = ShardEnvelope.decode(unsealed.content);
        const body = decoded.body as Extract<ShardEnvelope['body'], { $case: 'push' }>;
        const { payload, ...value } = body.value;
        expect({ ...decoded, body: value }).toEqual({
          ...{ queryId, replyChannel, clientId, id: '', seq: '', appendOffset: '' },
          body: {
            ...{ contentType, ttlMs, whenSlow, trace, ...keys },
            ...{ clientIds: [], shards: [], clientCounts: [] },
          },
        });
        // Jest compares long buffers byte by byte, which takes seconds.
        expect(Buffer.compare(payload, push.payload)).toBe(0);
        expect(Buffer.compare(bytes.subarray(bytes.length - payload.length), payload)).toBe(0);
      }),
    );
  });

  test('is read as it was sent, and with what the script appends', () => {
    fc.assert(
      fc.property(pushes, ids, fc.nat(), fc.nat(), (push, id, seq, at) => {
        const { payload, appendTo: to, appendEnd: isEnd, ...sent } = push;
        const bytes = sealedOf(push);
        const stored = Buffer.concat([bytes, appendix(id, `${seq}`, to && `${at}`)]);
        for (const [message, added] of [
          [bytes, { id: '', seq: 0, offset: 0 }],
          [stored, { id, seq, offset: at }],
        ] as const) {
          const { payload: received, ...read } = readPush(message)!;
          const { offset, ...rest } = added;
          const appended = to === '' ? undefined : { to, offset, isEnd };
          expect(read).toEqual({ ...sent, ...rest, appended });
          expect(Buffer.compare(received, payload)).toBe(0);
        }
      }),
    );
  });

  test('with any bit flipped or any byte cut is not read', () => {
    fc.assert(
      fc.property(
        pushesOf(smallPayloads),
        ids,
        fc.nat(),
        fc.boolean(),
        (push, id, at, isStored) => {
          const sealed = sealedOf(push);
          const bytes = isStored
            ? Buffer.concat([sealed, appendix(id, '7', push.appendTo && '70')])
            : sealed;
          expect(readPush(flipped(bytes, at))).toBeUndefined();
          const length = at % bytes.length;
          if (length !== sealed.length) expect(readPush(bytes.subarray(0, length))).toBeUndefined();
        },
      ),
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
        const { contentType, ttlMs, whenSlow } = push;
        const value = {
          payload: Buffer.from(push.payload),
          contentType,
          ttlMs,
          whenSlow,
          clientIds: several,
          ...{ shards: [], clientCounts: [] },
          ...{ appendTo: '', appendEnd: false, collapsible: false, trace: undefined },
        };
        const empty = { clientId: '', id: '', seq: '', appendOffset: '' };
        const envelope = { queryId, replyChannel, ...empty };
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
      fc.property(ids, fc.nat().map(String), offsets, fc.nat(), (messageId, seq, offset, at) => {
        const bytes = appendix(messageId, seq, offset);
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
