import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { expect, test } from '@jest/globals';
import { minifySync, transformSync } from '@swc/core';
import { packageRoot } from '../../common/process/package-root.js';

const FILES = ['connect', 'http', 'machine', 'messages', 'web-socket'];
/** What the README promises. */
const GZIP_BYTES_MAX = 4 * 1024;

test('the client, minified and compressed, is below 4 KiB, and needs nothing else', () => {
  const minified = FILES.map((name) => {
    const source = readFileSync(join(packageRoot, `client/${name}.ts`), 'utf8');
    const jsc = { parser: { syntax: 'typescript' }, target: 'es2022' } as const;
    const { code } = transformSync(source, { jsc, module: { type: 'es6' } });
    return minifySync(code, { module: true, compress: true, mangle: true }).code;
  });
  const imported = minified.flatMap((code) => [...code.matchAll(/from\s*"([^"]+)"/g)]);
  const names = new Set(imported.map(([, name]) => name));
  expect([...names].sort()).toEqual(FILES.slice(1).map((name) => `./${name}.js`));
  expect(gzipSync(minified.join('\n')).length).toBeLessThan(GZIP_BYTES_MAX);
});
