import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from '@jest/globals';
import { build } from 'esbuild';
import { packageRoot } from '../../common/process/package-root.js';

const FILES = [
  'connect',
  'deliveries',
  'events',
  'http',
  'machine',
  'messages',
  'options',
  'session-lock',
  'web-socket',
];
const SOURCES = FILES.map((name) => readFileSync(join(packageRoot, `client/${name}.ts`), 'utf8'));
/** Limit that the README states. */
const GZIP_BYTES_MAX = 5 * 1024;

function importedNames(code: readonly string[]): string[] {
  const imports = code
    .map((text) => text.replaceAll(/\/\*.*?\*\//gs, ''))
    .flatMap((text) => [...text.matchAll(/from\s*["']([^"']+)["']/g)]);
  return [...new Set(imports.map(([, name]) => name!))].sort();
}

test('imports only its own files, types included', () => {
  expect(importedNames(SOURCES)).toEqual(FILES.slice(1).map((name) => `./${name}.js`));
});

test('is below 5 KiB when bundled, minified and compressed, and has no dependencies', async () => {
  const { outputFiles } = await build({
    entryPoints: [join(packageRoot, 'client/connect.ts')],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
  });
  const code = outputFiles[0]!.text;
  expect(importedNames([code])).toEqual([]);
  expect(gzipSync(code).length).toBeLessThan(GZIP_BYTES_MAX);
});
