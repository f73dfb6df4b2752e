import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect } from '@jest/globals';
import { CHART, envOf, find, helmTest, lint, type Rendered, rejection, render } from './helm.js';

const TRIAL = ['--set', 'auth.mode=none', '--set', 'redis.bundled.enabled=true'];
const VALUES = readdirSync(join(CHART, 'ci')).map((file) => join(CHART, 'ci', file));
const WORKLOADS = ['StatefulSet', 'Deployment', 'Pod'];
const ROLES = [
  ['StatefulSet', 'longline-edge'],
  ['Deployment', 'longline-router'],
  ['Deployment', 'longline-control'],
] as const;

function withSets(...sets: readonly string[]): string[] {
  return [...TRIAL, ...sets.flatMap((set) => ['--set', set])];
}

/** LONGLINE_EDGE_ADVERTISED_URL of the edges for these values. */
function advertisedUrl(...sets: readonly string[]): string {
  const env = envOf(find(render(withSets(...sets)), 'StatefulSet', 'longline-edge'));
  return env.LONGLINE_EDGE_ADVERTISED_URL!;
}

describe.each(VALUES)('%s', (values) => {
  let rendered: Rendered[];

  helmTest('passes helm lint --strict and renders', () => {
    lint(values);
    rendered = render(['-f', values]);
    expect(rendered.length).toBeGreaterThan(10);
    expect(rendered.map(({ text }) => text).join()).not.toMatch(/<no value>|<nil>|: null$/m);
  });

  helmTest('has no two objects with the same kind and name', () => {
    const names = rendered.map(({ kind, name }) => `${kind} ${name}`);
    expect(names).toEqual([...new Set(names)]);
  });

  helmTest('restricts the privileges of every pod', () => {
    const pods = rendered.filter(({ kind }) => WORKLOADS.includes(kind));
    expect(pods.length).toBeGreaterThanOrEqual(ROLES.length);
    for (const { text } of pods) {
      expect(text).toMatch(/automountServiceAccountToken: false/);
      expect(text).toMatch(/enableServiceLinks: false/);
      expect(text).toMatch(/runAsNonRoot: true/);
      expect(text).toMatch(/readOnlyRootFilesystem: true/);
      expect(text).toMatch(/allowPrivilegeEscalation: false/);
      expect(text).toMatch(/drop: \[ALL\]|drop:\n +- ALL/);
      expect(text).toMatch(/type: RuntimeDefault/);
      expect(text).toMatch(/terminationMessagePolicy: FallbackToLogsOnError/);
    }
    for (const kind of ['Role', 'ClusterRole', 'RoleBinding', 'ClusterRoleBinding']) {
      expect(rendered.filter((each) => each.kind === kind)).toEqual([]);
    }
  });

  helmTest('gives every role probes, resources, a topology spread and a disruption budget', () => {
    for (const [kind, name] of ROLES) {
      const text = find(rendered, kind, name);
      for (const part of ['livenessProbe', 'readinessProbe', 'resources', 'affinity']) {
        expect(text).toContain(`${part}:\n`);
      }
      expect(text).toMatch(/topologySpreadConstraints:\n\s+- maxSkew: 1/);
      expect(find(rendered, 'PodDisruptionBudget', name)).toMatch(/maxUnavailable: 1/);
    }
  });

  helmTest('sets no variable twice', () => {
    for (const [kind, name] of ROLES) {
      const names = [...find(rendered, kind, name).matchAll(/- name: ([A-Z_]+)$/gm)];
      const variables = names.map(([, variable]) => variable);
      expect(variables).toEqual([...new Set(variables)]);
    }
  });

  helmTest('gives an edge time to drain', () => {
    const text = find(rendered, 'StatefulSet', 'longline-edge');
    const graceSeconds = Number(/terminationGracePeriodSeconds: (\d+)/.exec(text)![1]);
    const drainMs = Number(envOf(text).LONGLINE_EDGE_DRAIN_MS);
    expect(graceSeconds * 1_000 - drainMs).toBeGreaterThanOrEqual(15_000);
    expect(drainMs).toBeGreaterThanOrEqual(60_000);
  });
});

describe('values', () => {
  helmTest('have no default for auth.mode and the address of Redis', () => {
    const message = rejection([]);
    expect(message).toMatch(/2 problem\(s\) in the values/);
    expect(message).toMatch(/auth.mode: not set; set jwt, or none/);
    expect(message).toMatch(/redis: no address; set redis.existingSecret.name/);
  });

  helmTest.each([
    ['edge.connection=5', /additional properties 'connection' not allowed/],
    ['edge.replicas=0', /minimum/],
    ['shardCount=1000', /shardCount/],
    ['logLevel=verbose', /logLevel/],
    ['image.digest=latest', /digest/],
    ['edge.settings.LONGLINE_EDGE_TYPO=1', /LONGLINE_EDGE_TYPO/],
    ['edge.settings.LONGLINE_EDGE_ID=edge-1', /LONGLINE_EDGE_ID/],
    ['edge.reach.mode=magic', /mode/],
    ['auth.mode=maybe', /mode/],
  ])('are rejected by the schema: %s', (set, message) => {
    expect(rejection(withSets(set))).toMatch(message);
  });

  helmTest.each([
    [
      ['edge.drainSeconds=30'],
      /edge.drainSeconds: 30 is too short; an edge with 20000 connections needs 122 s/,
    ],
    [
      ['edge.terminationGracePeriodSeconds=60'],
      /60 is too short; the drain needs 122 s and the shutdown 15 s: set at least 137/,
    ],
    [
      ['edge.connections=400000', 'edge.terminationGracePeriodSeconds=120'],
      /edge.terminationGracePeriodSeconds: 120 is too short; the drain needs 312 s/,
    ],
    [['control.reconnectsPerSecondMax=100', 'edge.drainSeconds=90'], /needs 312 s to drain at 100/],
    [['redis.url=redis://r:6379'], /bundled.enabled and url are both set/],
    [
      ['redis.bundled.enabled=false', 'redis.url=redis://r', 'redis.existingSecret.name=r'],
      /url and existingSecret.name are both set/,
    ],
    [['router.front.enabled=true'], /edges accept PROXY headers only from known networks/],
    [['redis.sentinelMaster=m'], /the bundled Redis has no Sentinels/],
    [
      ['auth.mode=jwt'],
      /5 problem.*mode=jwt requires LONGLINE_JWT_KEYS or LONGLINE_JWT_JWKS_URL or auth.jwtKeysSecret/s,
    ],
    [
      ['auth.mode=jwt', 'auth.jwtKeysSecret.name=k', 'auth.settings.LONGLINE_JWT_JWKS_URL=u'],
      /LONGLINE_JWT_JWKS_URL and auth.jwtKeysSecret.name are set; set one of them/,
    ],
    [['auth.jwtKeysSecret.name=k'], /auth.jwtKeysSecret.name has no effect with mode=none/],
    [
      ['auth.settings.LONGLINE_JWT_AUDIENCE=a'],
      /LONGLINE_JWT_AUDIENCE has no effect with mode=none/,
    ],
    [['auth.settings.LONGLINE_LINK_CERTIFICATES=c'], /requires tls.clientCertificates=true/],
    [['tls.grpcSecret=s'], /set linkSecret, the authority that edges and routers trust/],
    [['tls.frontSecret=s'], /tls.frontSecret: requires router.front.enabled=true/],
    [['tls.ticketKeysSecret.name=s'], /neither edges nor front proxies terminate TLS/],
    [
      ['tls.deviceCaSecret.name=s'],
      /deviceCaSecret: neither edges nor front proxies terminate TLS/,
    ],
    [
      ['tls.edgeSecret=s', 'tls.deviceCaSecret.name=s', 'tls.deviceCaSecret.required=false'],
      /optional certificates authenticate no device; set true, or auth.mode=jwt/,
    ],
    [['tls.frontSecret=s', 'tls.deviceCaSecret.name=s'], /a front proxy needs auth.mode=jwt/],
    [['tls.clientCertificates=true'], /requires TLS; set grpcSecret and linkSecret/],
    [['auth.existingSecret.name=s'], /list the keys to use/],
    [['edge.reach.mode=tlsRoute'], /tlsRoute routes to edges by their names/],
    [['edge.reach.mode=loadBalancer'], /requires `domain`.*or `addresses`/],
    [
      ['edge.reach.mode=loadBalancer', 'edge.reach.addresses={a,b}'],
      /edge.reach.addresses: 2 addresses for up to 3 edges/,
    ],
    [['edge.reach.mode=nodePort', 'edge.reach.nodePortBase=32766'], /exceeds port 32767/],
    [['autoscaling.mode=hpa', 'autoscaling.minReplicas=11'], /maxReplicas is below minReplicas/],
    [
      ['autoscaling.mode=keda', 'autoscaling.scaleDownSeconds=60'],
      /60 is too short; an edge needs up to 137 s to shut down/,
    ],
  ])('are rejected when they contradict each other: %j', (sets, message) => {
    expect(rejection(withSets(...sets))).toMatch(message);
  });
});

describe('a device', () => {
  helmTest.each([
    [[], 'http://$(LONGLINE_EDGE_ID).longline-edge.push.svc:7000'],
    [['edge.reach.domain=d.example'], 'https://$(LONGLINE_EDGE_ID).d.example'],
    [['edge.reach.mode=hostPort'], 'http://[$(NODE_IP)]:7000'],
    [['edge.reach.mode=hostPort', 'tls.edgeSecret=s'], 'https://[$(NODE_IP)]:7000'],
    [
      ['edge.reach.mode=hostPort', 'edge.reach.domain=n.example', 'edge.reach.port=80'],
      'http://$(NODE_NAME).n.example:80',
    ],
    [
      ['edge.reach.mode=nodePort', 'edge.replicas=2'],
      'http://[$(NODE_IP)]:31000,http://[$(NODE_IP)]:31001',
    ],
    [
      ['edge.reach.mode=loadBalancer', 'edge.replicas=2', 'edge.reach.addresses={a,b}'],
      'http://a:7000,http://b:7000',
    ],
    [
      ['edge.reach.mode=loadBalancer', 'edge.reach.domain=d.example'],
      'http://$(LONGLINE_EDGE_ID).d.example:7000',
    ],
  ])('reaches an edge with %j at %s', (sets, url) => {
    expect(advertisedUrl(...sets)).toBe(url);
  });

  helmTest('reaches an edge that is not ready, because it may drain or wait for shards', () => {
    const rendered = render(withSets('edge.reach.mode=nodePort'));
    for (const name of ['longline-edge', 'longline-edge-0', 'longline-edge-2']) {
      expect(find(rendered, 'Service', name)).toMatch(/publishNotReadyAddresses: true/);
    }
    expect(find(rendered, 'Service', 'longline-edge-2')).toMatch(/nodePort: 31002/);
  });

  helmTest('has a route to every edge that an autoscaler may start', () => {
    const rendered = render(withSets('edge.reach.mode=nodePort', 'autoscaling.mode=hpa'));
    expect(find(rendered, 'Service', 'longline-edge-9')).toMatch(/nodePort: 31009/);
    // An upgrade must not reset the number of edges that the autoscaler set.
    expect(find(rendered, 'StatefulSet', 'longline-edge')).not.toMatch(/^ {2}replicas:/m);
  });
});

describe('a secret', () => {
  helmTest('is passed only to the roles that it applies to', () => {
    const rendered = render(['-f', join(CHART, 'ci/jwt-values.yaml')]);
    const envs = ROLES.map(([kind, name]) => envOf(find(rendered, kind, name)));
    const isSetIn = (setting: string) => envs.map((env) => setting in env);
    expect(isSetIn('LONGLINE_CONTROL_OPERATOR_TOKENS')).toEqual([false, false, true]);
    expect(isSetIn('LONGLINE_BACKEND_TOKENS')).toEqual([false, true, false]);
    expect(isSetIn('LONGLINE_TICKET_SECRET')).toEqual([true, true, false]);
    expect(isSetIn('LONGLINE_LINK_TOKEN')).toEqual([true, true, true]);
    expect(isSetIn('LONGLINE_GRPC_TLS_KEY_FILE')).toEqual([false, true, true]);
    expect(isSetIn('LONGLINE_LINK_TLS_CA_FILE')).toEqual([true, true, false]);
  });

  helmTest('of Redis is not copied, and its authority is trusted', () => {
    const rendered = render(['-f', join(CHART, 'ci/balancer-values.yaml')]);
    expect(rendered.filter(({ kind }) => kind === 'Secret')).toEqual([]);
    for (const [kind, name] of ROLES) {
      const env = envOf(find(rendered, kind, name));
      expect(env.LONGLINE_REDIS_URL).toMatch(/name: longline-redis-url key: url/);
      expect(env.LONGLINE_REDIS_TLS_CA_FILE).toBe('/etc/longline/redis-ca/ca.crt');
      expect(env.LONGLINE_REDIS_TLS_CERT_FILE).toBe('/etc/longline/redis-tls/tls.crt');
    }
  });
});

describe('names in Redis', () => {
  const BASE = ['--set', 'auth.mode=none,redis.existingSecret.name=redis'];
  const namesWith = (...args: string[]) => {
    const rendered = render([...BASE, ...args]);
    const envs = ROLES.map(([kind, name]) => envOf(find(rendered, kind, name)));
    const names = envs.map((env) => [env.LONGLINE_REDIS_PREFIX, env.LONGLINE_CLUSTER_NAME]);
    // All roles have the same.
    expect(names).toEqual([names[0], names[0], names[0]]);
    return names[0];
  };

  helmTest('start with the release, whose namespace tells it from others', () => {
    expect(namesWith()).toEqual(['longline', 'push/longline']);
    expect(namesWith('--set', 'redis.prefix=shop:prod')).toEqual(['shop:prod', 'push/longline']);
    expect(namesWith('--set', 'redis.prefix=,clusterName=')).toEqual([undefined, undefined]);
  });

  helmTest('must be valid', () => {
    const message = rejection([...BASE, '--set', 'redis.prefix=a b,clusterName=a b']);
    expect(message).toMatch(/redis.prefix: "a b" is not 1 to 64/);
    expect(message).toMatch(/clusterName: "a b" is not 1 to 128/);
  });

  helmTest('may not change on an upgrade', () => {
    // The check is called as for a control that is installed.
    const problemsOf = (installed: string | undefined, prefix: string) => {
      const env =
        installed === undefined
          ? '(list)'
          : `(list (dict "name" "LONGLINE_REDIS_PREFIX" "value" "${installed}"))`;
      const container = `(dict "name" "control" "env" ${env})`;
      const spec = `(dict "template" (dict "spec" (dict "containers" (list ${container}))))`;
      const call = `include "longline.checkPrefixKept" (dict "deployment" (dict "spec" ${spec}) "prefix" "${prefix}")`;
      const object = `kind: ConfigMap\nmetadata:\n  name: problems\ndata:\n  problems: {{ ${call} | quote }}`;
      const rendered = render([...BASE, '--set-json', `extraObjects=${JSON.stringify([object])}`]);
      return find(rendered, 'ConfigMap', 'problems');
    };
    expect(problemsOf('longline', 'longline')).toContain('problems: "[]"');
    expect(problemsOf(undefined, '')).toContain('problems: "[]"');
    expect(problemsOf(undefined, 'longline')).toMatch(/is installed with .*set redis.prefix to /);
    expect(problemsOf('longline', '')).toMatch(/set redis.prefix to .*longline/);
  });
});
