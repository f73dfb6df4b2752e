/** The vectors come from Kubernetes' own parser: vectors.go. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Labels, parseLabels } from '../../../common/labels/labels.js';
import { matches, parseSelector, type Selector } from '../../../common/labels/selector.js';

const file = readFileSync(new URL('selector-vectors.txt', import.meta.url), 'utf8');
const [sets, vectors] = file
  .replace(/\n$/, '')
  .split('\n\n', 2)
  .map((part) => part.split('\n'));
const labelSets = [...sets!, ''].map((text) => parseLabels(text) as Labels);

test('accepts, rejects and matches what Kubernetes does', () => {
  const ours = vectors!.map((line) => {
    const quoted = line.split('\t', 1)[0]!;
    const selector = parseSelector(JSON.parse(quoted));
    if ('code' in selector) return `${quoted}\tinvalid`;
    const matching = [...labelSets.keys()].filter((i) => matches(selector, labelSets[i]!));
    return `${quoted}\t${matching.join(',')}`;
  });
  expect(ours.length).toBeGreaterThan(700);
  expect(ours).toEqual(vectors);
});

describe('an invalid selector', () => {
  test.each([
    ['app=ios,', 9, 'expected a label name or !, found the end'],
    ['app ios', 5, 'expected =, ==, !=, in, notin, a comma or the end, found "ios"'],
    ['app in ios', 8, 'expected an opening parenthesis, found "ios"'],
    ['app in (ios', 12, 'expected a comma or a closing parenthesis, found the end'],
    ['!app=ios', 5, 'expected a comma or the end, found "="'],
    ['build>5', 6, 'expected =, ==, !=, in, notin, a comma or the end, found ">"'],
    ['!', 2, 'expected a label name, found the end'],
    ['app=i os', 7, 'expected a comma or the end, found "os"'],
  ])('%s is rejected at the right place', (selector, position, problem) => {
    const message = `the selector at character ${position}: ${problem}`;
    expect(parseSelector(selector)).toEqual({ code: 'SELECTOR_INVALID', message });
  });

  test('names an invalid name or value', () => {
    expect(parseSelector('a,-b')).toMatchObject({
      message: expect.stringMatching(
        /^the selector at character 3: the label name "-b" is invalid/,
      ),
    });
    expect(parseSelector('a in (b, é)')).toMatchObject({
      message: expect.stringMatching(/character 10: the label value "é" is invalid/),
    });
  });

  test('is one that is longer than 4,096 characters', () => {
    const values = (length: number) => `a in (${'b,'.repeat(length / 2)}`.slice(0, length - 1);
    expect(parseSelector(`${values(4_096)})`)).not.toHaveProperty('code');
    expect(parseSelector(`${values(4_097)})`)).toMatchObject({ code: 'SELECTOR_INVALID' });
  });
});

test('any text is parsed or rejected, and one that is parsed says what it means', () => {
  const name = fc.constantFrom('app', 'region', 'in', 'a.b/c');
  const value = fc.constantFrom('ios', 'eu', 'notin', '');
  const requirement = fc.oneof(
    fc.tuple(name, fc.constantFrom('=', '==', '!='), value).map((parts) => parts.join('')),
    fc
      .tuple(name, fc.constantFrom('in', 'notin'), fc.array(value, { minLength: 1, maxLength: 3 }))
      .map(([label, operator, values]) => `${label} ${operator} (${values.join(',')})`),
    name,
    name.map((label) => `!${label}`),
  );
  const pairs = fc.dictionary(name, value).map((object) => new Map(Object.entries(object)));
  fc.assert(
    fc.property(fc.array(requirement, { minLength: 1, maxLength: 4 }), pairs, (all, labels) => {
      const parsed = all.map((each) => parseSelector(each) as Selector);
      const whole = parseSelector(all.join(' , ')) as Selector;
      expect(matches(whole, labels)).toBe(parsed.every((each) => matches(each, labels)));
    }),
  );
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const parsed = parseSelector(text);
      if ('code' in parsed) expect(parsed.code).toBe('SELECTOR_INVALID');
      else expect(typeof matches(parsed, new Map())).toBe('boolean');
    }),
  );
});
