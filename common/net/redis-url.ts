/**
 * URLs of Redis: `redis://user:password@host:port`, or `rediss://` with TLS. No message repeats a
 * part of a URL, because any part may be a password in the wrong place.
 */
import { isIPv6 } from 'node:net';
import { parseHostPort } from './host-port.js';

export interface RedisUrl {
  readonly host: string;
  readonly port: number;
  /** Undefined: the default user. */
  readonly username: string | undefined;
  /** Undefined: no authentication. '' for a user without a password. */
  readonly password: string | undefined;
  readonly isTls: boolean;
}

const DEFAULT_PORT = 6379;
const URL_PARTS = /^(rediss?):\/\/(?:([^/?#]*)@)?([^@/?#]*)(\/[^?#]*)?([?#].*)?$/i;

/** Returns what is wrong with a URL; undefined if it is valid. */
export function redisUrlProblem(text: string): string | undefined {
  const result = parse(text);
  return typeof result === 'string' ? result : undefined;
}

/** @throws Error with what is wrong with the URL */
export function parseRedisUrl(text: string): RedisUrl {
  const result = parse(text);
  if (typeof result === 'string') throw new Error(result);
  return result;
}

/** The URL without its password, for display. */
export function redactRedisUrl(text: string): string {
  const { host, port, username, isTls } = parseRedisUrl(text);
  const user = username === undefined ? '' : `${encodeURIComponent(username)}@`;
  return `${isTls ? 'rediss' : 'redis'}://${user}${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

function parse(text: string): RedisUrl | string {
  if (!/^rediss?:\/\//i.test(text)) return 'expected a URL that starts with redis:// or rediss://';
  if (/\s/.test(text)) return 'has white space; in a password, write it percent-encoded (%20)';
  const [, scheme, userinfo, hostPort, path = '', rest] = URL_PARTS.exec(text) ?? [];
  if (hostPort === undefined || `${path}${rest ?? ''}`.includes('@')) {
    return 'in user and password, write / ? # , as %2F %3F %23 %2C, and % as %25';
  }
  const credentials = parseCredentials(userinfo);
  if (typeof credentials === 'string') return credentials;
  const address = parseAddress(hostPort);
  if (typeof address === 'string') return address;
  if (/^\/0*[1-9]\d*$/.test(path)) {
    return (
      'names a database other than 0. Channels of Redis are shared by all databases, so a ' +
      'database does not keep clusters apart; remove it, and set LONGLINE_REDIS_PREFIX instead'
    );
  }
  if (!/^(\/0*)?$/.test(path)) return 'has a path after host and port; remove it';
  if (rest !== undefined)
    return 'has parameters after ? or #, which are not supported; remove them';
  return { ...address, ...credentials, isTls: scheme!.toLowerCase() === 'rediss' };
}

function parseCredentials(
  userinfo: string | undefined,
): Pick<RedisUrl, 'username' | 'password'> | string {
  if (userinfo === undefined) return { username: undefined, password: undefined };
  const [, encodedUser, encodedPassword = ''] = /^([^:]*)(?::(.*))?$/s.exec(userinfo)!;
  try {
    const username = decodeURIComponent(encodedUser!) || undefined;
    const password = decodeURIComponent(encodedPassword);
    return { username, password: password === '' && username === undefined ? undefined : password };
  } catch {
    return 'has a % in user or password without a character of UTF-8 after it; write % as %25';
  }
}

function parseAddress(text: string): Pick<RedisUrl, 'host' | 'port'> | string {
  if (isIPv6(text)) return 'has an IPv6 address without brackets; write [2001:db8::1]:6379';
  const [, host = '', port = ''] = /^(.*?)(?::(\d*))?$/s.exec(text)!;
  const parsed = parseHostPort(`${host}:${DEFAULT_PORT}`);
  if (parsed === undefined) return 'has no valid host; expected redis://user:password@host:port';
  if (port === '') return parsed;
  const number = Number(port);
  if (number < 1 || number > 65_535) return 'has a port that is not from 1 to 65535';
  return { host: parsed.host, port: number };
}
