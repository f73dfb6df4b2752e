import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { isTaken } from '../../../cli/local/ports.js';
import { startRedis } from '../../../cli/local/redis.js';
import { packageRoot } from '../../../common/process/package-root.js';

test('serves sharded pub/sub, and leaves neither process nor folder after stop', async () => {
  const redis = await startRedis();
  const client = new Redis(redis.url);
  expect(await client.spublish('ll:{0}', 'x')).toBe(0);
  const [, folder] = (await client.config('GET', 'dir')) as [string, string];
  expect(existsSync(folder)).toBe(true);
  client.disconnect();
  await redis.stop();
  expect(existsSync(folder)).toBe(false);
  expect(await isTaken(redis.port)).toBe(false);
});

test('starts again on the same port', async () => {
  const first = await startRedis();
  await first.kill('SIGKILL');
  const second = await startRedis({ port: first.port });
  expect(second.url).toBe(first.url);
  await second.stop();
});

test('throws the output of a redis-server that does not start', async () => {
  const redis = await startRedis();
  await expect(startRedis({ port: redis.port })).rejects.toThrow(/did not start:.*in use/s);
  await redis.stop();
});

test('dies with a parent that is killed with SIGKILL', async () => {
  const module = pathToFileURL(join(packageRoot, 'dist/cli/local/redis.js')).href;
  const script = `
    const { startRedis } = await import('${module}');
    console.log((await startRedis()).port);`;
  const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(createInterface({ input: parent.stdout }), 'line')) as [string];
  expect(await isTaken(Number(line))).toBe(true);
  parent.kill('SIGKILL');
  while (await isTaken(Number(line))) await sleep(10);
});
