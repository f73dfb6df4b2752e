/**
 * What the API server says of the chart, for every values file in k8s/longline/ci. No node is there
 * yet: pods are made, and wait.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../../cli/failure.js';
import { packageRoot } from '../../common/process/package-root.js';
import { apply, helm, kubectl } from './kubectl.js';
import { until } from './until.js';

export const CHART = join(packageRoot, 'k8s/longline');
const RELEASE = 'longline';
const GONE_MS_MAX = 60_000;
/** Kubernetes makes some objects by itself, for those that it was given, and clears them later. */
const KINDS = [
  ...['statefulsets', 'deployments', 'services', 'pods', 'secrets', 'configmaps'],
  ...['serviceaccounts', 'networkpolicies', 'poddisruptionbudgets', 'horizontalpodautoscalers'],
  ...[
    'ingresses',
    'roles',
    'rolebindings',
    'servicemonitors',
    'scaledobjects',
    'tlsroutes',
    'jobs',
  ],
];

/** @returns how many values files there are @throws Failure with what the server rejected */
export async function checkChart(say: (line: string) => void): Promise<number> {
  const files = readdirSync(join(CHART, 'ci')).filter((name) => name.endsWith('.yaml'));
  for (const file of files) {
    say(`${file}: install, upgrade, roll back, uninstall`);
    await checkValues(file);
  }
  return files.length;
}

async function checkValues(file: string): Promise<void> {
  const namespace = `ci-${file.replace('-values.yaml', '')}`;
  const path = join(CHART, 'ci', file);
  // A port of the node is a privilege.
  const isPrivileged = readFileSync(path, 'utf8').includes('mode: hostPort');
  await makeNamespace(namespace, isPrivileged ? 'privileged' : 'restricted');
  const here = `--namespace=${namespace}`;
  const values = `--values=${path}`;
  await helm('install', RELEASE, CHART, here, values, '--dry-run=server');
  // Helm does not mind a field that does not exist, nor a warning.
  const server = '--dry-run=server';
  const manifest = await helm('template', RELEASE, CHART, here, values, server, '--no-hooks');
  await apply(manifest, here, server, '--validate=strict', '--warnings-as-errors');
  await helm('install', RELEASE, CHART, here, values);
  await requireLogLevel(namespace, 'info');
  await helm('upgrade', RELEASE, CHART, here, values, '--set=logLevel=debug');
  await requireLogLevel(namespace, 'debug');
  await helm('rollback', RELEASE, '1', here);
  await requireLogLevel(namespace, 'info');
  await helm('uninstall', RELEASE, here);
  await until(`nothing of ${file} is left`, GONE_MS_MAX, async () => {
    const mine = `--selector=app.kubernetes.io/instance=${RELEASE}`;
    return (await kubectl('get', KINDS.join(','), here, mine, '--output=name')) === '';
  });
}

/** What `kubectl apply -k` makes of the same chart. */
export async function checkKustomization(say: (line: string) => void): Promise<void> {
  say('kustomize: apply, delete');
  const folder = `--kustomize=${join(packageRoot, 'k8s/kustomize')}`;
  await kubectl('apply', folder, '--validate=strict', '--warnings-as-errors');
  await kubectl('delete', folder, '--timeout=60s');
}

/** @param level of the pod security standards that must hold */
export async function makeNamespace(
  name: string,
  level: 'restricted' | 'privileged',
): Promise<void> {
  const labels = {
    'pod-security.kubernetes.io/enforce': level,
    'pod-security.kubernetes.io/warn': level,
  };
  await apply(JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }));
}

async function requireLogLevel(namespace: string, level: string): Promise<void> {
  const path = '{.spec.template.spec.containers[0].env[?(@.name=="LONGLINE_LOG_LEVEL")].value}';
  const found = await kubectl(
    ...['get', 'statefulset', `${RELEASE}-edge`, `--namespace=${namespace}`],
    `--output=jsonpath=${path}`,
  );
  if (found !== level) throw new Failure(`${namespace}: the log level is ${found}, not ${level}`);
}
