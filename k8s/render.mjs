/**
 * Writes the generated files of k8s/: the kustomize base and the README.md of the chart, from the
 * chart; in values.schema.json the accepted settings, from the sources of the roles, and the
 * descriptions, from the comments of values.yaml. Run it after each change of the chart or of a
 * setting; tests compare.
 *
 *   node k8s/render.mjs && npm run -s fix
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findHelm } from '../scripts/ensure-helm.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
const CHART = join(HERE, 'longline');

const COMMON = ['--set', 'auth.mode=none', '--set', 'redis.existingSecret.name=longline-redis'];
const TRIAL = ['--set', 'redis.bundled.enabled=true', '--show-only', 'templates/redis.yaml'];

/** Settings on which ports and probes of the chart depend, or that do not suit a restarted pod. */
const NOT_OFFERED =
  /_(PORT|TOKENS|TOKENS_FILE)$|_TLS_(CERT_FILE|KEY_FILE|TICKET_KEY_FILE|CLIENT_CA_FILE|CLIENT_CERTIFICATES)$|^LONGLINE_EDGE_EXIT_WHEN_DRAINED$|^LONGLINE_ROUTER_FRONT_SOURCE_ADDRESSES$/;

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
  for (const role of ['edge', 'router', 'control', 'canary']) {
    const own = new RegExp(`\\bLONGLINE_${role.toUpperCase()}_[A-Z_]*[A-Z]\\b`, 'g');
    const namesIn = (file) => readFileSync(join(HERE, file), 'utf8').match(own) ?? [];
    const set = namesIn(`longline/templates/${role}.yaml`);
    const names = namesIn(`../${role}/config.ts`).filter(
      (name) => !set.includes(name) && !NOT_OFFERED.test(name),
    );
    const transport = ['edge', 'router'].includes(role) ? ['LONGLINE_TRANSPORT'] : [];
    schema.$defs[`${role}Setting`].enum = [...transport, ...new Set(names)].sort();
  }
  schema.$defs.sharedSetting.enum = readSharedSettings();
  describe(schema, '', readComments());
  return { path, text: `${JSON.stringify(schema, null, 2)}\n` };
}

/** @returns {string[]} settings of edges and routers that no template sets and no role offers */
function readSharedSettings() {
  const source = readFileSync(join(HERE, '../common/process/config.ts'), 'utf8');
  const own = /export const servingSettings = \{\n(.*?)^\};/ms.exec(source)[1];
  const names = [...own.matchAll(/^ {2}(LONGLINE_\w+):/gm)].map(([, name]) => name);
  const helpers = readFileSync(join(CHART, 'templates/_helpers.tpl'), 'utf8');
  return names.filter((name) => !helpers.includes(name) && name !== 'LONGLINE_TRANSPORT').sort();
}

/**
 * @returns {Map<string, string>} comments of values.yaml by the path of the value below, such as
 * `edge.replicas`, in the order of the file; empty for a value without a comment
 */
function readComments() {
  const comments = new Map();
  const path = [];
  let comment = [];
  for (const line of readFileSync(join(CHART, 'values.yaml'), 'utf8').split('\n')) {
    const text = /^ *# ?(.*)$/.exec(line)?.[1];
    const key = /^( *)([A-Za-z]+):/.exec(line);
    // A word and several spaces start an item of a list.
    if (text !== undefined) comment.push(text.replace(/^(\w+) {2,}/, '; $1: '));
    if (text !== undefined) continue;
    if (key !== null) {
      path.splice(key[1].length / 2, Infinity, key[2]);
      comments.set(path.join('.'), comment.join(' ').replace(/^; /, '').replaceAll(' ; ', '; '));
    }
    comment = [];
  }
  return comments;
}

/**
 * Sets the description of each property, and their order to that of values.yaml.
 * @throws Error for a value without a comment
 */
function describe(schema, path, comments) {
  const order = [...comments.keys()];
  const place = (name) => order.indexOf(path === '' ? name : `${path}.${name}`);
  const ordered = Object.entries(schema.properties).sort(([a], [b]) => place(a) - place(b));
  schema.properties = Object.fromEntries(ordered);
  for (const [name, value] of Object.entries(schema.properties)) {
    const own = path === '' ? name : `${path}.${name}`;
    const description =
      comments.get(own) ?? comments.get(own.replace(/^(router|control|canary)\./, 'edge.'));
    if (description === undefined) throw new Error(`values.yaml: ${own} has no comment`);
    value.description = description;
    if (value.properties !== undefined) describe(value, own, comments);
  }
}

/** The README.md of the chart: what it is, and each value with its default and description. */
export function renderReadme() {
  const schema = JSON.parse(renderSchema().text);
  const defaults = readDefaults();
  const sections = Object.entries(schema.properties).map(([name, value]) => {
    if (value.properties === undefined) return { rows: [row(name, value, defaults[name])] };
    return { name, value, rows: rowsOf(name, value, defaults[name]) };
  });
  const table = (rows) => ['| value | default | meaning |', '|---|---|---|', ...rows].join('\n');
  const single = sections.filter(({ value }) => value === undefined).flatMap(({ rows }) => rows);
  const groups = sections.filter(({ value }) => value !== undefined);
  const parts = groups.map(
    ({ name, value, rows }) => `### ${name}\n\n${inCell(value.description)}\n\n${table(rows)}\n`,
  );
  const text = `${README_HEAD}\n### Whole chart\n\n${table(single)}\n\n${parts.join('\n')}`;
  return { path: join(CHART, 'README.md'), text };
}

const README_HEAD = `<!-- biome-ignore-all format: written by \`node k8s/render.mjs\`. Edit values.yaml. -->
# Longline

A push cluster for long connections, with edges, routers and control on Redis. A trial:

\`\`\`
helm install longline k8s/longline --set auth.mode=none --set redis.bundled.enabled=true
helm test longline
\`\`\`

\`auth.mode\` and the address of Redis have no default. \`docs/kubernetes.md\` explains the choices, \`ci/\` has examples.
Values that cannot work together are rejected when the chart is rendered.

## Values
`;

function rowsOf(path, schema, defaults) {
  return Object.entries(schema.properties).flatMap(([name, value]) => {
    const own = `${path}.${name}`;
    if (value.properties === undefined) return [row(own, value, defaults[name])];
    const group = `| \`${own}\` | | ${inCell(value.description)} |`;
    return [group, ...rowsOf(own, value, defaults[name])];
  });
}

function row(path, value, defaultValue) {
  return `| \`${path}\` | \`${JSON.stringify(defaultValue)}\` | ${inCell(value.description)} |`;
}

/** A name such as <pod> is no HTML element. */
function inCell(text) {
  const quoted = text.replace(/`[^`]*`|<[^>]*>/g, (part) =>
    part[0] === '<' ? `\`${part}\`` : part,
  );
  return quoted.replaceAll('|', '\\|');
}

/** @returns the content of values.yaml, which Helm parses */
function readDefaults() {
  const folder = mkdtempSync(join(tmpdir(), 'longline-values-'));
  try {
    mkdirSync(join(folder, 'templates'));
    writeFileSync(join(folder, 'Chart.yaml'), 'apiVersion: v2\nname: values\nversion: 0.0.0\n');
    writeFileSync(join(folder, 'values.yaml'), readFileSync(join(CHART, 'values.yaml')));
    writeFileSync(join(folder, 'templates/values.yaml'), 'values: {{ toJson .Values | quote }}\n');
    const rendered = execFileSync(findHelm() ?? 'helm', ['template', folder], { encoding: 'utf8' });
    return JSON.parse(JSON.parse(/^values: (.*)$/m.exec(rendered)[1]));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const schema = renderSchema();
  const before = readFileSync(schema.path, 'utf8');
  // Compared as JSON: the formatter chooses the layout.
  if (JSON.stringify(JSON.parse(before)) !== JSON.stringify(JSON.parse(schema.text))) {
    writeFileSync(schema.path, schema.text);
  }
  for (const { path, text } of [...renderKustomize(), renderReadme()]) writeFileSync(path, text);
}
