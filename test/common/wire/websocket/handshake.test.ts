import { describe, expect, test } from '@jest/globals';
import { AllowedOrigins } from '../../../../common/net/origin.js';
import { type HttpHead, parseHead } from '../../../../common/wire/http-head.js';
import {
  isOriginAllowed,
  isWebSocketUpgrade,
  readHandshake,
} from '../../../../common/wire/websocket/handshake.js';

/** Request of RFC 6455 §1.2 with changed headers; an undefined one is omitted. */
function request(changed: Record<string, string | undefined> = {}, version = '1.1'): HttpHead {
  const headers = {
    host: 'server.example.com',
    upgrade: 'websocket',
    connection: 'Upgrade',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
    'sec-websocket-version': '13',
    ...changed,
  };
  const lines = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name}: ${value}\r\n`],
  );
  const head = parseHead(Buffer.from(`GET /connect HTTP/${version}\r\n${lines.join('')}\r\n`));
  if ('code' in head) throw new Error(head.message);
  return head;
}

/** Reads a handshake that must succeed. */
function acceptedHandshake(head: HttpHead) {
  const handshake = readHandshake(head);
  if ('code' in handshake) throw new Error(handshake.message);
  return { ...handshake, response: handshake.response.toString() };
}

const offer = (...names: string[]) => request({ 'sec-websocket-protocol': names.join(', ') });

test('§1.3, §4.2.2 the response has the hash of the key and the GUID', () => {
  expect(acceptedHandshake(request()).response).toBe(
    'HTTP/1.1 101 Switching Protocols\r\n' +
      'Upgrade: websocket\r\n' +
      'Connection: Upgrade\r\n' +
      'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n',
  );
});

describe('the upgrade', () => {
  test.each(['websocket', 'WebSocket', 'h2c, websocket', 'foo/1,WEBSOCKET'])(
    '§4.2.1 3. is requested by %j',
    (upgrade) => {
      expect(isWebSocketUpgrade(request({ upgrade }))).toBe(true);
    },
  );

  test.each([undefined, 'h2c', 'websockets', 'websocket/13', 'web socket'])(
    'RFC 9110 §7.8 is not requested by %j',
    (upgrade) => {
      expect(isWebSocketUpgrade(request({ upgrade }))).toBe(false);
    },
  );

  test.each(['upgrade', 'keep-alive, Upgrade', 'Upgrade,close'])(
    '§4.2.1 4. Connection: %s',
    (connection) => {
      expect(readHandshake(request({ connection }))).not.toHaveProperty('code');
    },
  );

  test.each([
    ['§4.2.1 4. no Connection', { connection: undefined }],
    ['§4.2.1 4. Connection without upgrade', { connection: 'keep-alive' }],
    ['§4.2.1 4. Connection with a longer token', { connection: 'upgraded' }],
    ['§4.2.1 5. no key', { 'sec-websocket-key': undefined }],
    ['§4.2.1 5. an empty key', { 'sec-websocket-key': '' }],
    ['§4.2.1 5. a key of 15 bytes', { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25j' }],
    ['§4.2.1 5. a key of 17 bytes', { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZTE=' }],
    ['§4.2.1 5. a key that is not base64', { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25j_A==' }],
    ['§11.3.1 two keys', { 'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==, x' }],
    ['§4.1 10. one name twice', { 'sec-websocket-protocol': 'a, b, a' }],
    ['§4.1 10. an empty name', { 'sec-websocket-protocol': 'a, , b' }],
    ['§4.1 10. a name that is not a token', { 'sec-websocket-protocol': 'a(b)' }],
  ])('rejects %s', (_clause, changed) => {
    expect(readHandshake(request(changed))).toMatchObject({ code: 'REQUEST_MALFORMED' });
  });

  test('§4.2.1 1. rejects HTTP/1.0', () => {
    expect(readHandshake(request({}, '1.0'))).toMatchObject({ code: 'REQUEST_MALFORMED' });
  });

  test.each([undefined, '', '12', '14', '8', '013', '13, 8'])(
    '§4.4 rejects version %j',
    (version) => {
      expect(readHandshake(request({ 'sec-websocket-version': version }))).toMatchObject({
        code: 'WEBSOCKET_VERSION_UNSUPPORTED',
      });
    },
  );
});

describe('subprotocols and extensions', () => {
  test('§4.2.2 4. selects the first known name of the offer', () => {
    const { subprotocol, response } = acceptedHandshake(
      offer('graphql-ws', 'longline.raw', 'longline.json'),
    );
    expect(subprotocol).toBe('longline.raw');
    expect(response).toContain('\r\nSec-WebSocket-Protocol: longline.raw\r\n');
  });

  test('§4.2.2 4. selects none if no name is known', () => {
    const { subprotocol, response } = acceptedHandshake(offer('graphql-ws', 'LONGLINE.JSON'));
    expect(subprotocol).toBeUndefined();
    expect(response).not.toContain('Protocol:');
  });

  test('reads a token and never repeats it in the response', () => {
    const { subprotocol, token, response } = acceptedHandshake(
      offer('longline.token.a.b-c_d', 'longline.json'),
    );
    expect([subprotocol, token]).toEqual(['longline.json', 'a.b-c_d']);
    expect(response).not.toContain('token');
    const alone = acceptedHandshake(offer('longline.token.a.b.c'));
    expect(alone).toMatchObject({ subprotocol: undefined, token: 'a.b.c' });
    expect(alone.response).not.toContain('Protocol:');
  });

  test('§9.1 accepts no extension', () => {
    const extensions = 'permessage-deflate; client_max_window_bits, x-other';
    const { response } = acceptedHandshake(request({ 'sec-websocket-extensions': extensions }));
    expect(response).not.toContain('Extensions');
  });
});

describe('§10.2 the origin', () => {
  const isAllowed = (allowed: string[] | undefined, origin: string | undefined) =>
    isOriginAllowed(new AllowedOrigins(allowed ?? [], false), request({ origin }));

  test('allows a request without an origin, which is not from a page', () => {
    expect(isAllowed(undefined, undefined)).toBe(true);
    expect(isAllowed(['https://app.example'], undefined)).toBe(true);
  });

  test('allows listed origins, and any with *', () => {
    expect(isAllowed(['https://app.example'], 'https://app.example')).toBe(true);
    expect(isAllowed(['*'], 'https://evil.example')).toBe(true);
    expect(isAllowed(['null'], 'null')).toBe(true);
  });

  test('allows pages of the requested host', () => {
    expect(isAllowed(undefined, 'https://server.example.com')).toBe(true);
    expect(isAllowed(undefined, 'http://Server.Example.com')).toBe(true);
    expect(isAllowed(undefined, 'wss://server.example.com:443')).toBe(true);
  });

  test.each([
    'https://evil.example',
    'https://app.example.evil.example',
    'https://server.example.com:8443',
    'https://server.example.com.evil.example',
    'https://evil.example/https://server.example.com',
    'null',
    '',
    'file://',
  ])('rejects pages of %j', (origin) => {
    expect(isAllowed(['https://app.example'], origin)).toBe(false);
    expect(isAllowed(undefined, origin)).toBe(false);
  });
});
