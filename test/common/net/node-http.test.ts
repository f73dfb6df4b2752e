/** An import of `node:http` for its values anywhere would load what node-http.ts avoids. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';

const FOLDERS = ['common', 'edge', 'router', 'control'];

test('the roles import only types from node:http', () => {
  const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', ...FOLDERS], {
    encoding: 'utf8',
  }).match(/.+\.ts$/gm)!;
  const importing = files.filter((file) =>
    /^import (?!type)[^;]*from 'node:http';$/m.test(readFileSync(file, 'utf8')),
  );
  expect(importing).toEqual([]);
});
