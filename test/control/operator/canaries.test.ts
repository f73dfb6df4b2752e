/** Reports of canaries: who may send them, and how many are kept. */
import { afterEach, expect, test } from '@jest/globals';
import { hashToken } from '../../../common/auth/tokens.js';
import { Access } from '../../../control/operator/access.js';
import { CanariesApi, type CanaryReport } from '../../../control/operator/canaries.js';
import { guarded, OPERATOR, VIEWER } from './fake-operations.js';
import { ask, type OperatedControl, startOperatedControl } from './operated-control.js';

const CANARY = 'token-of-the-canary';

const report: CanaryReport = {
  id: 'canary-1',
  devices: 9,
  connected: 9,
  combinations: 9,
  covered: 9,
  pushes: 100,
  findings: { lost: 2 },
  p50Ms: 1.5,
  p99Ms: null,
  lastFinding: 'lost: push 7',
};

let control: OperatedControl | undefined;
afterEach(async () => {
  await control?.stop();
  control = undefined;
});

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

test('a viewer named canary reports, and others may not', async () => {
  const viewers = [...guarded.viewers, { name: 'canary', sha256: hashToken(CANARY) }];
  control = await startOperatedControl(new Access(guarded.operators, viewers));
  const url = `${control.url}/v1/canary-report`;
  expect((await ask(url, report)).status).toBe(401);
  expect((await ask(url, report, bearer(VIEWER))).status).toBe(403);
  expect((await ask(url, report, bearer(OPERATOR))).status).toBe(403);
  expect((await ask(url, report, bearer(CANARY))).status).toBe(200);
  const { body } = await ask(`${control.url}/v1/canaries`, undefined, bearer(VIEWER));
  expect(body.canaries).toEqual([{ ...report, lastReportAgeMs: expect.any(Number) }]);
});

test('where no tokens are set, every canary reports', async () => {
  control = await startOperatedControl();
  expect((await ask(`${control.url}/v1/canary-report`, report)).status).toBe(200);
});

test.each([
  ['a count below 0', { ...report, pushes: -1 }],
  ['an unknown field', { ...report, more: 1 }],
  ['a check with a strange name', { ...report, findings: { 'a b': 1 } }],
  ['a text that is too long', { ...report, lastFinding: 'x'.repeat(301) }],
])('%s is rejected', async (_, body) => {
  control = await startOperatedControl();
  expect((await ask(`${control.url}/v1/canary-report`, body)).status).toBe(400);
});

test('ten canaries are kept, each until it is silent for 15 minutes', () => {
  const canaries = new CanariesApi();
  for (let i = 0; i < 10; i++) expect(canaries.report({ ...report, id: `c${i}` }, 0)).toEqual({});
  expect(canaries.report({ ...report, id: 'c10' }, 1)).toMatchObject({ code: 'OVERLOADED' });
  expect(canaries.report({ ...report, id: 'c0', pushes: 7 }, 1_000)).toEqual({});
  expect(canaries.list(2_000).canaries).toHaveLength(10);
  expect(canaries.list(900_500).canaries).toEqual([
    { ...report, id: 'c0', pushes: 7, lastReportAgeMs: 899_500 },
  ]);
});
