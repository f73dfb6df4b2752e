/** Health, readiness and exit status of a role that cannot start. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { freePort } from '../../../cli/local/ports.js';
import { packageRoot } from '../../../common/process/package-root.js';
import { startRedis } from '../../support/cluster/redis.js';
import { eventually } from '../../support/eventually.js';
import { httpRequest } from '../../support/http.js';

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

const ROLES = [
  { role: 'edge', portSetting: 'LONGLINE_EDGE_ADMIN_PORT' },
  { role: 'router', portSetting: 'LONGLINE_ROUTER_HTTP_PORT' },
  { role: 'control', portSetting: 'LONGLINE_CONTROL_HTTP_PORT' },
] as const;

/** Starts a role. `health` is the URL of its health checks, `stderr` returns its output so far. */
async function start({ role, portSetting }: (typeof ROLES)[number], env: NodeJS.ProcessEnv) {
  const port = await freePort();
  const child = spawn(process.execPath, [join(packageRoot, 'dist', role, 'main.js')], {
    env: {
      PATH: process.env.PATH,
      LONGLINE_AUTH: 'none',
      LONGLINE_HOST: '127.0.0.1',
      [portSetting]: String(port),
      ...(role === 'edge' && { LONGLINE_EDGE_ID: 'edge-1', LONGLINE_EDGE_PORT: '0' }),
      ...(role === 'router' && { LONGLINE_ROUTER_GRPC_PORT: '0' }),
      ...(role === 'control' && { LONGLINE_CONTROL_GRPC_PORT: '0' }),
      ...(role !== 'control' && { LONGLINE_CONTROL_ADDRESS: '127.0.0.1:1' }),
      ...env,
    },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  children.push(child);
  let output = '';
  child.stderr!.on('data', (bytes) => {
    output += bytes;
  });
  const exited = once(child, 'close').then(([code]) => code as number | null);
  return { child, exited, stderr: () => output, health: `http://127.0.0.1:${port}` };
}

describe.each(ROLES)('$role', (role) => {
  test('is live but not ready while Redis is down, reports it, and starts when Redis is up', async () => {
    const port = await freePort();
    const starting = await start(role, { LONGLINE_REDIS_URL: `redis://127.0.0.1:${port}` });
    await eventually(async () => {
      const answer = await httpRequest(`${starting.health}/readyz`);
      expect(answer.status).toBe(503);
      expect(JSON.parse(answer.body).reasons[0]).toMatch(/waiting for Redis: .*ECONNREFUSED/);
    });
    expect((await httpRequest(`${starting.health}/healthz`)).status).toBe(200);
    const redis = await startRedis([], async () => port);
    try {
      await eventually(async () => {
        const { body } = await httpRequest(`${starting.health}/readyz`);
        expect(body).not.toMatch(/waiting for Redis/);
      });
    } finally {
      await redis.stop();
    }
  });

  test.each([
    ['SIGTERM', (child: ChildProcess) => child.kill('SIGTERM')],
    ['the end of its parent', (child: ChildProcess) => child.disconnect()],
  ])('exits after %s while Redis is down', async (_, end) => {
    const starting = await start(role, { LONGLINE_REDIS_URL: 'redis://127.0.0.1:1' });
    await eventually(async () => {
      expect((await httpRequest(`${starting.health}/healthz`)).status).toBe(200);
    });
    // Not `exited`: after `disconnect` there is no `close`.
    const gone = once(starting.child, 'exit');
    end(starting.child);
    expect((await gone)[0]).toBe(0);
  });

  test('reports a wrong shard count and exits', async () => {
    const redis = await startRedis();
    try {
      const env = { LONGLINE_REDIS_URL: redis.url };
      const first = await start(ROLES[2], env);
      await eventually(async () => {
        expect((await httpRequest(`${first.health}/readyz`)).status).toBe(200);
      });
      const second = await start(role, { ...env, LONGLINE_SHARD_COUNT: '1024' });
      expect(await second.exited).toBe(78);
      expect(second.stderr()).toMatch(/LONGLINE_SHARD_COUNT is 1024, but.*set it to 4096/);
    } finally {
      await redis.stop();
    }
  });
});
