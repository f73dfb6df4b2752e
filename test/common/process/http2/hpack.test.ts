/** Vectors of RFC 7541, appendix C, and properties of the decoder. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { HpackDecoder } from '../../../../common/process/http2/hpack-decoder.js';
import { encodeFields } from '../../../../common/process/http2/hpack-encoder.js';
import { HpackTable, TABLE_BYTES_MAX } from '../../../../common/process/http2/hpack-table.js';
import { Http2Error } from '../../../../common/process/http2/protocol.js';

const LIST_BYTES_MAX = 65_535;

const bytesOf = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');

/** Fields as text, one a line. */
function decode(decoder: HpackDecoder, bytes: Buffer): string | undefined {
  const fields = decoder.decode(bytes, 0, bytes.length);
  return fields?.map(({ name, value }) => `${name}: ${value}`).join('\n');
}

const REQUESTS = [
  ':method: GET\n:scheme: http\n:path: /\n:authority: www.example.com',
  ':method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache',
  ':method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value',
];
const REDIRECT = [
  'cache-control: private',
  'date: Mon, 21 Oct 2013 20:13:21 GMT',
  'location: https://www.example.com',
].join('\n');
const RESPONSES = [
  `:status: 302\n${REDIRECT}`,
  `:status: 307\n${REDIRECT}`,
  [
    ':status: 200',
    REDIRECT.replace(':21 GMT', ':22 GMT'),
    'content-encoding: gzip',
    'set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1',
  ].join('\n'),
];
/** The responses of the appendix need a table of 256 bytes, which a size update sets. */
const TABLE_OF_256 = '3fe101';

test.each<[string, string[], string[]]>([
  [
    'C.2.1 literal with indexing',
    ['400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572'],
    ['custom-key: custom-header'],
  ],
  [
    'C.2.2 literal without indexing',
    ['040c 2f73 616d 706c 652f 7061 7468'],
    [':path: /sample/path'],
  ],
  [
    'C.2.3 literal never indexed',
    ['1008 7061 7373 776f 7264 0673 6563 7265 74'],
    ['password: secret'],
  ],
  ['C.2.4 indexed', ['82'], [':method: GET']],
  [
    'C.3 requests without Huffman coding',
    [
      '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
      '8286 84be 5808 6e6f 2d63 6163 6865',
      '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
    ],
    REQUESTS,
  ],
  [
    'C.4 requests with Huffman coding',
    [
      '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
      '8286 84be 5886 a8eb 1064 9cbf',
      '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
    ],
    REQUESTS,
  ],
  [
    'C.5 responses without Huffman coding',
    [
      `${TABLE_OF_256} 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133
       2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
      '4803 3330 37c1 c0bf',
      `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a
       6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d
       6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31`,
    ],
    RESPONSES,
  ],
  [
    'C.6 responses with Huffman coding',
    [
      `${TABLE_OF_256} 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6
       2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3`,
      '4883 640e ffc1 c0bf',
      `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d
       d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106
       3d50 07`,
    ],
    RESPONSES,
  ],
])('RFC 7541 %s', (_name, blocks, lists) => {
  const decoder = new HpackDecoder(LIST_BYTES_MAX);
  expect(blocks.map((hex) => decode(decoder, bytesOf(hex.replaceAll(/\s/g, ''))))).toEqual(lists);
});

describe.each([
  ['index 0', '80'],
  ['an index without an entry', 'be'],
  ['an integer of five bytes', 'ffffffffff0f'],
  ['an integer that does not end', 'ff80'],
  ['a string that does not end', '400a6375'],
  ['a name without a value', '40016b'],
  ['a size update after a field', '823f00'],
  ['a table that is larger than allowed', '3fe21f'],
  // 'a' is 00011.
  ['padding of more than seven bits', '400161821fff'],
  ['padding that is not all ones', '4001618118'],
  ['EOS', '40016184ffffffff'],
])('%s', (_name, hex) => {
  test('is an error of the connection', () => {
    const bytes = bytesOf(hex);
    expect(() => new HpackDecoder(LIST_BYTES_MAX).decode(bytes, 0, bytes.length)).toThrow(
      Http2Error,
    );
  });
});

test('any bytes are fields, or an Http2Error', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 })), (blocks) => {
      const decoder = new HpackDecoder(LIST_BYTES_MAX);
      try {
        for (const block of blocks) decoder.decode(Buffer.from(block), 0, block.length);
      } catch (error) {
        expect(error).toBeInstanceOf(Http2Error);
      }
    }),
    { numRuns: 1_000 },
  );
});

const text = fc.string({ unit: 'binary-ascii', maxLength: 200 });
const field = fc.record({
  name: fc.oneof(fc.constantFrom(':path', 'te', 'date'), text),
  value: text,
});

test('decodes what the encoder encodes', () => {
  fc.assert(
    fc.property(fc.array(field, { maxLength: 20 }), (fields) => {
      const block = encodeFields(fields);
      const decoded = new HpackDecoder(Number.POSITIVE_INFINITY).decode(block, 0, block.length);
      expect(decoded!.map(({ name, value }) => ({ name, value }))).toEqual(fields);
    }),
  );
});

test('a list over the maximum is not returned, and the table follows all the same', () => {
  const decoder = new HpackDecoder(100);
  const value = 'v'.repeat(50);
  const literal = Buffer.concat([Buffer.of(0x40, 1, 0x61, value.length), Buffer.from(value)]);
  expect(decode(decoder, literal)).toBe(`a: ${value}`);
  // 2,000 references to a field of 83 bytes.
  expect(decode(decoder, Buffer.alloc(2_000, 0xbe))).toBeUndefined();
  expect(decode(decoder, Buffer.concat([literal, literal]))).toBeUndefined();
  expect(decode(decoder, Buffer.of(0xc0))).toBe(`a: ${value}`);
});

test('the table holds at most its bytes, with any additions', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.nat(TABLE_BYTES_MAX), field), { maxLength: 100 }),
      (operations) => {
        const table = new HpackTable();
        let bytesMax = TABLE_BYTES_MAX;
        for (const operation of operations) {
          if (typeof operation === 'number') {
            bytesMax = operation;
            table.resize(bytesMax);
          } else table.add({ ...operation, isValid: true });
          expect(table.bytes).toBeLessThanOrEqual(bytesMax);
        }
      },
    ),
  );
});

test.each([
  ['name', 'value', true],
  [':path', '/a b', true],
  ['', 'value', false],
  ['Name', 'value', false],
  ['na:me', 'value', false],
  ['na me', 'value', false],
  ['name', 'a\nb', false],
  ['name', ' value', false],
  ['name', 'value\t', false],
  ['name', '\xfc', true],
])('%j: %j is valid: %s', (name, value, isValid) => {
  const block = encodeFields([{ name, value }]);
  expect(new HpackDecoder(LIST_BYTES_MAX).decode(block, 0, block.length)![0]!.isValid).toBe(
    isValid,
  );
});
