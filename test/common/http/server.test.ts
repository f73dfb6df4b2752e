import { afterEach, expect, test } from '@jest/globals';
import type { FastifyInstance } from 'fastify';
import { combineReadiness, READY, type Readiness } from '../../../common/process/readiness.js';
import { httpServerOf } from '../../support/http-server.js';

let server: FastifyInstance | undefined;

afterEach(() => server?.close());

async function readyz(...parts: Readiness[]): Promise<{ status: number; body: object }> {
  server = httpServerOf(() => combineReadiness(...parts));
  const { statusCode, body } = await server.inject('/readyz');
  return { status: statusCode, body: JSON.parse(body) };
}

test('/readyz of a process without problems is 200 without reasons', async () => {
  expect(await readyz(READY)).toEqual({ status: 200, body: { status: 'ready', reasons: [] } });
});

test('/readyz of a process that serves a part is 200 with the reasons', async () => {
  const parts = [
    { notReady: [], degraded: ['a'] },
    { notReady: [], degraded: ['b'] },
  ];
  expect(await readyz(...parts)).toEqual({
    status: 200,
    body: { status: 'ready', reasons: ['a', 'b'] },
  });
});

test('/readyz of a process that cannot serve is 503 with all reasons', async () => {
  const answer = await readyz({ notReady: [], degraded: ['a'] }, { notReady: ['b'], degraded: [] });
  expect(answer).toMatchObject({
    status: 503,
    body: { error: { code: 'NOT_READY' }, reasons: ['b', 'a'] },
  });
});
