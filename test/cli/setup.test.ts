import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { expect, test } from '@jest/globals';
import { packageRoot } from '../../common/process/package-root.js';

/** `times` prints the processor time of the shell's children in its second line. */
const TIMED_SETUP = '"$0" scripts/setup.mjs; status=$?; times >&3; exit $status';

function setup() {
  const { status, stdout, stderr, output } = spawnSync(
    'sh',
    ['-c', TIMED_SETUP, process.execPath],
    {
      cwd: packageRoot,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    },
  );
  const [, children = ''] = output[3]!.split('\n');
  const times = [...children.matchAll(/(\d+)m([\d.]+)s/g)];
  const cpuMs = times.reduce(
    (sum, [, min, s]) => sum + Number(min) * 60_000 + Number(s) * 1_000,
    0,
  );
  return { status, stdout, stderr, cpuMs };
}

test('does nothing, quickly and silently, when no file has changed', () => {
  setup();
  const again = setup();
  expect(again).toMatchObject({ status: 0, stdout: '', stderr: '' });
  // About 150 ms, also on a busy machine.
  expect(again.cpuMs).toBeGreaterThan(0);
  expect(again.cpuMs).toBeLessThan(1_000);
});

test('its lock admits one process at a time, and ignores the lock of a dead process', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'longline-lock-'));
  const path = join(folder, 'lock');
  const unusedPid = 2 ** 22 + 1;
  writeFileSync(path, `${unusedPid}`);
  const { withLock } = await import(pathToFileURL(join(packageRoot, 'scripts/lock.mjs')).href);
  const events: string[] = [];
  const work = async () => {
    events.push('in');
    await sleep(50);
    events.push('out');
  };
  await withLock(path, () => {}, work);
  await Promise.all([1, 2].map(() => withLock(path, () => events.push('waits'), work)));
  expect(events).toEqual(['in', 'out', 'in', 'waits', 'out', 'in', 'out']);
  expect(existsSync(path)).toBe(false);
  rmSync(folder, { recursive: true });
});
