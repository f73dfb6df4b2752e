/** The chart sets or accepts every setting of the roles, and no others. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from '@jest/globals';
import { parseCanaryConfig } from '../../canary/config.js';
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
import { CHART, envOf, find, helmTest, type Rendered, rejection, render } from './helm.js';

const ROLES = ['edge', 'router', 'control'] as const;
const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'));

/** Settings that do not suit a pod, or on which ports and probes of the chart depend. */
const NOT_OFFERED = [
  'LONGLINE_HOST',
  'LONGLINE_EDGE_PORT',
  'LONGLINE_EDGE_ADMIN_PORT',
  'LONGLINE_EDGE_EXIT_WHEN_DRAINED',
  'LONGLINE_ROUTER_HTTP_PORT',
  'LONGLINE_ROUTER_GRPC_PORT',
  'LONGLINE_ROUTER_FRONT_PORT',
  'LONGLINE_ROUTER_PUSH_HTTP_PORT',
  'LONGLINE_CONTROL_HTTP_PORT',
  'LONGLINE_CONTROL_GRPC_PORT',
  // A pod has one address.
  'LONGLINE_ROUTER_FRONT_SOURCE_ADDRESSES',
];

/** Values that together set everything except TLS of edges. */
const EVERYTHING = [
  ...['balancer', 'front', 'jwt'].flatMap((name) => ['-f', join(CHART, `ci/${name}-values.yaml`)]),
  ...['--set', 'redis.bundled.enabled=false,tls.deviceCaSecret.name=authorities'],
];
const EDGE_TLS = ['-f', join(CHART, 'ci/edge-tls-values.yaml')];
/** Secrets as files. */
const FILES = ['-f', join(CHART, 'ci/routes-values.yaml')];

const AUTH_SETTINGS = {
  edge: [deviceAuthSettings, linkTlsSettings],
  router: [deviceAuthSettings, linkTlsSettings, grpcTlsSettings, backendSettings],
  control: [grpcTlsSettings, linkPeerSettings],
};

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
  helmTest('gets only existing settings from the chart, and every setting can be set there', () => {
    const rendered = [EVERYTHING, EDGE_TLS, FILES].flatMap((args) =>
      Object.keys(envIn(render(args), role)),
    );
    const offered = [
      ...rendered.filter((name) => name.startsWith('LONGLINE_')),
      ...schema.$defs[`${role}Setting`].enum,
      ...(role === 'control' ? [] : schema.$defs.sharedSetting.enum),
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
  });
});

/** Environment of a role, with references resolved as the kubelet does. */
function resolvedEnvIn(
  rendered: readonly Rendered[],
  role: string,
  podIp = '10.0.0.1',
): Record<string, string> {
  const env = envIn(rendered, role);
  for (const [key, value] of Object.entries(env)) {
    if (value.includes('secretKeyRef')) env[key] = SECRETS[key]!;
    else if (value.includes('metadata.name')) env[key] = `longline-${role}-0`;
    else if (value.includes('fieldRef')) env[key] = '';
  }
  const variables = { LONGLINE_EDGE_ID: env.LONGLINE_EDGE_ID, POD_IP: podIp };
  for (const [key, value] of Object.entries(env)) {
    env[key] = value.replace(
      /\$\((\w+)\)/g,
      (_, name: keyof typeof variables) => variables[name] ?? '?',
    );
  }
  return env;
}

helmTest('edges and routers accept secrets as files', () => {
  const rendered = render(FILES);
  const edge = parseEdgeConfig(resolvedEnvIn(rendered, 'edge'), 1_000_000);
  expect(JSON.stringify(edge)).toContain('/etc/longline/jwt-keys/jwt-keys');
  const router = parseRouterConfig(resolvedEnvIn(rendered, 'router'), 1_000_000);
  expect(JSON.stringify(router)).toContain('/etc/longline/jwt-keys/jwt-keys');
  expect(JSON.stringify(router)).toContain('/etc/longline/backend-tokens/tokens');
});

helmTest('every role accepts its environment from the chart', () => {
  const rendered = render(EVERYTHING);
  const resolvedEnv = (role: string) => resolvedEnvIn(rendered, role);
  const edge = parseEdgeConfig(resolvedEnv('edge'), 1_000_000);
  expect(edge).toMatchObject({
    edgeId: 'longline-edge-0',
    advertisedUrl: 'https://longline-edge-0.push.example.com',
    connectionsMax: 20_000,
    drainMs: 122_000,
    heartbeatMs: 30_000,
    zone: '',
  });
  const router = parseRouterConfig(resolvedEnv('router'), 1_000_000);
  expect(router.controlAddresses).toEqual(['longline-control-all.push.svc:7201']);
  const control = parseControlConfig(resolvedEnv('control'));
  expect(control).toMatchObject({ advertisedUrl: 'http://10.0.0.1:7200' });
  expect(control.operatorTokens).toHaveLength(1);
  const ipv6 = parseControlConfig(resolvedEnvIn(rendered, 'control', 'fd00::1'));
  expect(ipv6).toMatchObject({ advertisedUrl: 'http://[fd00::1]:7200' });
});

helmTest('the canary runs only where it is enabled, and accepts its environment', () => {
  const isCanary = ({ name }: Rendered) => name === 'longline-canary';
  expect(render(EVERYTHING).filter(isCanary)).toEqual([]);
  const canary = ['--set', 'canary.enabled=true,canary.existingSecret=canary'];
  const rendered = render([...EVERYTHING, ...canary]);
  expect(rendered.filter(isCanary).map(({ kind }) => kind)).toEqual(
    expect.arrayContaining(['Deployment', 'Service', 'NetworkPolicy']),
  );
  const { LONGLINE_CANARY_PUSH_TLS_CA_FILE: ca, ...env } = resolvedEnvIn(rendered, 'canary');
  expect(ca).toBe('/etc/longline/link-tls/ca.crt');
  expect(parseCanaryConfig(env)).toMatchObject({
    controlUrl: 'http://longline-control.push.svc:7200',
    controlToken: '0123456789abcdef',
    heartbeatMs: 30_000,
  });
  expect(rejection([...EVERYTHING, '--set', 'canary.enabled=true'])).toMatch(
    'canary.existingSecret: not set',
  );
});

const SECRETS: Record<string, string> = {
  LONGLINE_CANARY_CONTROL_TOKEN: '0123456789abcdef',
  LONGLINE_CANARY_PUSH_TOKEN: '0123456789abcdef',
  LONGLINE_CANARY_DEVICE_KEY: '0123456789abcdef0123456789abcdef',
  LONGLINE_REDIS_URL: 'rediss://redis:6380',
  LONGLINE_TICKET_SECRET: '0123456789abcdef0123456789abcdef',
  LONGLINE_LINK_TOKEN: '0123456789abcdef',
  LONGLINE_BACKEND_TOKENS: 'orders:push:0123456789abcdef',
  LONGLINE_CONTROL_OPERATOR_TOKENS: 'ann:0123456789abcdef',
};
