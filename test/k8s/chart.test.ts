import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, jest } from '@jest/globals';
import { CHART, envOf, find, helmTest, lint, type Rendered, rejection, render } from './helm.js';

/** Each start of Helm takes a second or two when the machine is busy. */
jest.setTimeout(60_000);

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

/** The whole of what `edge.reach` and its like lead to. */
function advertisedUrl(...sets: readonly string[]): string {
  const env = envOf(find(render(withSets(...sets)), 'StatefulSet', 'longline-edge'));
  return env.LONGLINE_EDGE_ADVERTISED_URL!;
}

describe.each(VALUES)('%s', (values) => {
  let rendered: Rendered[];

  helmTest('passes helm lint --strict, and renders', () => {
    lint(values);
    rendered = render(['-f', values]);
    expect(rendered.length).toBeGreaterThan(10);
    expect(rendered.map(({ text }) => text).join()).not.toMatch(/<no value>|<nil>|: null$/m);
  });

  helmTest('has no two objects of one kind and name', () => {
    const names = rendered.map(({ kind, name }) => `${kind} ${name}`);
    expect(names).toEqual([...new Set(names)]);
  });

  helmTest('gives no pod more than it needs', () => {
    const pods = rendered.filter(({ kind }) => WORKLOADS.includes(kind));
    expect(pods.length).toBeGreaterThanOrEqual(ROLES.length);
    for (const { text } of pods) {
      expect(text).toMatch(/automountServiceAccountToken: false/);
      expect(text).toMatch(/enableServiceLinks: false/);
      expect(text).toMatch(/runAsNonRoot: true/);
      expect(text).toMatch(/readOnlyRootFilesystem: true/);
      expect(text).toMatch(/allowPrivilegeEscalation: false/);
      expect(text).toMatch(/drop: \[ALL\]/);
      expect(text).toMatch(/type: RuntimeDefault/);
      expect(text).toMatch(/terminationMessagePolicy: FallbackToLogsOnError/);
    }
    for (const kind of ['Role', 'ClusterRole', 'RoleBinding', 'ClusterRoleBinding']) {
      expect(rendered.filter((each) => each.kind === kind)).toEqual([]);
    }
  });

  helmTest('gives each role probes, resources, a spread and a disruption budget', () => {
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

  helmTest('gives an edge time to leave', () => {
    const text = find(rendered, 'StatefulSet', 'longline-edge');
    const graceSeconds = Number(/terminationGracePeriodSeconds: (\d+)/.exec(text)![1]);
    const drainMs = Number(envOf(text).LONGLINE_EDGE_DRAIN_MS);
    expect(graceSeconds * 1_000 - drainMs).toBeGreaterThanOrEqual(15_000);
    expect(drainMs).toBeGreaterThanOrEqual(60_000);
  });
});

describe('values', () => {
  helmTest('are not enough as they come: two questions have no default', () => {
    const said = rejection([]);
    expect(said).toMatch(/2 problem\(s\) in the values/);
    expect(said).toMatch(/auth.mode: nothing starts unauthenticated by accident/);
    expect(said).toMatch(/redis: say where it is/);
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
  ])('are rejected by the schema: %s', (set, why) => {
    expect(rejection(withSets(set))).toMatch(why);
  });

  helmTest.each([
    [
      ['edge.drainSeconds=30'],
      /edge.drainSeconds: 30, but an edge with 20000 connections needs 122/,
    ],
    [
      ['edge.terminationGracePeriodSeconds=60'],
      /60, but the drain takes 122 and the end 15: at least 137/,
    ],
    [
      ['edge.connections=400000', 'edge.terminationGracePeriodSeconds=120'],
      /edge.terminationGracePeriodSeconds: 120, but the drain takes 312/,
    ],
    [['control.reconnectsPerSecondMax=100', 'edge.drainSeconds=90'], /needs 312 to leave at 100/],
    [['redis.url=redis://r:6379'], /bundled.enabled, and a url of another Redis/],
    [
      ['redis.bundled.enabled=false', 'redis.url=redis://r', 'redis.existingSecret.name=r'],
      /two answers to one question/,
    ],
    [['router.front.enabled=true'], /edges believe routers only if they know their network/],
    [['redis.sentinelMaster=m'], /the bundled Redis has no Sentinels/],
    [['auth.mode=jwt'], /5 problem.*must have LONGLINE_JWT_KEYS or LONGLINE_JWT_JWKS_URL/s],
    [['auth.settings.LONGLINE_JWT_AUDIENCE=a'], /mode=none that they are not/],
    [['auth.settings.LONGLINE_LINK_CERTIFICATES=c'], /takes tls.clientCertificates/],
    [['tls.grpcSecret=s'], /edges and routers need its authority: linkSecret/],
    [['tls.edgeSecret=s', 'proxyNetworks=10.0.0.0/8'], /nothing in front of it/],
    [['tls.edgeSecret=s', 'edge.settings.LONGLINE_TRANSPORT=native'], /speaks no TLS/],
    [['tls.clientCertificates=true'], /it takes TLS/],
    [['auth.existingSecret.name=s'], /list its keys/],
    [['edge.reach.mode=tlsRoute'], /tlsRoute tells edges apart by their names/],
    [['edge.reach.mode=loadBalancer'], /say `domain`.*or `addresses`/],
    [
      ['edge.reach.mode=loadBalancer', 'edge.reach.addresses={a,b}'],
      /edge.reach.addresses: 2 for up to 3 edges/,
    ],
    [['edge.reach.mode=nodePort', 'edge.reach.nodePortBase=32766'], /go past 32767/],
    [['autoscaling.mode=hpa', 'autoscaling.minReplicas=11'], /maxReplicas is below minReplicas/],
    [
      ['autoscaling.mode=keda', 'autoscaling.scaleDownSeconds=60'],
      /the next would go while it does/,
    ],
  ])('are rejected when they contradict each other: %j', (sets, why) => {
    expect(rejection(withSets(...sets))).toMatch(why);
  });
});

describe('a device', () => {
  helmTest.each([
    [[], 'http://$(LONGLINE_EDGE_ID).longline-edge.push.svc:7000'],
    [['edge.reach.domain=d.example'], 'https://$(LONGLINE_EDGE_ID).d.example'],
    [['edge.reach.mode=hostPort'], 'http://$(NODE_IP):7000'],
    [['edge.reach.mode=hostPort', 'tls.edgeSecret=s'], 'https://$(NODE_IP):7000'],
    [
      ['edge.reach.mode=hostPort', 'edge.reach.domain=n.example', 'edge.reach.port=80'],
      'http://$(NODE_NAME).n.example:80',
    ],
    [
      ['edge.reach.mode=nodePort', 'edge.replicas=2'],
      'http://$(NODE_IP):31000,http://$(NODE_IP):31001',
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

  helmTest(
    'is let in to an edge that is not ready: it may be leaving, or about to get shards',
    () => {
      const rendered = render(withSets('edge.reach.mode=nodePort'));
      for (const name of ['longline-edge', 'longline-edge-0', 'longline-edge-2']) {
        expect(find(rendered, 'Service', name)).toMatch(/publishNotReadyAddresses: true/);
      }
      expect(find(rendered, 'Service', 'longline-edge-2')).toMatch(/nodePort: 31002/);
    },
  );

  helmTest('finds a way to each edge that an autoscaler may start', () => {
    const rendered = render(withSets('edge.reach.mode=nodePort', 'autoscaling.mode=hpa'));
    expect(find(rendered, 'Service', 'longline-edge-9')).toMatch(/nodePort: 31009/);
    // An upgrade must not undo what the autoscaler did.
    expect(find(rendered, 'StatefulSet', 'longline-edge')).not.toMatch(/^ {2}replicas:/m);
  });
});

describe('a secret', () => {
  helmTest('is given to those roles only whom it concerns', () => {
    const rendered = render(['-f', join(CHART, 'ci/jwt-values.yaml')]);
    const envs = ROLES.map(([kind, name]) => envOf(find(rendered, kind, name)));
    const haveIt = (setting: string) => envs.map((env) => setting in env);
    expect(haveIt('LONGLINE_CONTROL_OPERATOR_TOKENS')).toEqual([false, false, true]);
    expect(haveIt('LONGLINE_BACKEND_TOKENS')).toEqual([false, true, false]);
    expect(haveIt('LONGLINE_TICKET_SECRET')).toEqual([true, true, false]);
    expect(haveIt('LONGLINE_LINK_TOKEN')).toEqual([true, true, true]);
    expect(haveIt('LONGLINE_GRPC_TLS_KEY_FILE')).toEqual([false, true, true]);
    expect(haveIt('LONGLINE_LINK_TLS_CA_FILE')).toEqual([true, true, false]);
  });

  helmTest('of Redis is not copied, and its authority is believed', () => {
    const rendered = render(['-f', join(CHART, 'ci/balancer-values.yaml')]);
    expect(rendered.filter(({ kind }) => kind === 'Secret')).toEqual([]);
    for (const [kind, name] of ROLES) {
      const env = envOf(find(rendered, kind, name));
      expect(env.LONGLINE_REDIS_URL).toMatch(/name: longline-redis-url key: url/);
      expect(env.NODE_EXTRA_CA_CERTS).toBe('/etc/longline/redis-ca/ca.crt');
    }
  });
});
