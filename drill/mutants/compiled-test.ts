/** Runs compiled tests against patched copies of the compiled code. Needs a checkout. */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Failure } from '../../cli/terminal/failure.js';
import { packageRoot } from '../../common/process/package-root.js';
import { makeTemporaryFolder } from '../temporary-folder.js';
import type { Patch } from './mutants.js';
import { mutate } from './mutate.js';

const TEST_MS_MAX = 300_000;

/** The parts of jest's report that are read. */
interface JestReport {
  readonly numTotalTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly { readonly message: string }[];
}

/**
 * Resolves with whether a test fails in a copy with these patches.
 * @param test without `.test.ts`; below test/
 * @throws Failure when the test could not be run
 */
export async function failsTest(test: string, patches: readonly Patch[]): Promise<boolean> {
  const folder = await makeTemporaryFolder();
  try {
    const root = join(folder.path, 'package');
    await mutate(patches, packageRoot, root);
    const { numTotalTests, numFailedTests, testResults } = await runJest(root, test);
    if (numTotalTests > 0) return numFailedTests > 0;
    throw new Failure(`test/${test}.test.ts does not run: ${testResults[0]?.message}`);
  } finally {
    await folder.remove();
  }
}

async function runJest(root: string, test: string): Promise<JestReport> {
  const report = join(root, 'report.json');
  const config = {
    rootDir: root,
    roots: ['<rootDir>/dist'],
    testMatch: [`<rootDir>/dist/test/${test}.test.js`],
    transform: {},
    testTimeout: 20_000,
  };
  const args = ['--experimental-vm-modules', join(root, 'node_modules/jest/bin/jest.js')];
  args.push('--config', JSON.stringify(config), '--json', '--outputFile', report, '--forceExit');
  // Jest's status is 1 when the test fails, as it should.
  await promisify(execFile)(process.execPath, args, { cwd: root, timeout: TEST_MS_MAX }).catch(
    () => {},
  );
  return JSON.parse(await readFile(report, 'utf8')) as JestReport;
}
