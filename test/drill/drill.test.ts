import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { packageRoot } from '../../common/process/package-root.js';

function longline(...args: string[]) {
  return spawnSync(process.execPath, [join(packageRoot, 'dist/cli/main.js'), ...args], {
    encoding: 'utf8',
  });
}

/**
 * Goal: the command works from end to end, and reports no violation in correct code.
 * Method: ten seconds with few devices and every fault that is scheduled in them.
 */
test('a short drill finds no violation, prints one line, and leaves no files', () => {
  const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith('longline-drill-'));
  const before = folders();
  const args = ['--seconds', '10', '--seed', '1', '--clients', '100', '--rate', '100', '--json'];
  const { status, stdout, stderr } = longline('drill', ...args);
  expect([status, status === 0 ? '' : stderr]).toEqual([0, '']);
  expect(stdout.trim().split('\n')).toHaveLength(1);
  const summary = JSON.parse(stdout);
  expect(summary).toMatchObject({
    lost: 0,
    outOfOrder: 0,
    unexplainedDuplicates: 0,
    falseVerdicts: 0,
    late: 0,
    phantoms: 0,
    misdelivered: 0,
    corrupted: 0,
    stuck: 0,
    seed: 1,
  });
  expect(summary.accepted).toBeGreaterThan(500);
  expect(Object.keys(summary.faults).length).toBeGreaterThan(4);
  expect(folders().filter((name) => !before.includes(name))).toEqual([]);
});

test('rejects invalid options', () => {
  for (const args of [
    ['--seconds', '0'],
    ['--clients', 'many'],
    ['--seed', '-1'],
    ['--only', 'killedge'],
    ['--only', 'losePower'],
    ['--only', 'killMaster', '--redis', 'standalone'],
  ]) {
    expect(longline('drill', ...args).status).toBe(2);
  }
});

test('names the options that a kind of fault needs', () => {
  const { stderr } = longline('drill', '--only', 'losePower,promoteStaleReplica');
  expect(stderr).toContain('losePower needs --redis-faults and --redis standalone');
  expect(stderr).toContain('promoteStaleReplica needs --redis-faults and --redis cluster');
});
