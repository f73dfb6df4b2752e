import { describe, expect, test } from '@jest/globals';
import { couldBeHttp, findHeadEnd, parseHead, readHead } from '../../../common/wire/http-head.js';

const parse = (text: string) => parseHead(Buffer.from(text, 'latin1'));
const get = (...lines: string[]) =>
  parse(`GET /connect?clientId=a HTTP/1.1\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`);

describe('findHeadEnd', () => {
  test('finds the end across any split of the bytes', () => {
    const head = Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    for (let cut = 0; cut < head.length; cut++) {
      expect(findHeadEnd(head.subarray(0, cut), 0)).toBe(-1);
      expect(findHeadEnd(head, cut)).toBe(head.length);
    }
  });
});

describe('couldBeHttp', () => {
  test.each([
    ['TLS', '\x16\x03\x01'],
    ['RESP', '*1\r\n'],
    ['NUL', '\0'],
    ['MQTT CONNECT', '\x10\x0c'],
    ['MQTT PUBREC', 'P\x02'],
    ['a space', ' GET'],
  ])('rejects the first bytes of %s', (_name, bytes) => {
    expect(couldBeHttp(Buffer.from(bytes, 'latin1'))).toBe(false);
  });
});

describe('readHead', () => {
  const read = (text: string, searched = 0) => readHead(Buffer.from(text), searched, 64);
  const HEAD = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

  test('waits for the empty line, and returns its end', () => {
    expect(read(HEAD.slice(0, -1))).toBe('more');
    expect(read(`${HEAD}more`, HEAD.length - 1)).toMatchObject({ byteLength: HEAD.length });
  });

  test('rejects bare LF without waiting for more, RFC 9112 §2.2', () => {
    for (const text of ['GET / HTTP/1.1\nHost: a\n\n', 'GET / HTTP/1.1\r\nHost: ab\n\n']) {
      expect(read(text)).toMatchObject({ code: 'REQUEST_MALFORMED' });
      expect(findHeadEnd(Buffer.from(`${text}X: y\r\n\r\n`), 0)).toBe(text.length);
    }
  });

  test('rejects a head that is too long, complete or not', () => {
    const long = `${HEAD.slice(0, -2)}X: ${'y'.repeat(64)}`;
    for (const text of [long, `${long}\r\n\r\n`]) {
      expect(read(text)).toMatchObject({ code: 'HEAD_TOO_LARGE' });
    }
  });

  test('distinguishes a target that is too long, RFC 9112 §3', () => {
    expect(read(`GET /${'x'.repeat(64)}`)).toMatchObject({ code: 'TARGET_TOO_LONG' });
    expect(read(`\r\nGET /${'x'.repeat(64)}`)).toMatchObject({ code: 'TARGET_TOO_LONG' });
  });
});

describe('parseHead', () => {
  test('reads method, target and headers', () => {
    const head = get('Host: a', 'Accept: text/event-stream', 'X-A:  b\t', 'X-A: c');
    expect(head).toEqual({
      method: 'GET',
      target: '/connect?clientId=a',
      minorVersion: 1,
      headers: new Map([
        ['host', 'a'],
        ['accept', 'text/event-stream'],
        ['x-a', 'b, c'],
      ]),
    });
  });

  test('accepts the absolute form, RFC 9112 §3.2.2', () => {
    expect(parse('GET http://h:1/connect?x HTTP/1.1\r\nHost: h\r\n\r\n')).toMatchObject({
      target: '/connect?x',
    });
    expect(parse('GET http://h HTTP/1.1\r\nHost: h\r\n\r\n')).toMatchObject({ target: '/' });
  });

  test('ignores one empty line before the request, RFC 9112 §2.2', () => {
    expect(parse('\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n')).toMatchObject({ method: 'GET' });
  });

  test.each(['', 'edge', 'edge:80', 'edge:', '10.0.0.1:7010', '[::1]:7010', 'a_b.c-d~e%20'])(
    'accepts the Host %j, RFC 9112 §3.2',
    (host) => {
      expect(get(`Host: ${host}`)).toMatchObject({ method: 'GET' });
    },
  );

  test('accepts HTTP/1.0 without Host', () => {
    expect(parse('GET / HTTP/1.0\r\n\r\n')).toMatchObject({ target: '/', minorVersion: 0 });
  });

  test.each([
    ['§3.2 no Host', []],
    ['§3.2 two Hosts', ['Host: a', 'Host: a']],
    ['§3.2 a Host with a space', ['Host: a b']],
    ['§3.2 a Host with a path', ['Host: a/b']],
    ['§3.2 a Host with a user', ['Host: a@b']],
    ['§3.2 a Host with two ports', ['Host: a:1:2']],
    ['§3.2 a Host with half an address', ['Host: [::1']],
    ['§5.1 a space before the colon', ['Host : a']],
    ['§5.2 a folded line', ['Host: a', ' b']],
    ['§5 a name that is not a token', ['Host: a', 'X(y): z']],
    ['§5 no colon', ['Host: a', 'nonsense']],
    ['§2.2 a bare LF', ['Host: a\nX: b']],
    ['§2.2 a bare CR', ['Host: a\rX: b']],
    ['RFC 9110 §5.5 NUL in a value', ['Host: a', 'X: \0']],
    ['§6.1 Transfer-Encoding', ['Host: a', 'Transfer-Encoding: chunked']],
    ['§6.3 both lengths', ['Host: a', 'Content-Length: 5', 'Transfer-Encoding: chunked']],
    ['§6.3 two lengths', ['Host: a', 'Content-Length: 0', 'Content-Length: 0']],
    ['§6.2 a body', ['Host: a', 'Content-Length: 5']],
    ['§6.2 a signed length', ['Host: a', 'Content-Length: +0']],
  ])('rejects %s', (_clause, lines) => {
    expect(get(...lines)).toMatchObject({ code: 'REQUEST_MALFORMED' });
  });

  test.each([
    'GET  / HTTP/1.1',
    'GET / HTTP/1.1 ',
    'GET /a b HTTP/1.1',
    'GET /a#b HTTP/1.1',
    'GET /\x7f HTTP/1.1',
    'GET / HTTP/1.12',
    'GET / http/1.1',
    'GET /',
    'GE(T / HTTP/1.1',
    '\nGET / HTTP/1.1',
  ])('rejects the request line %j', (line) => {
    expect(parse(`${line}\r\nHost: a\r\n\r\n`)).toMatchObject({ code: 'REQUEST_MALFORMED' });
  });

  test.each(['HTTP/0.9', 'HTTP/2.0', 'HTTP/9.9'])('rejects the version %s', (version) => {
    expect(parse(`GET / ${version}\r\nHost: a\r\n\r\n`)).toMatchObject({
      code: 'HTTP_VERSION_UNSUPPORTED',
    });
  });

  test('accepts 100 header lines and rejects 101', () => {
    const lines = (n: number) => Array.from({ length: n - 1 }, (_, i) => `X-${i}: y`);
    expect(get('Host: a', ...lines(100))).toMatchObject({ method: 'GET' });
    expect(get('Host: a', ...lines(101))).toMatchObject({ code: 'HEAD_TOO_LARGE' });
  });

  const post = (version: string, ...lines: string[]) =>
    parse(`POST / HTTP/${version}\r\nHost: a\r\n${lines.map((l) => `${l}\r\n`).join('')}\r\n`);

  test.each(['Content-Length: 5', 'Transfer-Encoding: chunked', 'Transfer-Encoding: Chunked'])(
    'accepts an unambiguous body of another method: %s',
    (line) => {
      expect(post('1.1', line)).toMatchObject({ method: 'POST' });
    },
  );

  test.each([
    ['§6.1 chunked in HTTP/1.0', '1.0', ['Transfer-Encoding: chunked']],
    ['§6.1 an unknown coding', '1.1', ['Transfer-Encoding: nonsense']],
    ['§6.1 chunked that is not last', '1.1', ['Transfer-Encoding: chunked, gzip']],
    ['§6.1 chunked twice', '1.1', ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked']],
    ['§6.3 both lengths', '1.1', ['Content-Length: 5', 'Transfer-Encoding: chunked']],
    ['§6.2 a signed length', '1.1', ['Content-Length: +5']],
    ['§6.2 a list of lengths', '1.1', ['Content-Length: 5, 5']],
  ])('rejects a body that could end in two places: %s', (_clause, version, lines) => {
    expect(post(version, ...lines)).toMatchObject({ code: 'REQUEST_MALFORMED' });
  });

  describe('RFC 9110 §5.5 white space around a value is spaces and tabs', () => {
    test('which are removed', () => {
      const head = get('Host:\t a \t', 'X:', 'Y: \t ', 'Z:a \t b');
      if ('code' in head) throw new Error(head.message);
      expect(Object.fromEntries(head.headers)).toEqual({ host: 'a', x: '', y: '', z: 'a \t b' });
    });

    // White space of JavaScript, and NEL.
    describe.each(['\v', '\f', '\x85', '\xa0'])('and not %j', (blank) => {
      test.each([
        `Content-Length: ${blank}0`,
        `Content-Length: 0${blank}`,
        `Content-Length: ${blank}`,
        `Transfer-Encoding:${blank}chunked`,
        `X${blank}: y`,
        `${blank}X: y`,
      ])('as in %j', (line) => {
        expect(get('Host: a', line)).toMatchObject({ code: 'REQUEST_MALFORMED' });
        expect(post('1.1', line)).toMatchObject({ code: 'REQUEST_MALFORMED' });
      });

      test('in a Host or in a length of another method', () => {
        expect(get(`Host: ${blank}a`)).toMatchObject({ code: 'REQUEST_MALFORMED' });
        expect(post('1.1', `Content-Length: 5${blank}`)).toMatchObject({
          code: 'REQUEST_MALFORMED',
        });
      });
    });

    test('so that obs-text at the ends of other values stays', () => {
      const head = get('Host: a', 'X: \xa0y\x85');
      expect('code' in head || head.headers.get('x')).toBe('\xa0y\x85');
    });
  });

  test('treats __proto__ as an ordinary header name', () => {
    const head = get('Host: a', '__proto__: x');
    expect('code' in head || head.headers.get('__proto__')).toBe('x');
  });
});
