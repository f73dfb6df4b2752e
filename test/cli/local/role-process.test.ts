import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from '@jest/globals';
import { RoleProcess } from '../../../cli/local/role-process.js';
import { Failure } from '../../../cli/terminal/failure.js';
import { packageRoot } from '../../../common/process/package-root.js';

let role: RoleProcess;
const output: string[] = [];

function fakeRole(env: NodeJS.ProcessEnv, restart: boolean): RoleProcess {
  output.length = 0;
  role = new RoleProcess({
    name: 'fake',
    script: join(packageRoot, 'test/cli/local/fake-role.mjs'),
    command: [],
    nodeOptions: [],
    env: { ...process.env, ...env },
    restart,
    onOutput: (line) => output.push(line),
  });
  return role;
}

afterEach(() => role.stop());

test('starts, and has exited after stop', async () => {
  const fake = fakeRole({}, true);
  await fake.start();
  const pid = fake.pid!;
  expect(isAlive(pid)).toBe(true);
  await fake.stop();
  expect(isAlive(pid)).toBe(false);
  expect(fake.pid).toBeUndefined();
  expect(output).toEqual([]);
});

test('restarts a killed process', async () => {
  const fake = fakeRole({}, true);
  await fake.start();
  const before = fake.pid!;
  await fake.kill('SIGKILL');
  expect(isAlive(before)).toBe(false);
  expect(fake.isWanted).toBe(true);
  while (fake.pid === undefined) await sleep(10);
  expect(fake.pid).not.toBe(before);
  expect(output).toEqual([expect.stringMatching(/^died \(SIGKILL\), restarts in \d+ ms$/)]);
});

test('leaves a killed process dead without `restart`, and starts it again on request', async () => {
  const fake = fakeRole({}, false);
  await fake.start();
  await fake.kill('SIGKILL');
  expect(fake.isWanted).toBe(false);
  expect(output).toEqual(['died (SIGKILL), not restarted']);
  await fake.start();
  expect(isAlive(fake.pid!)).toBe(true);
});

test('does not restart a process that failed to start, and throws its output', async () => {
  const fake = fakeRole({ FAKE_ROLE_REJECTS: '1' }, true);
  await expect(fake.start()).rejects.toThrow(
    new Failure('fake did not start: exit status 1\n  the fake role rejects'),
  );
  expect(fake.isWanted).toBe(false);
});

test('does not restart a process that rejects its configuration', async () => {
  const fake = fakeRole({}, true);
  await fake.start();
  await fake.kill('SIGHUP');
  expect(output).toEqual(['died (exit status 78), not restarted']);
});

test('stop cancels a pending restart', async () => {
  const fake = fakeRole({}, true);
  await fake.start();
  await fake.kill('SIGKILL');
  await fake.stop();
  await sleep(150);
  expect(fake.pid).toBeUndefined();
});

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
