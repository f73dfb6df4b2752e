/**
 * Writes the generated files of k8s/: the kustomize base, from the chart, and the settings that
 * values.schema.json accepts, from the sources of the roles. Run it after each change of the chart or of
 * a setting; tests compare.
 *
 *   node k8s/render.mjs && npm run -s fix
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findHelm } from '../scripts/ensure-helm.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
const CHART = join(HERE, 'longline');

const COMMON = ['--set', 'auth.mode=none', '--set', 'redis.existingSecret.name=longline-redis'];
const TRIAL = ['--set', 'redis.bundled.enabled=true', '--show-only', 'templates/redis.yaml'];

/** Settings on which ports and probes of the chart depend, or that do not suit a restarted pod. */
const NOT_OFFERED =
  /_(PORT|TOKENS|TOKENS_FILE|TLS_CERT_FILE|TLS_KEY_FILE)$|^LONGLINE_EDGE_EXIT_WHEN_DRAINED$|^LONGLINE_ROUTER_FRONT_SOURCE_ADDRESSES$/;

/** @returns {{path: string, text: string}[]} each file with its content */
export function renderKustomize() {
  return [
    ['base/longline.yaml', render('--skip-tests')],
    ['redis.yaml', render(...TRIAL)],
  ].map(([file, text]) => ({ path: join(HERE, 'kustomize', file), text }));
}

function render(...args) {
  const options = ['template', 'longline', CHART, '--namespace', 'longline', ...COMMON, ...args];
  const rendered = execFileSync(findHelm() ?? 'helm', options, { encoding: 'utf8' });
  return `# Rendered from the chart by k8s/render.mjs.\n${rendered.replace(/Helm$/gm, 'kustomize')}`;
}

export function renderSchema() {
  const path = join(CHART, 'values.schema.json');
  const schema = JSON.parse(readFileSync(path, 'utf8'));
  for (const role of ['edge', 'router', 'control']) {
    const own = new RegExp(`\\bLONGLINE_${role.toUpperCase()}_[A-Z_]*[A-Z]\\b`, 'g');
    const namesIn = (file) => readFileSync(join(HERE, file), 'utf8').match(own) ?? [];
    const set = namesIn(`longline/templates/${role}.yaml`);
    const names = namesIn(`../${role}/config.ts`).filter(
      (name) => !set.includes(name) && !NOT_OFFERED.test(name),
    );
    const transport = role === 'control' ? [] : ['LONGLINE_TRANSPORT'];
    schema.$defs[`${role}Setting`].enum = [...transport, ...new Set(names)].sort();
  }
  return { path, text: `${JSON.stringify(schema, null, 2)}\n` };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const schema = renderSchema();
  const before = readFileSync(schema.path, 'utf8');
  // Compared as JSON: the formatter owns the layout.
  if (JSON.stringify(JSON.parse(before)) !== JSON.stringify(JSON.parse(schema.text))) {
    writeFileSync(schema.path, schema.text);
  }
  for (const { path, text } of renderKustomize()) writeFileSync(path, text);
}
