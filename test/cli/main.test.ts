/** Output and exit status of the compiled command. */

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { freePort } from '../../cli/local/ports.js';
import { packageRoot } from '../../common/process/package-root.js';

function longline(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(packageRoot, 'dist/cli/main.js'), ...args],
    { encoding: 'utf8', input: '' },
  );
  return { status, stdout, stderr };
}

test.each([
  [['frob'], /unknown command 'frob'/],
  [['push', 'alice'], /missing required argument 'payload'/],
  [['push', 'alice', 'x', '--wait', '1.5'], /whole number from 1 to 60000/],
  [['push', 'alice', 'x', '--wait', '0'], /whole number from 1 to 60000/],
  [['push', 'alice', 'x', '--wait-for', 'read'], /Allowed choices are written, stored, acked/],
  [['push', 'alice', 'x', '--accept-level', 'replicated:0'], /expected accepted, fsynced or/],
  [['push', 'alice', 'x', '--router', 'http://localhost:7101'], /expected host:port/],
  [['broadcast', 'x'], /required option '--rate <count>' not specified/],
  [['broadcast', 'x', '--rate', '0'], /whole number from 1/],
  [['dev', '--edges', '51'], /whole number from 1 to 50/],
  [['status', '--control', 'localhost:7200'], /expected a URL/],
  [['explain', 'alice', 'bob'], /too many arguments/],
])('rejects %j with exit status 2', (args, message) => {
  const result = longline(...args);
  expect(result).toMatchObject({ status: 2, stdout: '' });
  expect(result.stderr).toMatch(message);
});

test('prints one line when nothing listens', async () => {
  const port = await freePort();
  const stderr = `longline: nothing listens at localhost:${port}; start the cluster (npm start) or name another address\n`;
  const expected = { status: 2, stdout: '', stderr };
  expect(longline('push', 'alice', 'x', '--router', `localhost:${port}`)).toEqual(expected);
  expect(longline('status', '--control', `http://localhost:${port}`)).toEqual(expected);
  expect(longline('explain', '..', '--control', `http://localhost:${port}`)).toEqual(expected);
});

test('--help is not an error', () => {
  expect(longline('--help')).toMatchObject({ status: 0, stderr: '' });
});

test('--version prints the version and the release of Node.js', () => {
  const { status, stdout } = longline('--version');
  expect(status).toBe(0);
  expect(stdout).toMatch(
    new RegExp(`^\\d+\\.\\d+\\.\\d+ \\(.*Node\\.js ${process.versions.node}\\)\\n$`),
  );
});

test('a wrong address in the environment is rejected with its name, an empty one is ignored', () => {
  const withControl = (LONGLINE_CONTROL: string) => {
    const env = { ...process.env, LONGLINE_CONTROL };
    const args = [join(packageRoot, 'dist/cli/main.js'), 'status', '--help'];
    return spawnSync(process.execPath, args, { encoding: 'utf8', env });
  };
  expect(withControl('').status).toBe(0);
  const wrong = withControl('localhost:7200');
  expect(wrong.status).toBe(2);
  expect(wrong.stderr).toMatch(/from env 'LONGLINE_CONTROL' is invalid. expected a URL/);
});
