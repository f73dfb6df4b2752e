import { expect, test } from '@jest/globals';
import { AGREED_SETTINGS, digestSettings } from '../../../common/process/agreed-settings.js';
import { controlSettings } from '../../../control/config.js';
import { edgeSettings } from '../../../edge/config.js';
import { routerSettings } from '../../../router/config.js';

const env = { LONGLINE_REDIS_URL: 'redis://localhost:6379', LONGLINE_AUTH: 'none' };
const routerEnv = { ...env, LONGLINE_CONTROL_ADDRESS: 'localhost:7201' };

test('each is a setting of some role', () => {
  const known = { ...edgeSettings, ...routerSettings, ...controlSettings };
  expect(AGREED_SETTINGS.filter((name) => !(name in known))).toEqual([]);
  expect(new Set(AGREED_SETTINGS).size).toBe(AGREED_SETTINGS.length);
});

test('a default is like the same value, and the order of a list does not count', () => {
  const digest = (changes: object) =>
    digestSettings('router', routerSettings, { ...routerEnv, ...changes });
  const first = digest({ LONGLINE_CORS_ORIGINS: 'https://a.example,https://b.example' });
  const second = digest({
    LONGLINE_CORS_ORIGINS: 'https://b.example, https://a.example',
    LONGLINE_EVENTS_PER_SHARD_MAX: '10000',
    LONGLINE_LOG_LEVEL: 'error',
  });
  const { LONGLINE_EVENTS_PER_SHARD_MAX: unset, ...others } = first;
  const { LONGLINE_EVENTS_PER_SHARD_MAX: set, ...same } = second;
  expect(same).toEqual(others);
  expect([unset, set]).toEqual([expect.any(Number), expect.any(Number)]);
  expect(digest({ LONGLINE_CORS_ORIGINS: 'https://a.example' })).not.toEqual(first);
});

test('roles agree on what they share, and a secret does not appear', () => {
  const secret = 'a-secret-of-more-than-32-characters-0123456789';
  const jwt = { LONGLINE_AUTH: 'none', LONGLINE_TICKET_SECRET: secret };
  const router = digestSettings('router', routerSettings, { ...routerEnv, ...jwt });
  const edge = digestSettings('edge', edgeSettings, {
    ...routerEnv,
    ...jwt,
    LONGLINE_EDGE_ID: 'edge-1',
  });
  for (const [name, digest] of Object.entries(edge)) {
    if (name in router) expect([name, router[name]]).toEqual([name, digest]);
    expect(digest).toBeLessThan(2 ** 32);
  }
  expect(JSON.stringify(edge)).not.toContain(secret);
});
