/**
 * Writes docs/reference/ from the code that defines settings, metrics and error codes. Needs dist/.
 *
 *   node scripts/write-reference.mjs           writes the pages
 *   node scripts/write-reference.mjs --check   prints the names of stale pages, and then fails
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { status } from '@grpc/grpc-js';
import { z } from 'zod';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const FOLDER = join(ROOT, 'docs/reference');
const ROLES = ['edge', 'router', 'control', 'canary'];
const ROLE_PLACEHOLDER = '$' + '{role}';

const pages = {
  'settings.md': await settingsPage(),
  'metrics.md': metricsPage(),
  'errors.md': await errorsPage(),
  'push-api.json': await pushApi(),
};
const isCheck = process.argv.includes('--check');
mkdirSync(FOLDER, { recursive: true });
for (const [name, text] of Object.entries(pages)) {
  const path = join(FOLDER, name);
  if (!isCheck) writeFileSync(path, text);
  else if (!existsSync(path) || readFileSync(path, 'utf8') !== text) {
    console.error(`docs/reference/${name} is stale; run: npm run docs`);
    process.exitCode = 1;
  }
}

async function settingsPage() {
  const shapes = await Promise.all(
    ROLES.map(async (role) => (await load(`${role}/config.js`))[`${role}Settings`]),
  );
  const entries = Object.entries(Object.assign({}, ...shapes)).map(([name, schema]) => ({
    roles: ROLES.filter((_, i) => name in shapes[i]),
    row: settingRow(name, schema),
  }));
  return page(
    'Settings',
    'Settings are environment variables, read once when a process starts. The process reports all problems together and\n' +
      'exits with status 78; an unknown `LONGLINE_` variable is one of them, unless it is a setting of another role. An\n' +
      'empty variable counts as unset.',
    sections(['setting', 'value', 'default', 'meaning'], entries),
  );
}

function settingRow(name, schema) {
  if (schema.description === undefined) throw new Error(`${name} has no description`);
  const value = z.toJSONSchema(schema, { unrepresentable: 'any' });
  return [`\`${name}\``, valueText(value), defaultText(value, schema), schema.description];
}

function valueText(value) {
  if (value.enum) return value.enum.map((each) => `\`${each}\``).join(', ');
  if (value.type === 'boolean') return '`true`, `false`';
  if (value.type === 'array' || Array.isArray(value.default)) return 'list';
  if (value.minimum !== undefined) return `${value.minimum} to ${value.maximum}`;
  return 'text';
}

function defaultText(value, schema) {
  const text = String(value.default ?? '');
  if (text !== '') return `\`${text}\``;
  return schema.safeParse(undefined).success ? '' : 'required';
}

/** Reads the sources, because a metric is registered only where its feature is in use. */
function metricsPage() {
  const sources = readSources();
  const entries = [...sources].flatMap(([file, source]) =>
    metricsIn(source).flatMap((metric) => {
      const roles = rolesUsing(file, sources);
      if (!metric.name.includes(ROLE_PLACEHOLDER)) return { ...metric, roles };
      return roles.map((role) => ({
        ...metric,
        roles: [role],
        name: metric.name.replace(ROLE_PLACEHOLDER, role),
      }));
    }),
  );
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  return page(
    'Metrics',
    'Every process serves these at `/metrics` of its HTTP port, beside the defaults of `prom-client` (`process_*`,\n' +
      '`nodejs_*`). No label value comes from a clientId. [operations.md](../operations.md#what-to-watch) says when to act.',
    sections(
      ['metric', 'type', 'labels', 'meaning'],
      entries.map((metric) => ({ roles: metric.roles, row: metricRow(metric) })),
    ),
  );
}

function metricsIn(source) {
  const text = `(?:'[^']*'|"[^"]*")`;
  const call = new RegExp(
    `\\.(counter|gauges?|histogram|info|totals?)\\(\\s*['\`](longline_[^'\`]+)['\`],` +
      `\\s*(${text}(?:\\s*\\+\\s*${text})*)(?:,\\s*(\\[[^\\]]*\\]|'\\w+'))?`,
    'g',
  );
  const found = [...source.matchAll(call)].map(([, kind, name, help, labels = '']) => ({
    name,
    help: help.replaceAll(/['"]\s*\+\s*['"]|^['"]|['"]$/g, ''),
    type: kind.replace(/^(gauges|info)$/, 'gauge').replace(/^totals?$/, 'counter'),
    labels: kind === 'histogram' ? [] : (labels.match(/\w+/g) ?? []),
  }));
  const names = source.match(/['`]longline_[\w${}]+['`]/g) ?? [];
  if (found.length < names.length) throw new Error(`not understood: one of ${names.join(', ')}`);
  return found;
}

function metricRow({ name, type, labels, help }) {
  const labelText = labels.map((label) => `\`${label}\``).join(', ');
  return [`\`${name}\``, type, labelText, help];
}

/** @returns text of every TypeScript source of the roles, by path */
function readSources() {
  const list = ['ls-files', '--cached', '--others', '--exclude-standard', 'common', ...ROLES];
  const files = execFileSync('git', list, { cwd: ROOT, encoding: 'utf8' }).split('\n');
  const sources = files.filter((file) => file.endsWith('.ts') && existsSync(join(ROOT, file)));
  return new Map(sources.map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]));
}

/** @returns roles whose main module imports the file, directly or not, and more than its types */
function rolesUsing(file, sources) {
  return ROLES.filter((role) => {
    const reached = new Set([`${role}/main.ts`]);
    for (const each of reached) {
      const code = (sources.get(each) ?? '').replaceAll(/^import type [^;]+;$/gm, '');
      for (const [, path] of code.matchAll(/from '(\.[^']+)\.js'/g)) {
        reached.add(`${join(dirname(each), path)}.ts`);
      }
    }
    return reached.has(file);
  });
}

async function errorsPage() {
  const { catalogue } = await load('common/process/errors.js');
  const rows = Object.entries(catalogue).map(([code, { when, http, grpc }]) => {
    return [`\`${code}\``, String(http), status[grpc], when];
  });
  return page(
    'Error codes',
    'A code never changes; the message beside it is for people. HTTP carries both in the body,\n' +
      '`{"error":{"code":…,"message":…}}`; gRPC has the code at the start of the status message and as `longline-code` in\n' +
      'the metadata; [MQTT](../operations.md#error-codes-over-mqtt) maps it to reason codes.',
    [table(['code', 'HTTP', 'gRPC', 'when'], rows)],
  );
}

/** The OpenAPI document that routers serve. */
async function pushApi() {
  const { describePushApi } = await load('router/push/http/openapi.js');
  return `${JSON.stringify(describePushApi(), null, 2)}\n`;
}

function page(title, text, parts) {
  const head = [
    '<!-- biome-ignore-all format: written by `npm run docs` from the code. Edit the code. -->',
    `# ${title}`,
  ];
  return `${[head.join('\n'), text, ...parts].join('\n\n')}\n`;
}

/** One table per set of roles, the largest sets first. */
function sections(head, entries) {
  const rowsByRoles = new Map();
  for (const { roles, row } of entries) {
    const key = roles.length === ROLES.length ? 'all roles' : joined(roles);
    if (!rowsByRoles.has(key)) rowsByRoles.set(key, []);
    rowsByRoles.get(key).push(row);
  }
  const pairs = ['edge and router', 'edge and control', 'router and control'];
  return ['all roles', 'edge, router and control', ...pairs, ...ROLES]
    .filter((key) => rowsByRoles.has(key))
    .map((key) => `## ${capital(key)}\n\n${table(head, rowsByRoles.get(key))}`);
}

function joined(roles) {
  return roles.join(', ').replace(/, (\w+)$/, ' and $1');
}

function table(head, rows) {
  const line = (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n');
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function load(path) {
  return import(pathToFileURL(join(ROOT, 'dist', path)).href);
}
