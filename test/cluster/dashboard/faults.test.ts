/**
 * Goal: each fault is a clear state of the page, never an empty one, and a viewer steers nothing.
 * Method: as in dashboard.test.ts, with faults of processes, other operators, sessions and proxies.
 */
import type { ChildProcess } from 'node:child_process';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import type { ShardsResponse } from '../../../control/operator/cluster-responses.js';
import { CHROMIUM, NGINX, testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';
import { startNginx } from './nginx.js';
import { CANARY, OPERATOR, OperatedPage, TEST_MS, VIEWER } from './operated-page.js';

const testHere = testWith(CHROMIUM);
let ui: OperatedPage;
let nginx: ChildProcess | undefined;

beforeAll(async () => {
  if (testHere === test.skip) return;
  ui = await OperatedPage.start();
  await ui.signIn(ui.page, OPERATOR);
  await ui.untilText('ada · operator');
}, TEST_MS);

afterAll(async () => {
  nginx?.kill();
  await ui?.stop();
});

testHere(
  'two operators at once: the second one is told',
  async () => {
    await ui.show('edges/edge-3');
    await ui.page.getByRole('button', { name: 'Cordon', exact: true }).click();
    const path = '/v1/edges/edge-3/cordon';
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${OPERATOR}` };
    const other = await fetch(ui.running.cluster.controlUrl + path, {
      method: 'POST',
      headers,
      body: '{}',
    });
    expect(other.status).toBe(200);
    await ui.untilText('The state has changed since this dialog was opened.');
    await ui.page.locator('dialog[open]').getByRole('button', { name: 'Cordon' }).click();
    await ui.untilText(/INTENT_UNCHANGED/);
    await ui.page.locator('dialog[open]').getByRole('button', { name: 'Cancel' }).click();
    await ui.act('Uncordon', 'not now');
  },
  TEST_MS,
);

testHere(
  'controls, routers and the settings that differ are shown',
  async () => {
    await ui.show('overview');
    await ui.page.locator('main li', { hasText: 'leads' }).waitFor();
    await ui.page.locator('main li', { hasText: 'router' }).first().waitFor();
    const settings = { LONGLINE_CONTROL_LEASE_MS: 1 };
    const text = JSON.stringify({ url: '', version: '', node: '', commit: '', settings });
    const redis = new Redis(ui.running.redis.url);
    const key = 'll:controls';
    const differs = ui.page.getByText(
      'other: LONGLINE_CONTROL_LEASE_MS is not as in the other processes',
    );
    const isSilent = ui.page.getByText('other: this control has fallen silent');
    await eventually(async () => {
      // It is listed for a minute, and silent after 15 s.
      await redis.hset(key, 'other', `${Date.now() - 30_000} ${text}`);
      expect([await differs.count(), await isSilent.count()]).toEqual([1, 1]);
    });
    await ui.checkAccess();
    await redis.hdel(key, 'other');
    redis.disconnect();
    await differs.waitFor({ state: 'detached' });
    await isSilent.waitFor({ state: 'detached' });
  },
  TEST_MS,
);

testHere(
  'what a canary finds is an alarm, and has a card on the overview',
  async () => {
    const { controlUrl } = ui.running.cluster;
    const headers = { authorization: `Bearer ${CANARY}`, 'content-type': 'application/json' };
    const report = async (found: object) => {
      const body = JSON.stringify({
        ...{ id: 'canary-1', devices: 9, connected: 9, combinations: 9, pushes: 100 },
        ...{ p50Ms: 3, p99Ms: 20, ...found },
      });
      const url = `${controlUrl}/v1/canary-report`;
      expect((await fetch(url, { method: 'POST', headers, body })).status).toBe(200);
    };
    const lastFinding = 'lost: push 7 to <img src=x>';
    await report({ covered: 8, findings: { lost: 2, false_verdict: 1 }, lastFinding });
    await ui.show('overview');
    await ui.untilText('canary-1: 2 lost, 1 false verdict in the last 15 minutes');
    await ui.untilText('canary-1: no device on 1 combination of edge, Redis master and protocol');
    await ui.untilText(lastFinding);
    await ui.badge('promises broken').waitFor();
    await ui.checkAccess();
    await report({ covered: 9, findings: {}, lastFinding: '' });
    await ui.badge('no promise broken').waitFor();
    await ui.untilText('All is well.');
    const card = ui.page.locator('.card', { hasText: 'Canary canary-1' });
    await ui.takePictures('canary', card);
  },
  TEST_MS,
);

testHere(
  'what is not current is said, and nothing is called well that is not known',
  async () => {
    const message = 'edge edge-2 is unknown';
    const reject = async (path: string) =>
      ui.page.route(path, (route) =>
        route.fulfill({ status: 404, json: { error: { code: 'NOT_FOUND', message } } }),
      );
    await reject('**/v1/edges');
    await ui.untilText('Not known now whether all is well.');
    await ui.untilText(/^Not current: this was so .* ago. edge edge-2 is unknown/);
    await ui.page.unrouteAll({ behavior: 'ignoreErrors' });
    await ui.untilText('All is well.');
    await ui.show('edges/edge-2');
    await ui.untilText('Incarnation');
    await reject('**/v1/edges/edge-2');
    await ui.untilText(/^Not current: this was so .* ago. edge edge-2 is unknown/);
    await ui.checkAccess();
    await ui.page.unrouteAll({ behavior: 'ignoreErrors' });
    await ui.show('shards/64');
    await ui.untilText('There is no shard 64: their numbers are 0 to 63.');
    await ui.show('shards/<b>');
    await ui.untilText('There is no shard <b>: their numbers are 0 to 63.');
  },
  TEST_MS,
);

testHere(
  'a gap in the numbers of durable pushes is an alarm that names the edge, as does its card',
  async () => {
    const headers = { authorization: `Bearer ${OPERATOR}` };
    const answer = await fetch(`${ui.running.cluster.controlUrl}/v1/shards`, { headers });
    const [shard] = ((await answer.json()) as ShardsResponse).shards;
    const { channel, owner } = shard!;
    const redis = new Redis(ui.running.redis.url);
    // As if Redis had stored a push and dropped its message.
    await redis.incr(`${channel}:seq`);
    redis.disconnect();
    await ui.show('overview');
    const text = '1 gap in the numbers of durable pushes in the last 15 minutes';
    await ui.page.getByRole('link', { name: `${owner}: ${text}` }).click();
    await ui.untilText(text);
    expect(new URL(ui.page.url()).hash).toBe(`#/edges/${owner}`);
    await ui.checkAccess();
  },
  TEST_MS,
);

testHere(
  'a viewer sees everything and changes nothing; a session ends on every page',
  async () => {
    const context = await ui.browser.newContext();
    const viewer = await ui.openPage(context, `${ui.running.cluster.httpUrl('control-2')}/`);
    await ui.signIn(viewer, VIEWER);
    await viewer.getByText('vic · viewer').first().waitFor();
    await viewer.evaluate(`location.hash = '#/edges'`);
    const drain = viewer.getByRole('button', { name: 'Drain' }).first();
    await drain.waitFor();
    expect(await drain.isDisabled()).toBe(true);
    await viewer.evaluate(`location.hash = '#/clients'`);
    const disconnect = viewer.getByRole('button', { name: 'Disconnect these' });
    await disconnect.waitFor();
    expect(await disconnect.isDisabled()).toBe(true);
    await viewer.evaluate(`location.hash = '#/edges'`);
    const status = `fetch('v1/pause', { method: 'POST', body: '{}',
    headers: { 'content-type': 'application/json' } }).then(({ status }) => status)`;
    expect(await viewer.evaluate(status)).toBe(403);
    await context.clearCookies();
    await viewer
      .getByText(/Your session has ended/)
      .first()
      .waitFor();
    await ui.signIn(viewer, VIEWER);
    await viewer.getByRole('button', { name: 'Drain' }).first().waitFor();
    await viewer.getByRole('button', { name: 'Sign out' }).click();
    await viewer.getByRole('button', { name: 'Sign in' }).first().waitFor();
    await context.close();
  },
  TEST_MS,
);

(testHere === test.skip ? testHere : testWith(NGINX))(
  'nginx serves it below a path, with the configuration of the documentation',
  async () => {
    const { url, child } = await startNginx(ui.running.cluster.httpUrl('control'));
    nginx = child;
    const context = await ui.browser.newContext();
    const proxied = await ui.openPage(context, `${url}/longline/`);
    await ui.signIn(proxied, OPERATOR);
    await proxied.getByText('Load of edges').first().waitFor();
    // A stream that the proxy must not hold back, and a write that checks the origin.
    await proxied.evaluate(`location.hash = '#/events?type=operator'`);
    await proxied
      .getByText(/“not now”/)
      .first()
      .waitFor();
    await proxied.evaluate(`location.hash = '#/moves'`);
    await ui.act('Pause', 'behind nginx', proxied.locator('main'));
    await ui.act('Resume', '', proxied.locator('main'));
    await context.close();
  },
  TEST_MS,
);

testHere(
  'ten thousand events at once are shown, and the log goes on',
  async () => {
    const event = (id: number) => ({ id, atMs: id, type: 'move-completed', shard: id % 64 });
    const lines = Array.from({ length: 10_000 }, (_, i) => {
      return `id: ${i + 1}\ndata: ${JSON.stringify(event(i + 1))}\n\n`;
    });
    const burst = { contentType: 'text/event-stream', body: `retry: 100\n${lines.join('')}` };
    await ui.show('events');
    await ui.page.getByLabel('Filter by any text').waitFor();
    // Only the first stream of the next page.
    await ui.page.route('**/v1/events?*', (route) => route.fulfill(burst), { times: 1 });
    await ui.page.reload();
    await ui.untilText('10,000 of 10,000, the latest 500 shown');
    // The stream of the control goes on after them.
    await ui.show('events?q=not now');
    await ui.untilText(/“not now”/);
    await ui.page.keyboard.press('1');
    await ui.untilText('Load of edges');
  },
  TEST_MS,
);

testHere(
  'a control of another version is said, and a view that cannot show its answers says so',
  async () => {
    const changed = async (path: string, change: (answer: object) => object) => {
      await ui.page.route(path, async (route) => {
        const response = await route.fetch();
        await route.fulfill({ response, json: change(await response.json()) });
      });
    };
    await changed('**/v1/cluster', (answer) => ({
      ...answer,
      build: { version: '9', commit: '' },
    }));
    await ui.untilText('Control was updated since this page was opened.');
    await changed('**/v1/edges', () => ({ machines: [] }));
    await ui.show('edges');
    await ui.untilText(/This view cannot show what control answers/);
    await ui.checkAccess();
    // Other views do.
    await ui.show('shards');
    await ui.untilText(/^64 shards/);
    await ui.page.unrouteAll({ behavior: 'ignoreErrors' });
    await ui.show('edges');
    await ui.page.getByRole('button', { name: 'Reload' }).first().click();
    await ui.page.getByRole('button', { name: 'Drain' }).first().waitFor();
  },
  TEST_MS,
);

testHere(
  'a Redis that does not answer is said, and that it answers again',
  async () => {
    await ui.show('overview');
    const isDown = ui.page.getByText(/^The Redis master .* does not deliver/);
    void ui.running.redis.kill('SIGSTOP');
    try {
      await isDown.waitFor();
      await ui.show('clients/not-looked-at');
      await ui.untilText(/REDIS_UNAVAILABLE/);
      await ui.checkAccess();
    } finally {
      void ui.running.redis.kill('SIGCONT');
    }
    await ui.untilText('No edge has a connection of it.');
    await ui.show('overview');
    await isDown.waitFor({ state: 'detached' });
    await ui.running.untilReady();
  },
  TEST_MS,
);

testHere(
  'it outlives the leader, and says when control is away',
  async () => {
    const leader = await eventually(async () => {
      const { leader: id } = await ui.running.view();
      expect(id).toBeTruthy();
      return id!;
    });
    const other = leader === 'control' ? 'control-2' : 'control';
    const leads = (control: string) =>
      ui.page.locator('footer b', { hasText: new RegExp(`^${control}$`) }).waitFor();
    await ui.page.goto(`${ui.running.cluster.httpUrl(other)}/`);
    await leads(leader);
    await ui.running.cluster.kill(leader);
    await leads(other);
    await ui.show('events?type=leader-changed');
    const changed = new RegExp(`leader-changed${other}$`);
    await ui.page.locator('main .events li', { hasText: changed }).first().waitFor();
    await ui.running.cluster.kill(other);
    await ui.untilText(/Not current: this was so .*control does not answer/);
    await ui.checkAccess();
  },
  TEST_MS,
);

testHere('nothing breaks the content security policy or throws', () => {
  expect(ui.problems).toEqual([]);
});
