import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from '@jest/globals';
import { minifySync, transformSync } from '@swc/core';
import { packageRoot } from '../../common/process/package-root.js';

const FILES = ['connect', 'http', 'machine', 'messages', 'web-socket'];
const SOURCES = FILES.map((name) => readFileSync(join(packageRoot, `client/${name}.ts`), 'utf8'));
/** Limit that the README states. */
const GZIP_BYTES_MAX = 4 * 1024;

function importedNames(code: readonly string[]): string[] {
  const imports = code
    .map((text) => text.replaceAll(/\/\*.*?\*\//gs, ''))
    .flatMap((text) => [...text.matchAll(/from\s*["']([^"']+)["']/g)]);
  return [...new Set(imports.map(([, name]) => name!))].sort();
}

test('imports only its own files, types included', () => {
  expect(importedNames(SOURCES)).toEqual(FILES.slice(1).map((name) => `./${name}.js`));
});

test('is below 4 KiB when minified and compressed, and has no dependencies', () => {
  const minified = SOURCES.map((source) => {
    const jsc = { parser: { syntax: 'typescript' }, target: 'es2022' } as const;
    const { code } = transformSync(source, { jsc, module: { type: 'es6' } });
    return minifySync(code, { module: true, compress: true, mangle: true }).code;
  });
  expect(importedNames(minified)).toEqual(FILES.slice(1).map((name) => `./${name}.js`));
  expect(gzipSync(minified.join('\n')).length).toBeLessThan(GZIP_BYTES_MAX);
});
