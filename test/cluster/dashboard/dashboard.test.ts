/**
 * Goal: an operator sees the cluster in a browser and steers it; a viewer only sees it.
 * Method: a cluster of processes with tokens, devices on it, and the page in Chromium. Nothing may
 * break the page's content security policy, and axe finds no fault. With SCREENSHOTS=<folder>, every
 * view is also drawn at three widths in both colours.
 */
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { type Client, type ClientState, connect, type Push } from '../../../client/connect.js';
import { WhenSlow } from '../../../proto/gen/longline/v1/push.js';
import { LIVE } from '../../support/cluster/push-client.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { CHROMIUM_ARGS } from '../../support/devices/chromium.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { CHROMIUM, CHROMIUM_PATH, NGINX, testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';
import { startNginx } from './nginx.js';

const OPERATOR = 'operator-token-0123';
const VIEWER = 'viewer-token-012345';
const HOSTILE = `<img src=x onerror="document.title='owned'">&amp;`;
const VIEWS = [
  ...['overview', 'edges', 'edges/edge-2', 'shards', 'moves', 'clients', 'clients/device-2'],
  ...['slow', 'events'],
];
const WIDTHS = [390, 1280, 2560];
/** Generous, because it proves no timing: on a busy machine Chromium draws late. */
const WAIT_MS = 60_000;
const TEST_MS = 300_000;
/** So many clients take longer to disconnect, at one a second, than the page takes to show that. */
const CROWD = 60;
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

const testHere = testWith(CHROMIUM);
let running: RunningCluster;
let browser: Browser;
let operator: BrowserContext;
let page: Page;
let nginx: ChildProcess | undefined;
const devices: Client[] = [];
/** Payloads that devices have received, as `clientId: payload`. */
const received: string[] = [];
const problems: string[] = [];

beforeAll(async () => {
  if (testHere === test.skip) return;
  // For helpers of the cluster.
  process.env.LONGLINE_TOKEN = OPERATOR;
  running = await RunningCluster.start({
    edges: 3,
    controls: 2,
    env: {
      LONGLINE_SHARD_COUNT: '64',
      LONGLINE_CONTROL_OPERATOR_TOKENS: `ada:${OPERATOR}`,
      LONGLINE_CONTROL_VIEWER_TOKENS: `vic:${VIEWER}`,
      LONGLINE_CONTROL_PAYLOAD_READERS: 'ada',
      LONGLINE_EVENTS: 'clients,pushes',
    },
  });
  browser = await chromium.launch({ executablePath: CHROMIUM_PATH, args: CHROMIUM_ARGS });
  operator = await browser.newContext();
  page = await openPage(operator);
  for (let i = 0; i < 12; i++) await addDevice(`device-${i}`);
}, TEST_MS);

afterAll(async () => {
  for (const device of devices) device.close();
  await browser?.close();
  nginx?.kill();
  await running?.stop();
});

async function openPage(
  context: BrowserContext,
  url = `${running.cluster.httpUrl('control')}/`,
): Promise<Page> {
  const opened = await context.newPage();
  opened.setDefaultTimeout(WAIT_MS);
  opened.on('pageerror', (error) => problems.push(String(error)));
  opened.on('console', (message) => {
    // Chromium also reports every response that is an error, and those are expected.
    const isFault = message.type() === 'error' && !message.text().startsWith('Failed to load');
    if (isFault) problems.push(message.text());
  });
  await opened.goto(url);
  return opened;
}

async function addDevice(clientId: string): Promise<void> {
  const isConnected = new Promise<void>((resolve) => {
    const { routerUrl: router } = running.cluster;
    const onState = ({ type }: ClientState) => type === 'connected' && resolve();
    const onPush = ({ data }: Push) => void received.push(`${clientId}: ${data}`);
    devices.push(connect({ router, clientId, onPush, onState }));
  });
  await isConnected;
}

async function signIn(on: Page, token: string): Promise<void> {
  await on.getByLabel(/Token/).fill(token);
  await on.getByRole('button', { name: 'Sign in' }).click();
}

const show = (view: string) => page.evaluate(`location.hash = ${JSON.stringify(`#/${view}`)}`);
const untilText = (text: string | RegExp) => page.getByText(text).first().waitFor();

const badge = (text: string) =>
  page.locator('main .badge', { hasText: new RegExp(`^${text}$`) }).first();
/** The clients of the table, in its order. */
const clientIds = () => page.locator('main tbody .client-id').allTextContents();

/** Presses a button and confirms its dialog. */
async function act(button: string, reason: string, within = page.locator('main')): Promise<void> {
  await within.getByRole('button', { name: button, exact: true }).first().click();
  const dialog = within.locator('dialog[open]');
  await dialog.getByLabel(/Reason/).fill(reason);
  await dialog.getByRole('button', { name: button, exact: true }).click();
  await dialog.waitFor({ state: 'detached' });
}

async function checkAccess(): Promise<void> {
  await page.evaluate(axe);
  const found = await page.evaluate<{ violations: { id: string; nodes: { html: string }[] }[] }>(
    'axe.run()',
  );
  expect(found.violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)])).toEqual([]);
}

testHere(
  'an unknown token is rejected, and an operator’s opens the page',
  async () => {
    await signIn(page, `${OPERATOR}x`);
    await untilText('the token is unknown');
    await checkAccess();
    await signIn(page, OPERATOR);
    await untilText('ada · operator');
    await untilText('All is well.');
    expect(await page.evaluate('document.cookie')).toBe('');
  },
  TEST_MS,
);

testHere.each(VIEWS)(
  'the view %s stays over a reload, for everyone',
  async (view) => {
    await show(view);
    await page.reload();
    await untilText('ada · operator');
    expect(new URL(page.url()).hash).toBe(`#/${view}`);
    const loading = page.locator('main').getByText('Loading');
    await eventually(async () => expect(await loading.count()).toBe(0));
    await checkAccess();
    await takePictures(view.replace('/', '-'));
  },
  TEST_MS,
);

testHere(
  'keys change the view',
  async () => {
    await page.keyboard.press('3');
    await untilText(/^64 shards/);
    await page.getByRole('img').focus();
    await page.keyboard.press('ArrowRight');
    await untilText('ll:');
    await page.keyboard.press('/');
    await page.getByLabel('clientId').waitFor();
  },
  TEST_MS,
);

testHere(
  'a client is found, also one whose id is HTML, and its inbox is shown, and its payload if permitted',
  async () => {
    await show('clients');
    await page.getByLabel('clientId').fill('device-1');
    await page.keyboard.press('Enter');
    await badge('connected').waitFor();
    await untilText(/^edge-\d$/);
    await running.push.push(HOSTILE, 'x', { ttlMs: 3_600_000 });
    await show(`clients/${encodeURIComponent(HOSTILE)}`);
    await untilText('1 push');
    await untilText('1 B');
    await act('Read', 'ticket 7');
    await page.locator('main pre', { hasText: /^x$/ }).waitFor();
    await untilText(HOSTILE);
    await badge('away').waitFor();
    expect(await page.title()).toBe(`${HOSTILE} · Clients · Longline`);
    await show(`clients/${'x'.repeat(300)}`);
    await untilText('CLIENT_ID_INVALID');
  },
  TEST_MS,
);

testHere(
  'clients are found by a filter that stands in the URL, a page at a time',
  async () => {
    await addDevice('bulk/a');
    await addDevice('bulk/b');
    await show('clients');
    await page.getByLabel('User', { exact: true }).fill('bulk');
    await page.getByRole('button', { name: 'Find' }).click();
    await eventually(async () => expect((await clientIds()).sort()).toEqual(['bulk/a', 'bulk/b']));
    const pages = '**/v1/clients?*';
    await page.route(pages, (route) =>
      route.continue({ url: route.request().url().replace('limit=100', 'limit=1') }),
    );
    await page.reload();
    await eventually(async () => expect(await clientIds()).toHaveLength(1));
    const [first] = await clientIds();
    await page.getByRole('link', { name: 'Next page' }).click();
    await eventually(async () => {
      expect([first, ...(await clientIds())].sort()).toEqual(['bulk/a', 'bulk/b']);
    });
    await page.getByRole('link', { name: 'First page' }).click();
    await eventually(async () => expect(await clientIds()).toEqual([first]));
    await page.unroute(pages);
    await show('clients?selector=!(');
    await untilText('SELECTOR_INVALID');
    await checkAccess();
  },
  TEST_MS,
);

testHere(
  'a test message reaches the device, and its verdict is shown',
  async () => {
    await show('clients/bulk%2Fa');
    await untilText(/From the events of the cluster/);
    await badge('connected').waitFor();
    // On a busy machine the edge may not answer in time: then it is said that this is not known.
    await eventually(async () => {
      await act('Push a test message', 'try it');
      await untilText(/^The test message:/);
      expect(await badge('WRITTEN').count()).toBe(1);
    }, WAIT_MS);
    await eventually(() => expect(received).toContain('bulk/a: {"test":true}'));
    await checkAccess();
    await takePictures('client');
  },
  TEST_MS,
);

testHere(
  'one device of a user is disconnected, and the others stay; what happens to it is followed',
  async () => {
    await show('clients/bulk%2Fa');
    await page.getByRole('link', { name: 'bulk/b' }).first().waitFor();
    await act('Disconnect', 'stuck');
    await badge('client.disconnected').first().waitFor();
    await show('events?type=clients-disconnected');
    await untilText('1 client “finished”');
    await show('events?type=operator');
    await untilText(/ada: disconnect bulk\/a .*“stuck”/);
    await untilText(/ada: push bulk\/a 13 bytes: WRITTEN “try it”/);
    await untilText(/ada: read-payload .*“ticket 7”/);
  },
  TEST_MS,
);

testHere(
  'many clients are disconnected at a rate: with a plan, progress and an end',
  async () => {
    const crowd = Array.from({ length: CROWD }, (_, i) => addDevice(`crowd-${i}`));
    await Promise.all(crowd);
    await show('clients');
    // Also the one that was disconnected is back.
    await eventually(async () => expect(await clientIds()).toHaveLength(devices.length));
    await page.getByRole('button', { name: 'Disconnect these' }).click();
    const dialog = page.locator('dialog[open]');
    await dialog.getByText('Disconnect all clients?').first().waitFor();
    await dialog.getByText(`${devices.length}`, { exact: true }).first().waitFor();
    await checkAccess();
    await dialog.getByLabel(/Clients a second/).fill('1');
    await dialog
      .getByText(/^1 min \d+ s$/)
      .first()
      .waitFor();
    await dialog.getByLabel(/Reason/).fill('upgrade');
    await dialog.getByRole('button', { name: 'Disconnect these' }).click();
    await badge('running').waitFor();
    await act('Cancel the disconnect', 'enough');
    await badge('cancelled').waitFor();
    await untilText(/disconnected at 1 a second.*“upgrade”/);
    for (const device of devices.splice(-CROWD)) device.close();
  },
  TEST_MS,
);

testHere(
  'a client that does not read is among the slowest, with the reason, as are its pushes',
  async () => {
    const sleeper = await SseClient.open(running.connectUrl('sleeper'));
    sleeper.response.pause();
    const large = 'x'.repeat(256 * 1_024);
    const drop = { ...LIVE, whenSlow: WhenSlow.WHEN_SLOW_DROP, flightRecord: true };
    const pushLarge = () => running.push.push('sleeper', large, drop);
    await eventually(async () => expect((await pushLarge()).verdict).toBe('DROPPED'));
    for (const by of ['bytes', 'drops']) {
      await show(`slow?by=${by}`);
      await eventually(async () => expect(await clientIds()).toContain('sleeper'));
      await untilText(/does not read what it is sent/);
    }
    const step = page.getByText(/received by the router/).first();
    // A push is shown for a minute, and only if it is among the slowest.
    await eventually(async () => {
      await pushLarge();
      if (!(await step.isVisible()))
        await page.getByText('Steps').first().click({ timeout: 1_000 });
      expect(await step.isVisible()).toBe(true);
    }, WAIT_MS);
    await checkAccess();
    await takePictures('slow-client');
    await page.getByRole('link', { name: 'sleeper' }).first().click();
    await badge('connected').waitFor();
    await act('Disconnect', 'asleep');
    sleeper.response.resume();
    await sleeper.ended;
  },
  TEST_MS,
);

testHere(
  'a drain starts with a click, and its progress is shown',
  async () => {
    await show('edges/edge-1');
    await act('Drain', 'new kernel');
    await untilText(/ left · |edge-1 is empty/);
  },
  TEST_MS,
);

testHere(
  'two operators at once: the second one is told',
  async () => {
    await show('edges/edge-3');
    await page.getByRole('button', { name: 'Cordon', exact: true }).click();
    const path = '/v1/edges/edge-3/cordon';
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${OPERATOR}` };
    const other = await fetch(running.cluster.controlUrl + path, {
      method: 'POST',
      headers,
      body: '{}',
    });
    expect(other.status).toBe(200);
    await untilText('The state has changed since this dialog was opened.');
    await page.locator('dialog[open]').getByRole('button', { name: 'Cordon' }).click();
    await untilText(/INTENT_UNCHANGED/);
    await page.locator('dialog[open]').getByRole('button', { name: 'Cancel' }).click();
    await act('Uncordon', '');
  },
  TEST_MS,
);

testHere(
  'controls, routers and the settings that differ are shown',
  async () => {
    await show('overview');
    await page.locator('main li', { hasText: 'leads' }).waitFor();
    await page.locator('main li', { hasText: 'router' }).first().waitFor();
    const settings = { LONGLINE_CONTROL_LEASE_MS: 1 };
    const text = JSON.stringify({ url: '', version: '', node: '', commit: '', settings });
    const redis = new Redis(running.redis.url);
    const key = 'll:controls';
    const differs = page.getByText(
      'other: LONGLINE_CONTROL_LEASE_MS is not as in the other processes',
    );
    const isSilent = page.getByText('other: this control has fallen silent');
    await eventually(async () => {
      // It is listed for a minute, and silent after 15 s.
      await redis.hset(key, 'other', `${Date.now() - 30_000} ${text}`);
      expect([await differs.count(), await isSilent.count()]).toEqual([1, 1]);
    });
    await checkAccess();
    await redis.hdel(key, 'other');
    redis.disconnect();
    await differs.waitFor({ state: 'detached' });
    await isSilent.waitFor({ state: 'detached' });
  },
  TEST_MS,
);

testHere(
  'a viewer sees everything and changes nothing; a session ends on every page',
  async () => {
    const context = await browser.newContext();
    const viewer = await openPage(context, `${running.cluster.httpUrl('control-2')}/`);
    await signIn(viewer, VIEWER);
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
    await signIn(viewer, VIEWER);
    await viewer.getByRole('button', { name: 'Drain' }).first().waitFor();
    await viewer.getByRole('button', { name: 'Sign out' }).click();
    await viewer.getByRole('button', { name: 'Sign in' }).first().waitFor();
    await context.close();
  },
  TEST_MS,
);

testHere(
  'a drain that has ended says so, and its reason is logged',
  async () => {
    await show('edges/edge-1');
    // Its pace depends on the load of the machine.
    await page
      .getByText(/edge-1 is empty/)
      .first()
      .waitFor({ timeout: TEST_MS });
    expect((await running.edges()).find(({ id }) => id === 'edge-1')!.shardsOwned).toBe(0);
    await show('events?type=operator');
    await untilText(/“new kernel”/);
    await show('edges/edge-1');
    await act('Undrain', '');
    await page.getByRole('button', { name: 'Drain', exact: true }).first().waitFor();
  },
  TEST_MS,
);

testHere(
  'a rebalance is shown before it is carried out, and moves are paused',
  async () => {
    await show('moves');
    await page.getByRole('button', { name: 'Dry run' }).click();
    await untilText(/Nothing to move|Shards to move/);
    await act('Pause', 'lunch');
    await untilText('paused');
    await show('overview');
    await untilText('Moves are paused.');
    await show('moves');
    await act('Resume', '');
    await page.getByRole('button', { name: 'Pause' }).first().waitFor();
  },
  TEST_MS,
);

(testHere === test.skip ? testHere : testWith(NGINX))(
  'nginx serves it below a path, with the configuration of the documentation',
  async () => {
    const { url, child } = await startNginx(running.cluster.httpUrl('control'));
    nginx = child;
    const context = await browser.newContext();
    const proxied = await openPage(context, `${url}/longline/`);
    await signIn(proxied, OPERATOR);
    await proxied.getByText('Load of edges').first().waitFor();
    // A stream that the proxy must not hold back, and a write that checks the origin.
    await proxied.evaluate(`location.hash = '#/events?type=operator'`);
    await proxied
      .getByText(/“asleep”/)
      .first()
      .waitFor();
    await proxied.evaluate(`location.hash = '#/moves'`);
    await act('Pause', 'behind nginx', proxied.locator('main'));
    await act('Resume', '', proxied.locator('main'));
    await context.close();
  },
  TEST_MS,
);

testHere(
  'it outlives the leader, and says when control is away',
  async () => {
    const { leader } = await running.view();
    const other = leader === 'control' ? 'control-2' : 'control';
    const leads = (control: string) =>
      page.locator('footer b', { hasText: new RegExp(`^${control}$`) }).waitFor();
    await page.goto(`${running.cluster.httpUrl(other)}/`);
    await leads(leader!);
    await running.cluster.kill(leader!);
    await leads(other);
    await show('events?type=leader-changed');
    await untilText(new RegExp(`${other}`));
    await running.cluster.kill(other);
    await untilText(/Not current: this was so .*control does not answer/);
    await checkAccess();
  },
  TEST_MS,
);

testHere('nothing breaks the content security policy or throws', () => {
  expect(problems).toEqual([]);
});

/** Draws the view at all widths in both colours, if SCREENSHOTS is a folder. */
async function takePictures(name: string): Promise<void> {
  const folder = process.env.SCREENSHOTS;
  if (!folder) return;
  for (const width of WIDTHS) {
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: width === 390 ? 844 : Math.round(width * 0.6) });
      await page.waitForTimeout(300);
      await page.screenshot({ path: join(folder, `${name}-${width}-${colorScheme}.png`) });
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: 1280, height: 768 });
}
