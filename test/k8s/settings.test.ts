/** The chart knows the settings that exist, and sets or admits each of them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, jest, test } from '@jest/globals';
import { packageRoot } from '../../cli/package-root.js';
import { deviceAuthSettings } from '../../common/auth/device-settings.js';
import { servingSettings, sharedSettings } from '../../common/config.js';
import { parseControlConfig } from '../../control/config.js';
import { parseEdgeConfig } from '../../edge/config.js';
import { backendSettings } from '../../router/backend-settings.js';
import { parseRouterConfig } from '../../router/config.js';
import { CHART, envOf, find, helmTest, render } from './helm.js';

jest.setTimeout(60_000);

const ROLES = ['edge', 'router', 'control'] as const;
const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'));

/** Not for a pod, or left at what the chart's ports and probes rely on. */
const NOT_OFFERED = [
  'LONGLINE_HOST',
  'LONGLINE_EDGE_PORT',
  'LONGLINE_EDGE_ADMIN_PORT',
  'LONGLINE_EDGE_EXIT_WHEN_DRAINED',
  'LONGLINE_ROUTER_HTTP_PORT',
  'LONGLINE_ROUTER_GRPC_PORT',
  'LONGLINE_ROUTER_FRONT_PORT',
  'LONGLINE_CONTROL_HTTP_PORT',
  'LONGLINE_CONTROL_GRPC_PORT',
  // A pod has one address.
  'LONGLINE_ROUTER_FRONT_SOURCE_ADDRESSES',
];

/** The values files that set most. */
const EVERYTHING = ['balancer', 'front'].flatMap((name) => [
  '-f',
  join(CHART, `ci/${name}-values.yaml`),
]);

function settingsIn(file: string): readonly string[] {
  return readFileSync(join(packageRoot, file), 'utf8').match(/\bLONGLINE_[A-Z_]*[A-Z]\b/g) ?? [];
}

function isOthers(name: string, role: string): boolean {
  return ROLES.some(
    (other) => other !== role && name.startsWith(`LONGLINE_${other.toUpperCase()}_`),
  );
}

describe.each(ROLES)('%s', (role) => {
  helmTest('has in the chart exactly the settings that it has', () => {
    const rendered = render([...EVERYTHING, '--set', 'redis.bundled.enabled=false']);
    const kind = role === 'edge' ? 'StatefulSet' : 'Deployment';
    const inChart = [
      ...Object.keys(envOf(find(rendered, kind, `longline-${role}`))),
      ...schema.$defs[`${role}Setting`].enum,
      ...(role === 'control' ? [] : schema.$defs.authSetting.enum),
      ...NOT_OFFERED,
    ];
    const exist = [
      ...Object.keys(sharedSettings),
      ...(role === 'control' ? [] : Object.keys(servingSettings)),
      ...(role === 'control' ? [] : Object.keys(deviceAuthSettings)),
      ...(role === 'router' ? Object.keys(backendSettings) : []),
      ...settingsIn(`${role}/config.ts`),
    ];
    const own = (names: readonly string[]) =>
      [...new Set(names)].filter(
        (name) => name.startsWith('LONGLINE_') && !isOthers(name, role) && !NOT_IN_PODS.test(name),
      );
    expect(own(inChart).sort()).toEqual(own(exist).sort());
  });
});

helmTest('every role accepts the environment that the chart gives it', () => {
  const rendered = render([...EVERYTHING, '--set', 'redis.bundled.enabled=false']);
  /** What the kubelet puts in. */
  const filledIn = (kind: string, name: string) => {
    const env = envOf(find(rendered, kind, name));
    for (const [key, value] of Object.entries(env)) {
      if (value.includes('secretKeyRef')) env[key] = secretFor(key);
      else if (value.includes('metadata.name')) env[key] = `${name}-0`;
      else if (value.includes('fieldRef')) env[key] = '';
    }
    const known = { LONGLINE_EDGE_ID: env.LONGLINE_EDGE_ID, POD_IP: '10.0.0.1' };
    for (const [key, value] of Object.entries(env)) {
      env[key] = value.replace(/\$\((\w+)\)/g, (_, ref: keyof typeof known) => known[ref] ?? '?');
    }
    return env;
  };
  const edge = parseEdgeConfig(filledIn('StatefulSet', 'longline-edge'), 1_000_000);
  expect(edge).toMatchObject({
    edgeId: 'longline-edge-0',
    advertisedUrl: 'https://longline-edge-0.push.example.com',
    connectionsMax: 20_000,
    drainMs: 90_000,
    heartbeatMs: 30_000,
    zone: '',
  });
  const router = parseRouterConfig(filledIn('Deployment', 'longline-router'), 1_000_000);
  expect(router.controlAddresses).toEqual(['longline-control-all.push.svc:7201']);
  const control = parseControlConfig(filledIn('Deployment', 'longline-control'));
  expect(control).toMatchObject({ advertisedUrl: 'http://10.0.0.1:7200' });
  expect(control.operatorTokens).toHaveLength(1);
});

function secretFor(name: string): string {
  const secrets: Record<string, string> = {
    LONGLINE_REDIS_URL: 'rediss://redis:6380',
    LONGLINE_BACKEND_TOKENS: 'shop:push:0123456789abcdef',
    LONGLINE_LINK_TOKEN: '0123456789abcdef',
    LONGLINE_TICKET_SECRET: '0123456789abcdef0123456789abcdef',
  };
  return secrets[name] ?? 'ann:0123456789abcdef';
}

test('the dashboard shows metrics that exist', () => {
  const dashboard = readFileSync(join(CHART, 'files/dashboard.json'), 'utf8');
  const operations = readFileSync(join(packageRoot, 'docs/operations.md'), 'utf8');
  const shown = [...new Set(dashboard.match(/longline_\w+/g))];
  expect(shown.length).toBeGreaterThan(15);
  const unknown = shown.filter(
    (name) => !operations.includes(`| \`${name.replace(/_bucket$/, '')}\` |`),
  );
  expect(unknown).toEqual([]);
});
