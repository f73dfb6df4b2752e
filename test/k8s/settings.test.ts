/** The chart knows the settings that exist, and sets or admits each of them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, jest, test } from '@jest/globals';
import { deviceAuthSettings } from '../../common/auth/device-settings.js';
import {
  grpcTlsSettings,
  linkPeerSettings,
  linkTlsSettings,
} from '../../common/auth/peer-settings.js';
import { servingSettings, sharedSettings } from '../../common/process/config.js';
import { packageRoot } from '../../common/process/package-root.js';
import { parseControlConfig } from '../../control/config.js';
import { parseEdgeConfig } from '../../edge/config.js';
import { parseRouterConfig } from '../../router/config.js';
import { backendSettings } from '../../router/push/backend-settings.js';
import { CHART, envOf, find, helmTest, type Rendered, render } from './helm.js';

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
  // Secrets are variables here.
  'LONGLINE_JWT_KEYS_FILE',
  'LONGLINE_BACKEND_TOKENS_FILE',
  // A pod has one address.
  'LONGLINE_ROUTER_FRONT_SOURCE_ADDRESSES',
];

/** Values files that together set all that can be set, but for TLS of edges, which goes with no front. */
const EVERYTHING = [
  ...['balancer', 'front', 'jwt'].flatMap((name) => ['-f', join(CHART, `ci/${name}-values.yaml`)]),
  ...['--set', 'redis.bundled.enabled=false'],
];
const EDGE_TLS = ['-f', join(CHART, 'ci/edge-tls-values.yaml')];

const AUTH_SETTINGS = {
  edge: [deviceAuthSettings, linkTlsSettings],
  router: [deviceAuthSettings, linkTlsSettings, grpcTlsSettings, backendSettings],
  control: [grpcTlsSettings, linkPeerSettings],
};

/** All settings of a role. */
function settingsOf(role: (typeof ROLES)[number]): string[] {
  const own = readFileSync(join(packageRoot, role, 'config.ts'), 'utf8');
  const shared = [sharedSettings, ...(role === 'control' ? [] : [servingSettings])];
  return [
    ...[...shared, ...AUTH_SETTINGS[role]].flatMap((settings) => Object.keys(settings)),
    ...(own.match(new RegExp(`\\bLONGLINE_${role.toUpperCase()}_[A-Z_]*[A-Z]\\b`, 'g')) ?? []),
  ];
}

function envIn(rendered: readonly Rendered[], role: string): Record<string, string> {
  const kind = role === 'edge' ? 'StatefulSet' : 'Deployment';
  return envOf(find(rendered, kind, `longline-${role}`));
}

describe.each(ROLES)('%s', (role) => {
  helmTest(
    'gets from the chart no setting that it has not, and can be given all that it has',
    () => {
      const given = [EVERYTHING, EDGE_TLS].flatMap((args) =>
        Object.keys(envIn(render(args), role)),
      );
      const offered = [
        ...given.filter((name) => name.startsWith('LONGLINE_')),
        ...schema.$defs[`${role}Setting`].enum,
      ];
      const inChart = [
        ...offered,
        ...schema.$defs.authSetting.enum,
        ...schema.$defs.secretSetting.enum,
        ...NOT_OFFERED,
      ];
      const existing = settingsOf(role);
      expect(offered.filter((name) => !existing.includes(name))).toEqual([]);
      expect(existing.filter((name) => !inChart.includes(name))).toEqual([]);
    },
  );
});

helmTest('every role accepts the environment that the chart gives it', () => {
  const rendered = render(EVERYTHING);
  /** What the kubelet puts in. */
  const filledIn = (role: string) => {
    const env = envIn(rendered, role);
    for (const [key, value] of Object.entries(env)) {
      if (value.includes('secretKeyRef')) env[key] = SECRETS[key]!;
      else if (value.includes('metadata.name')) env[key] = `longline-${role}-0`;
      else if (value.includes('fieldRef')) env[key] = '';
    }
    const known = { LONGLINE_EDGE_ID: env.LONGLINE_EDGE_ID, POD_IP: '10.0.0.1' };
    for (const [key, value] of Object.entries(env)) {
      env[key] = value.replace(/\$\((\w+)\)/g, (_, ref: keyof typeof known) => known[ref] ?? '?');
    }
    return env;
  };
  const edge = parseEdgeConfig(filledIn('edge'), 1_000_000);
  expect(edge).toMatchObject({
    edgeId: 'longline-edge-0',
    advertisedUrl: 'https://longline-edge-0.push.example.com',
    connectionsMax: 20_000,
    drainMs: 122_000,
    heartbeatMs: 30_000,
    zone: '',
  });
  const router = parseRouterConfig(filledIn('router'), 1_000_000);
  expect(router.controlAddresses).toEqual(['longline-control-all.push.svc:7201']);
  const control = parseControlConfig(filledIn('control'));
  expect(control).toMatchObject({ advertisedUrl: 'http://10.0.0.1:7200' });
  expect(control.operatorTokens).toHaveLength(1);
});

const SECRETS: Record<string, string> = {
  LONGLINE_REDIS_URL: 'rediss://redis:6380',
  LONGLINE_TICKET_SECRET: '0123456789abcdef0123456789abcdef',
  LONGLINE_LINK_TOKEN: '0123456789abcdef',
  LONGLINE_BACKEND_TOKENS: 'orders:push:0123456789abcdef',
  LONGLINE_CONTROL_OPERATOR_TOKENS: 'ann:0123456789abcdef',
};

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
