import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  type Labels,
  labelsText,
  parseLabels,
  readLabelsClaim,
  readLabelsText,
} from '../../../common/labels/labels.js';

const IOS = new Map([
  ['app', 'ios'],
  ['version', '5.2'],
]);

test('labels are text with commas or spaces, or an object of strings', () => {
  expect(parseLabels('app=ios version=5.2')).toEqual(IOS);
  expect(parseLabels(' app=ios,, version=5.2,')).toEqual(IOS);
  expect(readLabelsClaim({ app: 'ios', version: '5.2' })).toEqual(IOS);
  expect(readLabelsClaim('app=ios,version=5.2')).toEqual(IOS);
  for (const none of [undefined, null, '', {}]) expect(readLabelsClaim(none)).toEqual(new Map());
});

test('names may have a DNS name before them, and values may be empty', () => {
  expect(parseLabels('example.com/app_1=')).toEqual(new Map([['example.com/app_1', '']]));
});

describe.each([
  ['app', /"app" has no value/],
  ['=ios', /name "" is invalid/],
  ['-app=ios', /name "-app" is invalid/],
  ['app-=ios', /name "app-" is invalid/],
  ['Example.com/app=ios', /name "Example.com\/app" is invalid/],
  ['/app=ios', /name "\/app" is invalid/],
  ['a/b/c=ios', /name "a\/b\/c" is invalid/],
  [`${'x'.repeat(64)}=ios`, /is invalid/],
  [`app=${'x'.repeat(64)}`, /value "x+" is invalid/],
  ['app=i=os', /value "i=os" is invalid/],
  ['app=_', /value "_" is invalid/],
  ['app=é', /value "é" is invalid/],
  ['app=a\nb', /value "a\\nb" is invalid/],
  ['__proto__=x', /name "__proto__" is invalid/],
  ['app=ios app=web', /app occurs twice/],
])('%s', (text, message) => {
  test('is rejected', () => {
    expect(parseLabels(text)).toEqual({
      code: 'LABELS_INVALID',
      message: expect.stringMatching(message),
    });
  });
});

test.each([5, true, [], ['app=ios'], { app: 5 }, { app: null }, { app: ['ios'] }])(
  'a claim %j is rejected',
  (claim) => {
    expect(readLabelsClaim(claim)).toMatchObject({ code: 'LABELS_INVALID' });
  },
);

test('16 labels are allowed, and 512 bytes', () => {
  const some = (count: number) => Array.from({ length: count }, (_, i) => `l${i}=`).join(' ');
  expect(parseLabels(some(16))).not.toHaveProperty('code');
  expect(parseLabels(some(17))).toMatchObject({ code: 'LABELS_INVALID' });
  const long = (bytes: number) => {
    const full = Array.from({ length: 7 }, (_, i) => `l${i}=${'v'.repeat(60)}`).join(',');
    return `${full},last=${'v'.repeat(bytes - full.length - 6)}`;
  };
  expect(long(512)).toHaveLength(512);
  expect(parseLabels(long(512))).not.toHaveProperty('code');
  expect(parseLabels(long(513))).toMatchObject({
    message: 'the labels have 513 bytes; the maximum is 512',
  });
});

test('the text of labels is the same in any order, and is read again', () => {
  const part = fc.stringMatching(/^[a-z][a-z0-9.-]{0,5}[a-z0-9]$/);
  const pairs = fc.uniqueArray(fc.tuple(part, part), { selector: ([name]) => name, maxLength: 16 });
  fc.assert(
    fc.property(pairs, (all) => {
      const labels: Labels = new Map(all);
      expect(labelsText(labels)).toBe(labelsText(new Map(all.toReversed())));
      expect(readLabelsText(labelsText(labels))).toEqual(labels);
    }),
  );
});
