/**
 * Settings that all processes of a cluster should have alike. Each process reports a short digest
 * of each to control, which says where they differ. 32 bits are enough to notice a difference, and
 * tell nothing of a secret.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { type Env, parseSettings, type Role } from './config.js';

/**
 * Not among them: what belongs to a machine or a process (addresses, ports, capacities, paths of
 * files), and credentials of which processes may have a part (LONGLINE_LINK_TOKEN).
 */
export const AGREED_SETTINGS: readonly string[] = [
  'LONGLINE_AUTH',
  'LONGLINE_REDIS_EVICTION_ACCEPTED',
  'LONGLINE_EVENTS',
  'LONGLINE_EVENTS_PER_SHARD_MAX',
  'LONGLINE_EVENTS_KEEP_MS',
  'LONGLINE_JWT_ALGORITHMS',
  'LONGLINE_JWT_KEYS',
  'LONGLINE_JWT_JWKS_URL',
  'LONGLINE_JWT_AUDIENCE',
  'LONGLINE_JWT_ISSUER',
  'LONGLINE_JWT_SKEW_MS',
  'LONGLINE_JWT_LABELS_CLAIM',
  'LONGLINE_JWT_GROUPS_CLAIM',
  'LONGLINE_TICKET_SECRET',
  'LONGLINE_BACKEND_TOKENS',
  'LONGLINE_CORS_ORIGINS',
  'LONGLINE_APP_ORIGINS',
  'LONGLINE_MQTT_PATHS',
  'LONGLINE_EDGE_QUERY_LABELS',
  'LONGLINE_EDGE_MQTT_PUBLISHES',
  'LONGLINE_EDGE_MQTT_WILLS',
  'LONGLINE_EDGE_USER_DEVICE_DAYS',
  'LONGLINE_ROUTER_TTL_DEFAULT_MS',
  'LONGLINE_ROUTER_TTL_MAX_MS',
  'LONGLINE_ROUTER_INBOX_COUNT_MAX',
  'LONGLINE_ROUTER_INBOX_BYTES_MAX',
  'LONGLINE_ROUTER_ACCEPT_LEVEL',
  'LONGLINE_ROUTER_PAYLOAD_BYTES_MAX',
  'LONGLINE_ROUTER_USER_DEVICES_MAX',
  'LONGLINE_CONTROL_LEASE_MS',
  'LONGLINE_CONTROL_RECONNECTS_PER_SECOND_MAX',
  'LONGLINE_CONTROL_OPERATOR_TOKENS',
  'LONGLINE_CONTROL_VIEWER_TOKENS',
  'LONGLINE_CONTROL_PAYLOAD_READERS',
];

/** By name of the setting. */
export type SettingDigests = Readonly<Record<string, number>>;

const NAME = /^LONGLINE_[A-Z0-9_]{1,64}$/;

/** Whether digests from another process are plausible: their number and names are bounded. */
export function areSettingDigests(digests: SettingDigests): boolean {
  const names = Object.keys(digests);
  return names.length <= 2 * AGREED_SETTINGS.length && names.every((name) => NAME.test(name));
}

export const settingDigests = z.record(z.string(), z.int().min(0)).refine(areSettingDigests);

/**
 * Digests of the settings of a role as they are in force, defaults included.
 * @throws ConfigError
 */
export function digestSettings(role: Role, shape: z.ZodRawShape, env: Env): SettingDigests {
  const parsed: Readonly<Record<string, unknown>> = parseSettings(role, shape, env);
  const names = AGREED_SETTINGS.filter((name) => name in shape);
  return Object.fromEntries(names.map((name) => [name, digestOf(name, parsed[name])]));
}

/** The order of a list does not count. */
function digestOf(name: string, value: unknown): number {
  const text = Array.isArray(value)
    ? value.map((entry) => JSON.stringify(entry)).sort()
    : [JSON.stringify(value) ?? ''];
  return createHash('sha256')
    .update([name, ...text].join('\n'))
    .digest()
    .readUInt32BE(0);
}
