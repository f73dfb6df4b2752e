import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { readAnnounce, sealAnnounce } from '../../../../common/wire/protobuf/announce-envelope.js';
import { seal } from '../../../../common/wire/sealed-message.js';
import { ShardEnvelope } from '../../../../proto/gen/longline/v1/envelope.js';

const announcement = fc.record({
  clientId: fc.string({ maxLength: 300, unit: 'grapheme' }),
  connection: fc.nat(Number.MAX_SAFE_INTEGER),
  renewed: fc.boolean(),
});
const bodies = fc.record({
  edgeIncarnation: fc.constantFrom('', 'edge-1:abc', 'z'.repeat(200)),
  announcements: fc.array(announcement),
  hasClients: fc.boolean(),
  left: fc.boolean(),
  otherEdges: fc.array(fc.string({ maxLength: 40, unit: 'grapheme' }), { maxLength: 16 }),
  connectionsEnded: fc.boolean(),
});

test('announcements are written as the generated code writes them, and read back', () => {
  fc.assert(
    fc.property(bodies, (value) => {
      const body = { $case: 'announce', value } as const;
      const envelope = ShardEnvelope.create({ body });
      const bytes = sealAnnounce(value);
      expect(bytes).toEqual(seal(ShardEnvelope.encode(envelope).finish()));
      expect(readAnnounce(bytes)).toEqual(value);
    }),
  );
});

test('a flipped bit, a missing byte or further bytes are left to the generated code', () => {
  fc.assert(
    fc.property(bodies, fc.nat(), fc.nat(7), (value, at, bit) => {
      const bytes = sealAnnounce(value);
      const flipped = Buffer.from(bytes);
      flipped[at % bytes.length]! ^= 1 << bit;
      expect(readAnnounce(flipped)).toBeUndefined();
      expect(readAnnounce(bytes.subarray(0, -1))).toBeUndefined();
      expect(readAnnounce(Buffer.concat([bytes, Buffer.from([0x30, 1])]))).toBeUndefined();
    }),
  );
});

test('other envelopes are left to the generated code', () => {
  const body = { $case: 'presence', value: {} } as const;
  const envelope = ShardEnvelope.create({ body, clientId: 'alice' });
  expect(readAnnounce(seal(ShardEnvelope.encode(envelope).finish()))).toBeUndefined();
});
