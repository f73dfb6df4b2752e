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
 * Goal: the command works from end to end, and finds nothing where nothing is.
 * Method: ten seconds, few devices, every kind of fault that falls into them.
 */
test('a short drill keeps every promise, says so in one line, and leaves nothing behind', () => {
  const left = () => readdirSync(tmpdir()).filter((name) => name.startsWith('longline-drill-'));
  const before = left();
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
  expect(left().filter((name) => !before.includes(name))).toEqual([]);
}, 180_000);

test('rejects what makes no sense', () => {
  for (const args of [
    ['--seconds', '0'],
    ['--clients', 'many'],
    ['--seed', '-1'],
  ]) {
    expect(longline('drill', ...args).status).toBe(2);
  }
});
