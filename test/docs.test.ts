/**
 * Settings, metrics, error codes and files in the documents exist, and every existing one is documented.
 * Names are found in the sources, so that none has to be registered for this test.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { status } from '@grpc/grpc-js';
import { describe, expect, test } from '@jest/globals';
import { catalogue } from '../common/process/errors.js';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const ROLES = ['common', 'edge', 'router', 'control'];
const DOCUMENTS = ['README.md', ...filesBelow('docs', '.md')];

const operations = read('docs/operations.md');

test('docs/operations.md has exactly the existing settings', () => {
  const sources = [...ROLES, 'cli', 'scripts'].flatMap((folder) => [
    ...filesBelow(folder, '.ts'),
    ...filesBelow(folder, '.mjs'),
  ]);
  // Without the old names of renamed settings, which a start-up error maps to the new ones.
  const existing = sources.flatMap((file) =>
    settingsIn(read(file).replaceAll(/LONGLINE_\w+(?=: 'LONGLINE_)/g, '')),
  );
  expect(settingsIn(operations)).toEqual(settingsIn(existing.join(' ')));
});

test('every setting mentioned in a document is described in docs/operations.md', () => {
  const described = rowsOf(operations, /^\| `(LONGLINE_\w+)` \|/gm).map(([name]) => name);
  const mentioned = DOCUMENTS.flatMap((file) => settingsIn(read(file)));
  expect(described.toSorted()).toEqual(unique(mentioned));
});

test('docs/operations.md has exactly the existing metrics', () => {
  const existing = ROLES.flatMap((folder) => filesBelow(folder, '.ts')).flatMap((file) =>
    metricsIn(read(file)),
  );
  expect(existing.length).toBeGreaterThan(0);
  const described = rowsOf(operations, /^\| `(longline_\w+)` \|/gm).map(([name]) => name);
  expect(described.toSorted()).toEqual(unique(existing));
  const mentioned = operations.match(/longline_\w+/g) ?? [];
  expect(unique(mentioned)).toEqual(unique(existing));
});

test('the error catalogue in docs/operations.md equals the one in the code', () => {
  const described = rowsOf(operations, /^\| `([A-Z_]+)` \| (\d{3}) \| ([A-Z_]+) \| (.+) \|$/gm);
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

  test('links only to files that exist', () => {
    const linked = [...read(document).matchAll(/\]\((?!https?:)([^)#]+)/g)];
    const missing = linked.map(([, path]) => join(document, '..', path!));
    expect(missing.filter((path) => !existsSync(at(path)))).toEqual([]);
  });
});

/** Whole names only: a name that ends with an underscore is a prefix. */
function settingsIn(text: string): string[] {
  return unique(text.match(/\bLONGLINE_[A-Z0-9_]*[A-Z0-9]\b/g) ?? []);
}

/** A name with `${role}` stands for one metric per role that the same file lists. */
function metricsIn(source: string): string[] {
  const names = [...source.matchAll(/['`](longline_(?:\w|\$\{role\})+)['`]/g)].map(([, n]) => n!);
  const roles = /\brole: ((?:'\w+'(?: \| )?)+)/.exec(source)?.[1]?.match(/\w+/g) ?? [];
  return names.flatMap((name) => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the sources contain this text.
    if (!name.includes('${role}')) return [name];
    expect(roles).not.toEqual([]);
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the sources contain this text.
    return roles.map((role) => name.replace('${role}', role));
  });
}

function rowsOf(text: string, row: RegExp): string[][] {
  return [...text.matchAll(row)].map(([, ...cells]) => cells);
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
