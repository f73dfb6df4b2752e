import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from '@jest/globals';
import { packageRoot } from '../../common/process/package-root.js';
import { helmTest } from './helm.js';

const FOLDER = join(packageRoot, 'k8s/kustomize');
const hasKubectl = spawnSync('kubectl', ['kustomize', '--help']).status === 0;

const RENDER = pathToFileURL(join(packageRoot, 'k8s/render.mjs')).href;

helmTest('the kustomize base is up to date with the chart: run node k8s/render.mjs', async () => {
  for (const { path, text } of (await import(RENDER)).renderKustomize()) {
    expect(readFileSync(path, 'utf8')).toBe(text);
  }
});

helmTest("the chart's README.md is up to date: run node k8s/render.mjs", async () => {
  const { path, text } = (await import(RENDER)).renderReadme();
  expect(readFileSync(path, 'utf8')).toBe(text);
});

test('the schema is up to date with the settings: run node k8s/render.mjs', async () => {
  const { path, text } = (await import(RENDER)).renderSchema();
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(JSON.parse(text));
});

(hasKubectl ? test : test.skip)('kubectl kustomize builds the overlay', () => {
  const { status, stdout, stderr } = spawnSync('kubectl', ['kustomize', FOLDER], {
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  expect(status).toBe(0);
  const kinds = [...stdout.matchAll(/^kind: (\w+)$/gm)].map(([, kind]) => kind);
  expect(kinds.filter((kind) => kind === 'StatefulSet')).toHaveLength(2);
  expect(kinds.filter((kind) => kind === 'Deployment')).toHaveLength(2);
  expect(kinds).toContain('Namespace');
  expect(kinds).not.toContain('Pod');
  expect(stdout.match(/^ {2}name: longline-redis$/gm)!.length).toBeGreaterThan(2);
});
