/**
 * Checks the chart against the API server, for every values file in k8s/longline/ci. There are no
 * nodes yet: pods are created and stay pending.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Failure } from '../../../cli/terminal/failure.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { apply, helm, kubectl } from '../kubectl.js';
import { until } from '../until.js';

export const CHART = join(packageRoot, 'k8s/longline');
const RELEASE = 'longline';
const GONE_MS_MAX = 60_000;
/** Includes objects that Kubernetes creates for those of the chart and deletes later. */
const KINDS = [
  ...['statefulsets', 'deployments', 'services', 'pods', 'secrets', 'configmaps'],
  ...['serviceaccounts', 'networkpolicies', 'poddisruptionbudgets', 'horizontalpodautoscalers'],
  ...[
    'ingresses',
    'roles',
    'rolebindings',
    'servicemonitors',
    'podmonitors',
    'prometheusrules',
    'scaledobjects',
    'httproutes',
    'tcproutes',
    'tlsroutes',
    'jobs',
  ],
];

/** @returns the number of values files @throws Failure with the message of the server */
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
  // The restricted pod security level forbids host ports.
  const isPrivileged = readFileSync(path, 'utf8').includes('mode: hostPort');
  await makeNamespace(namespace, isPrivileged ? 'privileged' : 'restricted');
  const here = `--namespace=${namespace}`;
  const values = `--values=${path}`;
  await helm('install', RELEASE, CHART, here, values, '--dry-run=server');
  // Helm ignores unknown fields and warnings; kubectl rejects both here.
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
  await until(`no object of ${file} is left`, GONE_MS_MAX, async () => {
    const mine = `--selector=app.kubernetes.io/instance=${RELEASE}`;
    return (await kubectl('get', KINDS.join(','), here, mine, '--output=name')) === '';
  });
}

/** Applies and deletes k8s/kustomize. */
export async function checkKustomization(say: (line: string) => void): Promise<void> {
  say('kustomize: apply, delete');
  const folder = `--kustomize=${join(packageRoot, 'k8s/kustomize')}`;
  await kubectl('apply', folder, '--validate=strict', '--warnings-as-errors');
  await kubectl('delete', folder, '--timeout=60s');
}

/** @param level pod security level to enforce */
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
