/**
 * Custom resource definitions that the chart uses, of the Prometheus operator, KEDA and the Gateway
 * API, as these projects release them, so that the API server validates against the real schemas.
 */
import { copyFileSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { packageRoot } from '../../../common/process/package-root.js';
import { run } from '../command.js';
import { kubectl } from '../kubectl.js';

const FOLDER = join(packageRoot, 'build/k8s/crds');

/** Files by the module that contains them. */
const FILES: Readonly<Record<string, readonly string[]>> = {
  'sigs.k8s.io/gateway-api@v1.6.3': ['httproutes', 'tcproutes', 'tlsroutes'].map(
    (name) => `config/crd/standard/gateway.networking.k8s.io_${name}.yaml`,
  ),
  'github.com/prometheus-operator/prometheus-operator@v0.85.0': [
    'podmonitors',
    'prometheusrules',
    'servicemonitors',
  ].map((name) => `example/prometheus-operator-crd/monitoring.coreos.com_${name}.yaml`),
  'github.com/kedacore/keda/v2@v2.21.0': ['config/crd/bases/keda.sh_scaledobjects.yaml'],
};

/** Copies the definitions out of the projects' Go modules, which the Go module proxy serves. */
export async function fetchCrds(): Promise<void> {
  mkdirSync(FOLDER, { recursive: true });
  for (const [module, files] of Object.entries(FILES)) {
    const copyOf = (file: string) => join(FOLDER, basename(file));
    if (files.every((file) => existsSync(copyOf(file)))) continue;
    const answer = await run('go', ['mod', 'download', '-json', module]);
    const { Dir: folder } = JSON.parse(answer) as { Dir: string };
    for (const file of files) copyFileSync(join(folder, file), copyOf(file));
  }
}

export async function applyCrds(): Promise<void> {
  const files = readdirSync(FOLDER).map((name) => join(FOLDER, name));
  // Server-side: some are too large for the last-applied annotation of a client-side apply.
  await kubectl('apply', '--server-side', ...files.map((file) => `--filename=${file}`));
  await kubectl('wait', '--for=condition=Established', 'crd', '--all', '--timeout=60s');
}
