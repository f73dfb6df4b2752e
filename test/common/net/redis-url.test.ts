import { describe, expect, test } from '@jest/globals';
import { parseRedisUrl, redactRedisUrl, redisUrlProblem } from '../../../common/net/redis-url.js';

const plain = { host: 'h', port: 6379, username: undefined, password: undefined, isTls: false };

test.each([
  ['redis://h', plain],
  ['redis://h/', plain],
  ['redis://h:6379/0', plain],
  ['REDISS://h:1', { ...plain, port: 1, isTls: true }],
  ['redis://h:', plain],
  ['redis://[2001:db8::1]', { ...plain, host: '2001:db8::1' }],
  ['redis://[::1]:7000', { ...plain, host: '::1', port: 7000 }],
  ['redis://redis_a.default.svc:6380', { ...plain, host: 'redis_a.default.svc', port: 6380 }],
  ['redis://:secret@h', { ...plain, password: 'secret' }],
  ['redis://ada:secret@h', { ...plain, username: 'ada', password: 'secret' }],
  // A user without a password: Redis accepts any for it, or rejects the empty one.
  ['redis://ada@h', { ...plain, username: 'ada', password: '' }],
  ['redis://ada:@h', { ...plain, username: 'ada', password: '' }],
  ['redis://:@h', plain],
  ['redis://@h', plain],
  ['redis://:a%25b%2Fc%3Fd%23e%2Cf%40g@h', { ...plain, password: 'a%b/c?d#e,f@g' }],
  ['redis://:a@b:c@h', { ...plain, password: 'a@b:c' }],
  ['redis://:pässwörd@h', { ...plain, password: 'pässwörd' }],
  ['redis://:p%C3%A4ss@h', { ...plain, password: 'päss' }],
])('reads %s', (text, expected) => {
  expect(parseRedisUrl(text)).toEqual(expected);
});

const SECRET = 'hunter2';

describe('rejects without repeating it', () => {
  test.each([
    ['', /starts with redis/],
    [SECRET, /starts with redis/],
    [`http://:${SECRET}@h`, /starts with redis/],
    [`valkey://:${SECRET}@h`, /starts with redis/],
    [`redis:h:${SECRET}`, /starts with redis/],
    [`redis://:${SECRET}%@h`, /write % as %25/],
    [`redis://:${SECRET}%zz@h`, /write % as %25/],
    [`redis://:100%${SECRET}@h`, /write % as %25/],
    [`redis://%ff:${SECRET}@h`, /write % as %25/],
    [`redis://:%C3${SECRET}@h`, /write % as %25/],
    [`redis://:a/${SECRET}@h`, /%2F/],
    [`redis://:a?${SECRET}@h`, /%3F/],
    [`redis://:a#${SECRET}@h`, /%23/],
    // The list was split at a comma in the password.
    [`redis://:${SECRET}`, /no valid host|not from 1 to 65535/],
    [`${SECRET}@h`, /starts with redis/],
    [`redis://: ${SECRET}@h`, /white space/],
    [`redis://:${SECRET}@h\n`, /white space/],
    ['redis://', /no valid host/],
    ['redis:///0', /no valid host/],
    ['redis://:6379', /no valid host/],
    [`redis://:${SECRET}@`, /no valid host/],
    ['redis://[::1', /no valid host/],
    ['redis://[::g]:1', /no valid host/],
    ['redis://::1', /without brackets/],
    ['redis://2001:db8::1', /without brackets/],
    ['redis://[fe80::1%eth0]', /no valid host/],
    ['redis://h%41:1', /no valid host/],
    ['redis://h:x', /no valid host/],
    ['redis://h:0', /from 1 to 65535/],
    ['redis://h:65536', /from 1 to 65535/],
    ['redis://h:-1', /no valid host/],
    ['redis://h/1', /database other than 0.*LONGLINE_REDIS_PREFIX/],
    ['redis://h/15', /database other than 0/],
    ['redis://h/x', /has a path/],
    ['redis://h/-1', /has a path/],
    ['redis://h/0/1', /has a path/],
    ['redis://h?db=1', /parameters/],
    [`redis://h/0?password=${SECRET}`, /parameters/],
    ['redis://h?', /parameters/],
    ['redis://h#x', /parameters/],
  ])('%j', (text, problem) => {
    const found = redisUrlProblem(text);
    expect(found).toMatch(problem);
    expect(found).not.toContain(SECRET);
    expect(() => parseRedisUrl(text)).toThrow(problem);
  });
});

test.each([
  ['redis://ada:hunter2@h', 'redis://ada@h:6379'],
  ['rediss://:hunter2@[::1]:1', 'rediss://[::1]:1'],
  ['redis://a%40b:hunter2@h:1/0', 'redis://a%40b@h:1'],
])('shows %s without its password', (text, shown) => {
  expect(redactRedisUrl(text)).toBe(shown);
});
