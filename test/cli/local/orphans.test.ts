/**
 * **Goal:** a process that started a local cluster and is killed without a chance to clean up
 * leaves no process running, although the roles still write to log pipes without a reader.
 * **Method:** a separate process starts Redis and a cluster, prints the pids, and kills itself.
 */
import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { expect, test } from '@jest/globals';
import { packageRoot } from '../../../common/process/package-root.js';
import { eventually } from '../../support/eventually.js';

const dist = pathToFileURL(`${packageRoot}/dist/cli/`).href;

const SCRIPT = `
import { LocalCluster } from '${dist}local/cluster.js';
import { startRedis } from '${dist}local/redis.js';
const redis = await startRedis();
const options = { redisUrl: redis.url, edges: 1, ports: 'free', restart: true };
const cluster = await LocalCluster.start(options);
await cluster.waitUntilReady(60_000);
const pids = [redis.pid, ...cluster.names.map((name) => cluster.pid(name))];
process.stdout.write(JSON.stringify(pids), () => process.kill(process.pid, 'SIGKILL'));
`;

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('a cluster stops when its parent is killed', async () => {
  const parent = spawn(process.execPath, ['--input-type=module', '--eval', SCRIPT], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const pids = JSON.parse(await text(parent.stdout)) as number[];
  expect(pids).toHaveLength(4);
  await eventually(() => expect(pids.filter(isRunning)).toEqual([]));
});
