import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { packageRoot } from '../../../common/process/package-root.js';
import { MUTANTS } from '../../../drill/mutants/mutants.js';
import { patched } from '../../../drill/mutants/mutate.js';
import { TEST_MUTANTS } from '../../../drill/mutants/test-mutants.js';

const all = [...MUTANTS, ...TEST_MUTANTS];
const patches = all.flatMap(({ name, patches }) =>
  patches.map((patch) => [name, patch.file, patch] as const),
);

test.each(patches)('%s: its text occurs in dist/%s exactly once', (_, file, patch) => {
  const code = readFileSync(join(packageRoot, 'dist', file), 'utf8');
  expect(patched(code, patch)).not.toBe(code);
});

test('rejects a text that occurs never or twice', () => {
  const patch = { file: 'a.js', find: 'x', replace: 'y' };
  expect(patched('axb', patch)).toBe('ayb');
  expect(() => patched('ab', patch)).toThrow('0 times in a.js');
  expect(() => patched('xx', patch)).toThrow('2 times in a.js');
});

test('every mutant has a unique name', () => {
  expect(new Set(all.map(({ name }) => name)).size).toBe(all.length);
});

test.each(TEST_MUTANTS)('$name: test/$test.test.ts exists', ({ test: name }) => {
  expect(existsSync(join(packageRoot, 'test', `${name}.test.ts`))).toBe(true);
});
