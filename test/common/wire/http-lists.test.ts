import { describe, expect, test } from '@jest/globals';
import {
  accepts,
  listElements,
  lowerAscii,
  tokensOf,
  trimBlanks,
} from '../../../common/wire/http-lists.js';

/** White space of JavaScript that is none of HTTP. */
const OTHER_BLANKS = ['\v', '\f', '\xa0', '\ufeff', '\u2028', '\u3000', '\r', '\n'];

describe('trimBlanks', () => {
  test('removes spaces and tabs at both ends only (RFC 9110 §5.6.3)', () => {
    expect(trimBlanks(' \t a \t b\t ')).toBe('a \t b');
    expect(trimBlanks('\t  ')).toBe('');
    expect(trimBlanks('')).toBe('');
  });

  test.each(OTHER_BLANKS)('keeps %j', (blank) => {
    expect(trimBlanks(` ${blank}a${blank} `)).toBe(`${blank}a${blank}`);
    expect(listElements(`a,${blank}b`)).toEqual(['a', `${blank}b`]);
  });
});

test('lower case is of ASCII letters only', () => {
  expect(lowerAscii('UPGRADE-Az09')).toBe('upgrade-az09');
  expect(lowerAscii('\u212a\u0130\xc0')).toBe('\u212a\u0130\xc0');
});

test('empty elements are ignored (RFC 9110 §5.6.1.2)', () => {
  expect(tokensOf(', Keep-Alive ,,\tUpgrade,')).toEqual(['keep-alive', 'upgrade']);
  expect(tokensOf(undefined)).toEqual([]);
});

describe('accepts (RFC 9110 §12.5.1)', () => {
  const NDJSON = 'application/x-ndjson';

  test.each([
    NDJSON,
    'Application/X-NDJSON',
    'text/html, application/x-ndjson;q=0.1',
    'application/x-ndjson ; q=1',
    'application/x-ndjson;charset=utf-8',
  ])('%j names the type', (value) => {
    expect(accepts(value, NDJSON)).toBe(true);
  });

  test.each([
    undefined,
    '',
    '*/*',
    'application/*',
    'application/x-ndjson-seq',
    'xapplication/x-ndjson',
    'application/x-ndjson;q=0',
    'application/x-ndjson; Q=0.000',
    '\xa0application/x-ndjson',
  ])('%j does not', (value) => {
    expect(accepts(value, NDJSON)).toBe(false);
  });
});
