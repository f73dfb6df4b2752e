import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { packageRoot } from '../../common/process/package-root.js';

/** Builds the image twice, which compresses all of it: minutes on a busy machine. */
jest.setTimeout(600_000);

const script = pathToFileURL(join(packageRoot, 'scripts/fetched-tools.mjs')).href;
const hadolint: string | undefined = (await import(script)).findTool('hadolint');
const isLinux = process.platform === 'linux';

(hadolint ? test : test.skip)('hadolint reports no problem in the Dockerfile', () => {
  const dockerfile = join(packageRoot, 'k8s/Dockerfile');
  const { status, stdout } = spawnSync(hadolint!, ['--no-color', dockerfile], { encoding: 'utf8' });
  expect(stdout).toBe('');
  expect(status).toBe(0);
});

test('.dockerignore includes every folder that is compiled', () => {
  const read = (path: string) => readFileSync(join(packageRoot, path), 'utf8');
  const lines = read('.dockerignore').split('\n');
  const folders = JSON.parse(read('tsconfig.json')).include.map(
    (path: string) => path.split('/')[0],
  );
  // k8s is included in part: only the files that build the image.
  const missing = folders.filter(
    (folder: string) => folder !== 'k8s' && !lines.includes(`!${folder}`),
  );
  expect(missing).toEqual([]);
});

(isLinux ? describe : describe.skip)('the image built without a registry', () => {
  let folder: string;
  let builds: { output: string; digest: string; bytes: number }[];

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'longline-image-test-'));
    builds = ['first.tar', 'second.tar'].map((file) => {
      const args = ['k8s/build-image.mjs', '--output', join(folder, file)];
      const env = { ...process.env, SOURCE_DATE_EPOCH: '1700000000' };
      return JSON.parse(execFileSync(process.execPath, args, { cwd: packageRoot, env }).toString());
    });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test('is reproducible', () => {
    const [first, second] = builds;
    expect(second!.digest).toBe(first!.digest);
    // Not toEqual, which would compare 40 million numbers one by one.
    expect(readFileSync(second!.output).equals(readFileSync(first!.output))).toBe(true);
  });

  test('is small, runs without root, and stops on SIGTERM', () => {
    expect(builds[0]!.bytes).toBeLessThan(60 * 1024 * 1024);
    const read = (path: string) =>
      execFileSync('tar', ['--extract', '--to-stdout', '--file', builds[0]!.output, path]);
    const [{ Config }] = JSON.parse(read('manifest.json').toString());
    const { config, created } = JSON.parse(read(Config).toString());
    expect(created).toBe('2023-11-14T22:13:20.000Z');
    expect(config).toMatchObject({ User: '65532:65532', StopSignal: 'SIGTERM' });
    // Exec form: node receives the signals.
    expect(config.Cmd[0]).toBe('node');
  });

  test('contains the roles, but no tests, benches or tools', () => {
    const app = join(folder, 'app');
    execFileSync(process.execPath, ['k8s/stage.mjs', app], { cwd: packageRoot });
    const has = (path: string) => spawnSync('test', ['-e', join(app, path)]).status === 0;
    for (const path of ['dist/edge/main.js', 'dist/cli/main.js', 'k8s/health.mjs']) {
      expect([path, has(path)]).toEqual([path, true]);
    }
    for (const path of [
      'dist/test',
      'dist/bench',
      'node_modules/jest',
      'node_modules/typescript',
    ]) {
      expect([path, has(path)]).toEqual([path, false]);
    }
    for (const role of ['edge', 'router', 'control']) {
      const { status, stderr } = spawnSync(process.execPath, [`dist/${role}/main.js`], {
        cwd: app,
        env: {},
        encoding: 'utf8',
      });
      // The role loaded all its modules: only its settings are missing.
      expect(stderr).toMatch(/LONGLINE_REDIS_URL: required/);
      expect(status).toBe(78);
    }
  });
});
