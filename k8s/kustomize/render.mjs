/**
 * Writes what kustomize starts from, with the chart: base/longline.yaml and redis.yaml. To be run after
 * each change of the chart; a test compares.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findHelm } from '../../scripts/ensure-helm.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));

const COMMON = ['--set', 'auth.mode=none', '--set', 'redis.existingSecret.name=longline-redis'];
const TRIAL = ['--set', 'redis.bundled.enabled=true', '--show-only', 'templates/redis.yaml'];

/** Each file with its content. */
export function renderAll() {
  return [
    ['base/longline.yaml', render('--skip-tests')],
    ['redis.yaml', render(...TRIAL)],
  ].map(([file, text]) => ({ path: join(HERE, file), text }));
}

function render(...args) {
  const chart = join(HERE, '../longline');
  const options = ['template', 'longline', chart, '--namespace', 'longline', ...COMMON, ...args];
  const said = execFileSync(findHelm() ?? 'helm', options, { encoding: 'utf8' });
  return `# Made of the chart by k8s/kustomize/render.mjs.\n${said.replace(/Helm$/gm, 'kustomize')}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const { path, text } of renderAll()) writeFileSync(path, text);
}
