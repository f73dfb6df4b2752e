/**
 * Settings, metrics, error codes, commands, files and links in the documents exist, and every
 * existing setting, metric and error code is documented. Names are found in the sources,
 * independently of the generator of docs/reference, so that a name which the generator misses fails
 * a test.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { status } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { catalogue } from '../common/process/errors.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const ROLES = ['common', 'edge', 'router', 'control', 'canary'];
const DOCUMENTS = ['README.md', ...filesBelow('docs', '.md')];
/** Settings of the command line, which the roles ignore. */
const CLI_SETTINGS = ['LONGLINE_TOKEN', 'LONGLINE_CONTROL', 'LONGLINE_ROUTER'];

const commands = commandNames();

test('docs/reference is up to date', () => {
  const check = () => run('scripts/write-reference.mjs', '--check');
  expect(check).not.toThrow();
});

test('docs/reference/settings.md has exactly the existing settings', () => {
  const sources = [...ROLES, 'cli', 'scripts'].flatMap((folder) => [
    ...filesBelow(folder, '.ts'),
    ...filesBelow(folder, '.mjs'),
  ]);
  // Without the old names of renamed settings, which a start-up error maps to the new ones.
  const existing = sources.flatMap((file) =>
    settingsIn(read(file).replaceAll(/LONGLINE_\w+(?=: 'LONGLINE_)/g, '')),
  );
  expect(unique([...describedSettings(), ...CLI_SETTINGS])).toEqual(unique(existing));
});

test('every setting mentioned in a document is described', () => {
  const described = [...describedSettings(), ...CLI_SETTINGS];
  const mentioned = DOCUMENTS.flatMap((file) => settingsIn(read(file)));
  expect(mentioned.filter((name) => !described.includes(name))).toEqual([]);
  for (const name of CLI_SETTINGS) expect(read('docs/operations.md')).toContain(name);
});

test('docs/reference/metrics.md has exactly the existing metrics', () => {
  const existing = ROLES.flatMap((folder) => filesBelow(folder, '.ts')).flatMap((file) =>
    metricsIn(read(file)),
  );
  expect(existing.length).toBeGreaterThan(0);
  const described = rowsOf('docs/reference/metrics.md', /^\| `(longline_\w+)` \|/gm).flat();
  expect(described.toSorted()).toEqual(unique(existing));
  const mentioned = DOCUMENTS.flatMap((file) => read(file).match(/\blongline_\w+/g) ?? []);
  expect(mentioned.filter((name) => !described.includes(name))).toEqual([]);
});

test('docs/reference/errors.md has exactly the catalogue of the code', () => {
  const described = rowsOf(
    'docs/reference/errors.md',
    /^\| `([A-Z_]+)` \| (\d{3}) \| ([A-Z_]+) \| (.+) \|$/gm,
  );
  const existing = Object.entries(catalogue).map(([code, { http, grpc, when }]) => {
    return [code, String(http), status[grpc], when];
  });
  expect(described).toEqual(existing);
});

describe.each(DOCUMENTS)('%s', (document) => {
  test('names only npm scripts that exist', () => {
    const { scripts } = JSON.parse(read('package.json'));
    const named = [...read(document).matchAll(/npm run (?:-s )?([\w:-]+)/g)];
    expect(named.map(([, name]) => name).filter((name) => !(name! in scripts))).toEqual([]);
  });

  test('names only files that exist', () => {
    const named = read(document).matchAll(
      /`((?:proto|common|edge|router|control|cli|scripts|bench|test|docs|k8s|\.ci)\/[\w./-]*)`/g,
    );
    const missing = [...named].map(([, path]) => path!).filter((path) => !existsSync(at(path)));
    expect(missing).toEqual([]);
  });

  test('names only commands that exist', () => {
    const named = [...read(document).matchAll(/(?:`|npx |^\$ )longline ([a-z][\w-]*)/gm)];
    expect(named.map(([, name]) => name).filter((name) => !commands.includes(name!))).toEqual([]);
  });

  test('links only to files and headings that exist', () => {
    const linked = [...read(document).matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)];
    const broken = linked.filter(([, path, heading]) => {
      const target = path === '' ? document : join(document, '..', path!);
      if (!existsSync(at(target))) return true;
      return heading !== undefined && !headingIds(read(target)).includes(heading);
    });
    expect(broken.map(([link]) => link)).toEqual([]);
  });
});

function describedSettings(): string[] {
  return rowsOf('docs/reference/settings.md', /^\| `(LONGLINE_\w+)` \|/gm).flat();
}

function commandNames(): string[] {
  const [, list] = run('dist/cli/main.js', '--help').split('Commands:\n');
  return [...list!.matchAll(/^ {2}([a-z][\w-]*) /gm)].map(([, name]) => name!);
}

/** Ids that GitHub gives to headings. */
function headingIds(text: string): string[] {
  return [...text.matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  );
}

function run(...args: string[]): string {
  return execFileSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
}

/** Whole names only: a name that ends with an underscore is a prefix. */
function settingsIn(text: string): string[] {
  return unique(text.match(/\bLONGLINE_[A-Z0-9_]*[A-Z0-9]\b/g) ?? []);
}

/** A name with `${role}` stands for one metric per role that the same file lists, or of all. */
function metricsIn(source: string): string[] {
  const names = [...source.matchAll(/['`](longline_(?:\w|\$\{role\})+)['`]/g)].map(([, n]) => n!);
  const listed = /\brole: ((?:'\w+'(?: \| )?)+)/.exec(source)?.[1]?.match(/\w+/g);
  const roles =
    listed ?? (/\brole: Role\b/.test(source) ? ['canary', 'control', 'edge', 'router'] : []);
  return names.flatMap((name) => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the sources contain this text.
    if (!name.includes('${role}')) return [name];
    expect(roles).not.toEqual([]);
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the sources contain this text.
    return roles.map((role) => name.replace('${role}', role));
  });
}

function rowsOf(document: string, row: RegExp): string[][] {
  return [...read(document).matchAll(row)].map(([, ...cells]) => cells);
}

function filesBelow(folder: string, suffix: string): string[] {
  return readdirSync(at(folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(suffix))
    .map((name) => join(folder, name))
    .sort();
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)].sort();
}

function read(path: string): string {
  return readFileSync(at(path), 'utf8');
}

function at(path: string): string {
  return join(ROOT, path);
}
