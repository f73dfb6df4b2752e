/**
 * Goal: faults of the network fail, and do not hang, when the switch has ended.
 * Method: a network in a namespace of its own, whose switch is killed.
 */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { packageRoot } from '../../../common/process/package-root.js';
import { networkObstacle } from '../../../drill/network/namespace.js';

const obstacle = await networkObstacle();
if (obstacle !== undefined) console.warn(`the network of the drill is not tested: ${obstacle}`);

const SCRIPT = `
  import { readFileSync } from 'node:fs';
  const [module, folder] = process.argv.slice(1);
  const { Network } = await import(module);
  const network = await Network.start({ members: ['a'], groups: 1, folder, seed: 1 });
  const cut = () => network.impose(['a'], ['devices-0'], { isCut: true });
  const uncut = await cut();
  await uncut();
  const children = readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8');
  process.kill(Number(children.trim()), 'SIGKILL');
  for (let i = 0; i < 3; i++) console.log(await cut().catch((error) => error.message));
  await network.close();
  console.log('closed');
`;

(obstacle === undefined ? test : test.skip)('a network whose switch has ended', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'longline-network-'));
  try {
    const module = join(packageRoot, 'dist/drill/network/network.js');
    const node = [process.execPath, '--input-type=module', '-e', SCRIPT, module, folder];
    const { stdout } = await promisify(execFile)('unshare', ['--net', ...node], {
      timeout: 60_000,
    });
    const ended = 'the switch of the drill has ended';
    expect(stdout.trim().split('\n')).toEqual([ended, ended, ended, 'closed']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
