/** Values that change what the chart renders for pods, names, routes and labels. */
import { join } from 'node:path';
import { describe, expect } from '@jest/globals';
import { CHART, envOf, find, helmTest, type Rendered, rejection, render } from './helm.js';

const TRIAL = ['--set', 'auth.mode=none', '--set', 'redis.bundled.enabled=true'];
const KUBERNETES_NAME = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;

function renderWith(...sets: readonly string[]): Rendered[] {
  return render([...TRIAL, ...sets.flatMap((set) => ['--set', set])]);
}

function rejectionWith(...sets: readonly string[]): string {
  return rejection([...TRIAL, ...sets.flatMap((set) => ['--set', set])]);
}

function podsIn(rendered: readonly Rendered[]): string[] {
  return rendered
    .filter(({ kind }) => ['StatefulSet', 'Deployment', 'Pod'].includes(kind))
    .map(({ text }) => text);
}

/** Values of `image:` of the chart's own containers, each once. */
function imagesIn(rendered: readonly Rendered[]): string[] {
  const images = podsIn(rendered).flatMap((text) =>
    [...text.matchAll(/ image: (\S+)$/gm)].map(([, image]) => image!),
  );
  return [...new Set(images)].sort();
}

describe('names', () => {
  helmTest.each([
    [['nameOverride=push'], 'longline-push'],
    [['nameOverride=long'], 'longline'],
    [['fullnameOverride=acme'], 'acme'],
    [['fullnameOverride=acme', 'nameOverride=push'], 'acme'],
    [[`fullnameOverride=${'n'.repeat(63)}`], 'n'.repeat(40)],
  ])('follow %j', (sets, prefix) => {
    const rendered = renderWith(
      ...sets,
      'edge.reach.domain=d.example',
      'autoscaling.mode=keda',
      'autoscaling.maxReplicas=1000',
      'router.front.enabled=true',
      'proxyNetworks=10.0.0.0/8',
    );
    for (const { name } of rendered) {
      expect(name.startsWith(prefix)).toBe(true);
      expect(name.length).toBeLessThanOrEqual(63);
      expect(name).toMatch(KUBERNETES_NAME);
    }
    // No reference names an object of another prefix.
    const others = prefix.startsWith('longline') ? /(?!)/ : /longline-(edge|router|control|redis)/;
    expect(rendered.filter(({ text }) => others.test(text))).toEqual([]);
  });

  helmTest.each([
    [`fullnameOverride=${'n'.repeat(64)}`, /fullnameOverride/],
    ['fullnameOverride=Push', /fullnameOverride/],
    ['nameOverride=1push', /nameOverride/],
  ])('are rejected: %s', (set, message) => {
    expect(rejectionWith(set)).toMatch(message);
  });
});

describe('images', () => {
  helmTest.each([
    [[], ['docker.io/library/redis:7.2', 'longline:0.1.0']],
    [['image.registry=r.example'], ['docker.io/library/redis:7.2', 'r.example/longline:0.1.0']],
    [
      ['image.registry=r.example', 'global.imageRegistry=m.example:5000/hub'],
      ['m.example:5000/hub/library/redis:7.2', 'm.example:5000/hub/longline:0.1.0'],
    ],
    [
      ['global.imageRegistry=m.example', 'redis.bundled.image=library/redis:7.4'],
      ['m.example/library/redis:7.4', 'm.example/longline:0.1.0'],
    ],
  ])('come with %j from %j', (sets, images) => {
    expect(imagesIn(renderWith(...sets))).toEqual(images);
  });
});

describe('the pods of ci/pods-values.yaml', () => {
  const rendered = helmPods();

  helmTest('run with a user of the namespace, and keep every other restriction', () => {
    for (const text of podsIn(rendered())) {
      expect(text).not.toMatch(/runAsUser|runAsGroup|: null/);
      expect(text).toMatch(/runAsNonRoot: true/);
      expect(text).toMatch(/serviceAccountName: push$/m);
      expect(
        text.match(/imagePullSecrets:\n +- name: mirror\n +- name: registry\n/),
      ).not.toBeNull();
    }
    expect(find(rendered(), 'StatefulSet', 'longline-edge')).toMatch(/fsGroup: 1000680000/);
    const router = find(rendered(), 'Deployment', 'longline-router');
    expect(router).toMatch(/add:\n +- NET_BIND_SERVICE\n +drop:\n +- ALL/);
  });

  helmTest('have common labels, but no selector uses them', () => {
    for (const { kind, text } of rendered()) {
      if (kind === 'ConfigMap' && !text.includes('team: push')) continue;
      expect(text).toMatch(/^ {4}team: push$/m);
      expect(text).toMatch(/^ {4}example.com\/contact: push@example.com$/m);
      const selector = /(?:matchLabels|selector):\n((?: +app\.kubernetes.*\n)+)( +\S+)?/g;
      for (const [, , next] of text.matchAll(selector)) expect(next ?? '').not.toMatch(/team/);
    }
    const edge = find(rendered(), 'StatefulSet', 'longline-edge');
    expect(edge).toMatch(/^ {8}team: push\n {8}tier: edge\n {6}annotations:\n.*edge@example/m);
  });

  helmTest('have further variables, which replace those of the chart in their place', () => {
    const text = find(rendered(), 'StatefulSet', 'longline-edge');
    expect(envOf(text)).toMatchObject({
      LONGLINE_EDGE_ZONE: 'north',
      NODE_OPTIONS: '--heapsnapshot-signal=SIGUSR2',
    });
    expect(text.match(/- name: LONGLINE_EDGE_ZONE/g)).toHaveLength(1);
    expect(text).toMatch(/envFrom:\n +- configMapRef:\n +name: edge-settings/);
    expect(text).toMatch(/volumeMounts:\n +- mountPath: \/scratch\n +name: scratch/);
    expect(text).toMatch(/volumes:\n +- emptyDir: \{\}\n +name: scratch/);
    expect(text).toMatch(/initContainers:\n +- image: registry.example\/wait:1/);
    expect(text).toMatch(/^ {8}- image: registry.example\/agent:1\n {10}name: agent/m);
  });

  helmTest('have probes with the given changes and one handler', () => {
    const edge = find(rendered(), 'StatefulSet', 'longline-edge');
    const liveness = /livenessProbe:\n +failureThreshold: 12\n +httpGet:\n +path: \/healthz\n/;
    expect(edge).toMatch(liveness);
    expect(edge).toMatch(/startupProbe:\n +failureThreshold: 30\n +httpGet:/);
    const router = find(rendered(), 'Deployment', 'longline-router');
    const [, readiness] = /readinessProbe:\n((?: {12,}.*\n)+)/.exec(router)!;
    expect(readiness).toMatch(/exec:/);
    expect(readiness).not.toMatch(/httpGet/);
  });

  helmTest('run on nodes for which the image is built, with any affinity', () => {
    const edge = find(rendered(), 'StatefulSet', 'longline-edge');
    expect(edge.match(/key: kubernetes.io\/arch/g)).toHaveLength(2);
    expect(edge).toMatch(/key: pool\n/);
    expect(edge).toMatch(/podAntiAffinity:/);
    expect(edge).toMatch(/matchFields:/);
  });

  helmTest('come with further objects, which are templates', () => {
    expect(find(rendered(), 'ConfigMap', 'extra-longline')).toMatch(/replicas: '3'/);
    expect(find(rendered(), 'ConfigMap', 'longline-text')).toMatch(/instance: longline/);
    expect(find(rendered(), 'ServiceAccount', 'push')).toMatch(/example.com\/role: push/);
    for (const role of ['edge', 'router', 'control']) {
      const policy = find(rendered(), 'NetworkPolicy', `longline-${role}`);
      expect(policy).toMatch(/egress:\n +- ports:\n +- port: 4317/);
    }
  });

  helmTest('include the pod of helm test, with resources and a policy', () => {
    const pod = find(rendered(), 'Pod', 'longline-test');
    expect(pod).toMatch(/resources:\n +limits:\n +memory: 256Mi/);
    expect(pod).toMatch(/tolerations:\n +- key: pool/);
    expect(pod).toMatch(/sidecar.istio.io\/inject: "false"/);
    expect(pod).toMatch(/helm.sh\/hook: test/);
    const policy = find(rendered(), 'NetworkPolicy', 'longline-test');
    for (const part of ['port: 53', 'port: devices', 'port: http', 'port: grpc']) {
      expect(policy).toContain(part);
    }
    expect(policy).toMatch(/helm.sh\/hook: test/);
  });
});

/** @returns a function, because tests of the chart are skipped without Helm */
function helmPods(): () => Rendered[] {
  let rendered: Rendered[] | undefined;
  return () => {
    rendered ??= render(['-f', join(CHART, 'ci/pods-values.yaml')]);
    return rendered;
  };
}

describe('a security context', () => {
  helmTest('of one role changes with null for that role only', () => {
    const rendered = renderWith('edge.podSecurityContext.runAsUser=null');
    expect(find(rendered, 'StatefulSet', 'longline-edge')).not.toMatch(/runAsUser/);
    expect(find(rendered, 'StatefulSet', 'longline-edge')).toMatch(/runAsGroup: 65532/);
    expect(find(rendered, 'Deployment', 'longline-router')).toMatch(/runAsUser: 65532/);
  });
});

describe('a service account', () => {
  helmTest.each([
    [['serviceAccount.create=false'], 'default', 0],
    [['serviceAccount.create=false', 'serviceAccount.name=own'], 'own', 0],
    [['serviceAccount.name=own'], 'own', 1],
    [[], 'longline', 1],
  ])('with %j is %s', (sets, name, created) => {
    const rendered = renderWith(...sets);
    expect(rendered.filter(({ kind }) => kind === 'ServiceAccount')).toHaveLength(created);
    for (const text of podsIn(rendered)) expect(text).toContain(`serviceAccountName: ${name}\n`);
  });
});

describe('secrets as files', () => {
  helmTest(
    'have the authorities of devices where TLS ends, and no test pod without a certificate',
    () => {
      const edges = render(['-f', join(CHART, 'ci/edge-tls-values.yaml')]);
      const edge = find(edges, 'StatefulSet', 'longline-edge');
      expect(envOf(edge)).toMatchObject({
        LONGLINE_EDGE_TLS_CLIENT_CA_FILE: '/etc/longline/device-ca/ca.crt',
        LONGLINE_EDGE_TLS_CLIENT_CERTIFICATES: 'required',
      });
      expect(edge).toMatch(/name: device-ca\n +secret:\n +secretName: device-authorities/);
      expect(find(edges, 'Deployment', 'longline-router')).not.toMatch(/device-ca|CLIENT_CA/);
      expect(edges.filter(({ kind }) => kind === 'Pod')).toEqual([]);
      const optional = 'tls.deviceCaSecret.name=s,tls.deviceCaSecret.required=false';
      const fronts = render([
        ...['front', 'jwt'].flatMap((name) => ['-f', join(CHART, `ci/${name}-values.yaml`)]),
        ...['--set', `redis.bundled.enabled=false,${optional}`],
      ]);
      expect(envOf(find(fronts, 'Deployment', 'longline-router'))).toMatchObject({
        LONGLINE_ROUTER_FRONT_TLS_CLIENT_CA_FILE: '/etc/longline/device-ca/ca.crt',
        LONGLINE_ROUTER_FRONT_TLS_CLIENT_CERTIFICATES: 'optional',
      });
      expect(find(fronts, 'StatefulSet', 'longline-edge')).not.toMatch(/device-ca/);
      expect(fronts.filter(({ kind }) => kind === 'Pod')).toHaveLength(1);
    },
  );

  helmTest('are mounted whole, so that a changed secret reaches the running process', () => {
    const rendered = render(['-f', join(CHART, 'ci/routes-values.yaml')]);
    const router = find(rendered, 'Deployment', 'longline-router');
    expect(envOf(router)).toMatchObject({
      LONGLINE_JWT_KEYS_FILE: '/etc/longline/jwt-keys/jwt-keys',
      LONGLINE_BACKEND_TOKENS_FILE: '/etc/longline/backend-tokens/tokens',
    });
    expect(router).toMatch(/name: backend-tokens\n +secret:\n +secretName: longline-backends/);
    expect(router).not.toMatch(/subPath/);
    const edge = find(rendered, 'StatefulSet', 'longline-edge');
    expect(envOf(edge)).toHaveProperty('LONGLINE_JWT_KEYS_FILE');
    expect(edge).not.toMatch(/backend-tokens|longline-backends/);
    expect(find(rendered, 'Deployment', 'longline-control')).not.toMatch(/jwt-keys|backends/);
  });
});

helmTest('the Push API over HTTP has a port, a service and a place in the policy', () => {
  const rendered = renderWith('router.pushHttp.enabled=true');
  expect(find(rendered, 'Service', 'longline-push-http')).toMatch(
    /port: 7103\n +targetPort: push-http/,
  );
  const router = find(rendered, 'Deployment', 'longline-router');
  expect(router).toMatch(/name: push-http\n +containerPort: 7103/);
  expect(router).toMatch(/LONGLINE_ROUTER_PUSH_HTTP_PORT\n +value: "7103"/);
  const policy = find(rendered, 'NetworkPolicy', 'longline-router');
  expect(policy).toMatch(/port: grpc\n +- port: push-http\n +from:/);
  expect(renderWith().some(({ text }) => text.includes('push-http'))).toBe(false);
});

describe('routes', () => {
  helmTest('lead to /connect of the routers and to all of the front proxy', () => {
    const rendered = render(['-f', join(CHART, 'ci/routes-values.yaml')]);
    const connect = find(rendered, 'Ingress', 'longline-router');
    expect(connect).toMatch(/path: \/connect\n +pathType: Exact/);
    expect(connect).toMatch(/ingressClassName: nginx/);
    expect(connect).toMatch(/secretName: connect-example-com/);
    expect(find(rendered, 'Ingress', 'longline-front')).toMatch(/path: \/\n +pathType: Prefix/);
    expect(find(rendered, 'HTTPRoute', 'longline-router')).toMatch(/type: Exact\n.*\/connect/);
    const front = find(rendered, 'HTTPRoute', 'longline-front');
    expect(front).toMatch(/timeouts:\n +request: 0s/);
    expect(front).toMatch(/name: longline-front\n +port: 7102/);
    expect(find(rendered, 'TCPRoute', 'longline-front')).toMatch(/port: 7102/);
    const service = find(rendered, 'Service', 'longline-front');
    expect(service).toMatch(/loadBalancerClass: example.com\/network/);
    expect(service).toMatch(/externalTrafficPolicy: Local/);
    const edge = find(rendered, 'Service', 'longline-edge-1');
    expect(edge).toMatch(/loadBalancerClass: example.com\/network/);
    expect(edge).toMatch(/externalTrafficPolicy: Cluster/);
  });
});

helmTest('values that are null are as if they were empty', () => {
  const isSecret = ({ kind }: Rendered) => kind === 'Secret';
  const nulls = [
    ...['commonLabels', 'extraObjects', 'global', 'image.pullSecrets', 'image.registry'],
    ...['edge.extraEnv', 'edge.sidecars', 'edge.initContainers', 'edge.livenessProbe'],
    ...['edge.affinity', 'podSecurityContext', 'router.securityContext', 'router.podLabels'],
  ].map((path) => `${path}=null`);
  // The password of the bundled Redis is random.
  const [changed, same] = [renderWith(...nulls), renderWith()].map((rendered) =>
    rendered.filter((each) => !isSecret(each)),
  );
  expect(changed).toEqual(same);
});

describe('values that contradict each other', () => {
  helmTest.each([
    [['router.service.loadBalancerClass=c'], /used only with the type LoadBalancer, not with Clus/],
    [['router.service.externalTrafficPolicy=Local'], /not used with the type ClusterIP; unset it/],
    [['edge.reach.loadBalancerClass=c'], /used only with loadBalancer, not with balancer/],
    [['edge.reach.externalTrafficPolicy=Cluster'], /used only with nodePort and loadBalancer/],
    [['router.ingress.enabled=true'], /router.ingress.hosts: empty; set the host names/],
    [['router.httpRoute.enabled=true'], /router.httpRoute.parentRefs: empty; name the Gateway/],
    [
      ['router.front.tcpRoute.enabled=true'],
      /router.front.tcpRoute: requires router.front.enabled/,
    ],
    [
      ['router.ingress.enabled=true', 'router.ingress.hosts={d.e}', 'edge.reach.domain=d.e'],
      /the ingress of the edges serves d.e already/,
    ],
    [['edge.extraEnv[0].name=A', 'edge.extraEnv[1].name=A'], /edge.extraEnv: A is listed twice/],
    [
      ['router.sidecars[0].name=router', 'router.sidecars[0].image=i'],
      /router: router is the name of two containers/,
    ],
    [
      ['tls.edgeSecret=s', 'edge.reach.mode=hostPort', 'edge.extraVolumes[0].name=edge-tls'],
      /edge.extraVolumes: edge-tls is a volume of the chart/,
    ],
    [
      ['commonLabels.app\\.kubernetes\\.io/component=x'],
      /commonLabels: the chart sets app.kubernetes.io\/component itself/,
    ],
    [['control.podLabels.app\\.kubernetes\\.io/name=x'], /control.podLabels: the chart sets app/],
    [
      ['monitoring.serviceMonitor.enabled=true', 'monitoring.podMonitor.enabled=true'],
      /both enabled, which would scrape every pod twice/,
    ],
    [['monitoring.prometheusRule.disabled={No}'], /no alert No; the alerts are LonglineNoLeader,/],
    [
      ['serviceAccount.create=false', 'serviceAccount.annotations.a=b'],
      /the chart does not create the account/,
    ],
  ])('are rejected: %j', (sets, message) => {
    expect(rejectionWith(...sets)).toMatch(message);
  });

  helmTest.each([
    ['edge.extraEnv[0].value=a', /extraEnv.*name/s],
    ['edge.extraEnv[0].name=1A', /extraEnv/],
    ['edge.envFrom[0].prefix=a', /envFrom/],
    ['edge.sidecars[0].name=a', /sidecars.*image/s],
    ['edge.extraVolumeMounts[0].name=a', /extraVolumeMounts.*mountPath/s],
    ['edge.extraVolumes.a=b', /extraVolumes.*array/s],
    ['edge.affinity.nodeAfinity=b', /affinity.*nodeAfinity/s],
    ['edge.livenessProbe.period=1', /livenessProbe.*period/s],
    ['edge.podLabels.a=b c', /podLabels/],
    ['commonAnnotations.a=1', /commonAnnotations.*string/s],
    ['router.front.service.externalTrafficPolicy=local', /externalTrafficPolicy/],
    ['router.ingress.hosts={https://a.example}', /router.*ingress.*hosts/s],
    ['serviceAccount.nam=a', /serviceAccount.*nam/s],
  ])('are rejected by the schema: %s', (set, message) => {
    expect(rejectionWith(set)).toMatch(message);
  });
});
