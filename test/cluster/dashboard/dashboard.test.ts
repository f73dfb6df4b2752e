/**
 * Goal: an operator sees the cluster in a browser, finds a client, and steers moves. Method: a
 * cluster of processes with tokens, devices on it, and the page in Chromium. Nothing may break the
 * page's content security policy, and axe finds no fault. With SCREENSHOTS=<folder>, every view is
 * also drawn at three widths in both colours.
 */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { EdgesResponse } from '../../../control/operator/cluster-responses.js';
import { WhenSlow } from '../../../proto/gen/longline/v1/push.js';
import { LIVE } from '../../support/cluster/push-client.js';
import { SseClient } from '../../support/devices/sse-client.js';
import { CHROMIUM, testWith } from '../../support/devices/system-clients.js';
import { eventually } from '../../support/eventually.js';
import { OPERATOR, OperatedPage, TEST_MS, WAIT_MS } from './operated-page.js';

const HOSTILE = `<img src=x onerror="document.title='owned'">&amp;`;
const VIEWS = [
  ...['overview', 'edges', 'edges/edge-2', 'shards', 'moves', 'clients', 'clients/device-2'],
  ...['slow', 'events'],
];
/** So many clients take longer to disconnect, at one a second, than the page takes to show that. */
const CROWD = 60;

const testHere = testWith(CHROMIUM);
let ui: OperatedPage;

beforeAll(async () => {
  if (testHere !== test.skip) ui = await OperatedPage.start();
}, TEST_MS);

afterAll(() => ui?.stop());

testHere(
  'an unknown token is rejected, and an operator’s opens the page',
  async () => {
    await ui.signIn(ui.page, `${OPERATOR}x`);
    await ui.untilText('the token is unknown');
    await ui.checkAccess();
    await ui.signIn(ui.page, OPERATOR);
    await ui.untilText('ada · operator');
    await ui.untilText('All is well.');
    expect(await ui.page.evaluate('document.cookie')).toBe('');
  },
  TEST_MS,
);

testHere.each(VIEWS)(
  'the view %s stays over a reload, for everyone',
  async (view) => {
    await ui.show(view);
    await ui.page.reload();
    await ui.untilText('ada · operator');
    expect(new URL(ui.page.url()).hash).toBe(`#/${view}`);
    const loading = ui.page.locator('main').getByText('Loading');
    await eventually(async () => expect(await loading.count()).toBe(0));
    await ui.checkAccess();
    await ui.takePictures(view.replace('/', '-'));
  },
  TEST_MS,
);

testHere(
  'of many edges, those that are out of sight are drawn when they come near',
  async () => {
    let polls = 0;
    await ui.page.route('**/v1/edges', async (route) => {
      const response = await route.fetch();
      const [edge] = ((await response.json()) as EdgesResponse).edges;
      polls++;
      const edges = Array.from({ length: 200 }, (_, i) => {
        return { ...edge!, id: `many-${i}`, guests: polls };
      });
      await route.fulfill({ response, json: { edges } });
    });
    await ui.show('edges');
    const cardOf = (id: string) =>
      ui.page.locator('.lazy', { has: ui.page.getByRole('link', { name: id, exact: true }) });
    const isDrawn = (id: string) => cardOf(id).getByRole('button', { name: 'Drain' }).waitFor();
    await isDrawn('many-0');
    const [first, last] = [cardOf('many-0'), cardOf('many-199')];
    expect(await last.getByRole('button').count()).toBe(0);
    await last.scrollIntoViewIfNeeded();
    await isDrawn('many-199');
    // It is kept up to date, and the first one is not.
    const [firstText, lastText] = [await first.textContent(), await last.textContent()];
    await eventually(async () => expect(await last.textContent()).not.toBe(lastText));
    expect(await first.textContent()).toBe(firstText);
    await first.scrollIntoViewIfNeeded();
    await eventually(async () => expect(await first.textContent()).not.toBe(firstText));
    await ui.checkAccess();
    await ui.page.unroute('**/v1/edges');
  },
  TEST_MS,
);

testHere(
  'keys change the view, and the map says what the pointer is on',
  async () => {
    await ui.page.keyboard.press('3');
    await ui.untilText(/^64 shards/);
    await ui.page.getByRole('img').focus();
    await ui.page.keyboard.press('ArrowRight');
    await ui.untilText('ll:');
    await ui.untilText(/^\d+ of incarnation \d+$/);
    await ui.page.getByRole('img').hover({ position: { x: 3, y: 3 } });
    const shard = ui.page.locator('dl div', { hasText: /^Shard0$/ });
    await shard.waitFor();
    await ui.page.mouse.move(0, 0);
    await shard.waitFor({ state: 'detached' });
    // A tap, without a hover.
    const { x, y } = (await ui.page.getByRole('img').boundingBox())!;
    await ui.page.getByRole('img').dispatchEvent('click', { clientX: x + 3, clientY: y + 3 });
    await shard.waitFor();
    expect(new URL(ui.page.url()).hash).toBe('#/shards/0');
    await ui.page.keyboard.press('/');
    await ui.page.getByLabel('clientId').waitFor();
  },
  TEST_MS,
);

testHere(
  'a client is found, also one whose id is HTML, and its inbox is shown, and its payload if permitted',
  async () => {
    await ui.show('clients');
    await ui.page.getByLabel('clientId').fill('device-1');
    await ui.page.keyboard.press('Enter');
    await ui.badge('connected').waitFor();
    await ui.untilText(/^edge-\d$/);
    await ui.running.push.push(HOSTILE, 'x', { ttlMs: 3_600_000 });
    await ui.show(`clients/${encodeURIComponent(HOSTILE)}`);
    await ui.untilText('1 push');
    await ui.untilText('1 B');
    await ui.act('Read', 'ticket 7');
    await ui.page.locator('main pre', { hasText: /^x$/ }).waitFor();
    await ui.untilText(HOSTILE);
    await ui.badge('away').waitFor();
    expect(await ui.page.title()).toBe(`${HOSTILE} · Clients · Longline`);
    await ui.show(`clients/${'x'.repeat(300)}`);
    await ui.untilText('CLIENT_ID_INVALID');
  },
  TEST_MS,
);

testHere(
  'clients are found by a filter that stands in the URL, a ui.page at a time',
  async () => {
    await ui.addDevice('bulk/a');
    await ui.addDevice('bulk/b');
    await ui.show('clients');
    await ui.page.getByLabel('User', { exact: true }).fill('bulk');
    await ui.page.getByRole('button', { name: 'Find' }).click();
    await eventually(async () =>
      expect((await ui.clientIds()).sort()).toEqual(['bulk/a', 'bulk/b']),
    );
    const pages = '**/v1/clients?*';
    await ui.page.route(pages, (route) =>
      route.continue({ url: route.request().url().replace('limit=100', 'limit=1') }),
    );
    await ui.page.reload();
    await eventually(async () => expect(await ui.clientIds()).toHaveLength(1));
    const [first] = await ui.clientIds();
    await ui.page.getByRole('link', { name: 'Next page' }).click();
    await eventually(async () => {
      expect([first, ...(await ui.clientIds())].sort()).toEqual(['bulk/a', 'bulk/b']);
    });
    await ui.page.getByRole('link', { name: 'First page' }).click();
    await eventually(async () => expect(await ui.clientIds()).toEqual([first]));
    await ui.page.unroute(pages);
    await ui.show('clients?selector=!(');
    await ui.untilText('SELECTOR_INVALID');
    await ui.checkAccess();
  },
  TEST_MS,
);

testHere(
  'a test message reaches the device, and its verdict is shown',
  async () => {
    await ui.running.push.push('bulk/a', 'hello', { flightRecord: true });
    await ui.show('clients/bulk%2Fa');
    await ui.page
      .locator('main tr', { hasText: /(WRITTEN|STORED).*accepted.*router/ })
      .first()
      .waitFor();
    await ui.page.locator('main tr.more').first().getByText('Steps').click();
    await ui.untilText(/received by the router/);
    await ui.untilText(/From the events of the cluster/);
    await ui.badge('connected').waitFor();
    // On a busy machine the edge may not answer in time: then the page says that this is not
    // known.
    await eventually(async () => {
      await ui.act('Push a test message', 'try it');
      await ui.untilText(/^The test message:/);
      const said = ui.page.getByText(/^The test message:/).first();
      expect(await said.textContent()).toContain('WRITTEN');
    }, WAIT_MS);
    await eventually(() => expect(ui.received).toContain('bulk/a: {"test":true}'));
    await ui.checkAccess();
    await ui.takePictures('client');
  },
  TEST_MS,
);

testHere(
  'one device of a user is disconnected, and the others stay; what happens to it is followed',
  async () => {
    await ui.show('clients/bulk%2Fa');
    await ui.page.getByRole('link', { name: 'bulk/b' }).first().waitFor();
    await ui.act('Disconnect', 'stuck');
    await ui.badge('client.disconnected').first().waitFor();
    await ui.show('events?type=clients-disconnected');
    await ui.untilText('1 client “finished”');
    await ui.show('events?type=operator');
    await ui.untilText(/ada: disconnect bulk\/a .*“stuck”/);
    await ui.untilText(/ada: push bulk\/a 13 bytes: WRITTEN “try it”/);
    await ui.untilText(/ada: read-payload .*“ticket 7”/);
  },
  TEST_MS,
);

testHere(
  'many clients are disconnected at a rate: with a plan, progress and an end',
  async () => {
    const crowd = Array.from({ length: CROWD }, (_, i) => ui.addDevice(`crowd-${i}`));
    await Promise.all(crowd);
    await ui.show('clients');
    // Also the one that was disconnected is back.
    await eventually(async () => expect(await ui.clientIds()).toHaveLength(ui.devices.length));
    await ui.page.getByRole('button', { name: 'Disconnect these' }).click();
    const dialog = ui.page.locator('dialog[open]');
    await dialog.getByText('Disconnect all clients?').first().waitFor();
    await dialog.getByText(`${ui.devices.length}`, { exact: true }).first().waitFor();
    await ui.checkAccess();
    await dialog.getByLabel(/Clients a second/).fill('1');
    await dialog
      .getByText(/^1 min \d+ s$/)
      .first()
      .waitFor();
    await dialog.getByLabel(/Reason/).fill('upgrade');
    await dialog.getByRole('button', { name: 'Disconnect these' }).click();
    await ui.badge('running').waitFor();
    await ui.act('Cancel the disconnect', 'enough');
    await ui.badge('cancelled').waitFor();
    await ui.untilText(/disconnected at 1 a second.*“upgrade”/);
    for (const device of ui.devices.splice(-CROWD)) device.close();
  },
  TEST_MS,
);

testHere(
  'a client that does not read is among the slowest, with the reason, as are its pushes',
  async () => {
    const sleeper = await SseClient.open(ui.running.connectUrl('sleeper'));
    sleeper.response.pause();
    const large = 'x'.repeat(256 * 1_024);
    const drop = { ...LIVE, whenSlow: WhenSlow.WHEN_SLOW_DROP, flightRecord: true };
    const pushLarge = () => ui.running.push.push('sleeper', large, drop);
    await eventually(async () => expect((await pushLarge()).verdict).toBe('DROPPED'));
    for (const by of ['bytes', 'drops']) {
      await ui.show(`slow?by=${by}`);
      await eventually(async () => expect(await ui.clientIds()).toContain('sleeper'));
      await ui.untilText(/does not read what it is sent/);
    }
    const step = ui.page.getByText(/received by the router/).first();
    // A push is shown for a minute, and only if it is among the slowest.
    await eventually(async () => {
      await pushLarge();
      if (!(await step.isVisible()))
        await ui.page.getByText('Steps').first().click({ timeout: 1_000 });
      expect(await step.isVisible()).toBe(true);
    }, WAIT_MS);
    await ui.checkAccess();
    await ui.takePictures('slow-client');
    await ui.page.getByRole('link', { name: 'sleeper' }).first().click();
    await ui.badge('connected').waitFor();
    await ui.act('Disconnect', 'asleep');
    sleeper.response.resume();
    await sleeper.ended;
  },
  TEST_MS,
);

testHere(
  'a drain starts with a click, and its progress is shown, also after the session has ended',
  async () => {
    await ui.show('edges/edge-1');
    await ui.act('Drain', 'new kernel');
    const progress = / left · |edge-1 is empty/;
    await ui.untilText(progress);
    await ui.operator.clearCookies();
    await ui.untilText(/Your session has ended/);
    await ui.signIn(ui.page, OPERATOR);
    await ui.untilText(progress);
    expect(new URL(ui.page.url()).hash).toBe('#/edges/edge-1');
  },
  TEST_MS,
);

testHere(
  'a drain that has ended says so, and its reason is logged',
  async () => {
    await ui.show('edges/edge-1');
    // Its pace depends on the load of the machine.
    await ui.page
      .getByText(/edge-1 is empty/)
      .first()
      .waitFor({ timeout: TEST_MS });
    expect((await ui.running.edges()).find(({ id }) => id === 'edge-1')!.shardsOwned).toBe(0);
    await ui.show('events?type=operator');
    await ui.untilText(/“new kernel”/);
    await ui.show('edges/edge-1');
    await ui.act('Undrain', '');
    await ui.page.getByRole('button', { name: 'Drain', exact: true }).first().waitFor();
  },
  TEST_MS,
);

testHere(
  'a rebalance is shown before it is carried out, and moves are paused',
  async () => {
    await ui.show('moves');
    await ui.page.getByRole('button', { name: 'Dry run' }).click();
    await ui.untilText(/Nothing to move|Shards to move/);
    await ui.act('Pause', 'lunch');
    await ui.untilText('paused');
    await ui.show('overview');
    await ui.untilText('Moves are paused.');
    await ui.show('moves');
    await ui.act('Resume', '');
    await ui.page.getByRole('button', { name: 'Pause' }).first().waitFor();
  },
  TEST_MS,
);

testHere('nothing breaks the content security policy or throws', () => {
  expect(ui.problems).toEqual([]);
});
