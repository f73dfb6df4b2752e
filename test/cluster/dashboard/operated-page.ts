/** A cluster with tokens and devices, and the page of its control in Chromium. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import {
  type Browser,
  type BrowserContext,
  chromium,
  type Locator,
  type Page,
} from 'playwright-core';
import { type Client, type ClientState, connect, type Push } from '../../../client/connect.js';
import { RunningCluster } from '../../support/cluster/running-cluster.js';
import { CHROMIUM_ARGS } from '../../support/devices/chromium.js';
import { CHROMIUM_PATH } from '../../support/devices/system-clients.js';

export const OPERATOR = 'operator-token-0123';
export const VIEWER = 'viewer-token-012345';
export const CANARY = 'canary-token-012345';
/** Generous, because it proves no timing: on a busy machine Chromium draws late. */
export const WAIT_MS = 60_000;
export const TEST_MS = 300_000;

const DEVICES = 12;
const WIDTHS = [390, 1280, 2560];
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export class OperatedPage {
  readonly devices: Client[] = [];
  /** Payloads that devices have received, as `clientId: payload`. */
  readonly received: string[] = [];
  /** Violations of the content security policy, and exceptions. */
  readonly problems: string[] = [];
  page!: Page;

  private constructor(
    readonly running: RunningCluster,
    readonly browser: Browser,
    /** The session of the operator. */
    readonly operator: BrowserContext,
  ) {}

  /** The page asks for a token; devices are connected. */
  static async start(): Promise<OperatedPage> {
    // For helpers of the cluster.
    process.env.LONGLINE_TOKEN = OPERATOR;
    const running = await RunningCluster.start({
      edges: 3,
      controls: 2,
      env: {
        LONGLINE_SHARD_COUNT: '64',
        LONGLINE_CONTROL_OPERATOR_TOKENS: `ada:${OPERATOR}`,
        LONGLINE_CONTROL_VIEWER_TOKENS: `vic:${VIEWER},canary:${CANARY}`,
        LONGLINE_CONTROL_PAYLOAD_READERS: 'ada',
        LONGLINE_EVENTS: 'clients,pushes',
      },
    });
    const browser = await chromium.launch({ executablePath: CHROMIUM_PATH, args: CHROMIUM_ARGS });
    const ui = new OperatedPage(running, browser, await browser.newContext());
    ui.page = await ui.openPage(ui.operator);
    for (let i = 0; i < DEVICES; i++) await ui.addDevice(`device-${i}`);
    return ui;
  }

  async stop(): Promise<void> {
    for (const device of this.devices) device.close();
    await this.browser.close();
    await this.running.stop();
  }

  async openPage(
    context: BrowserContext,
    url = `${this.running.cluster.httpUrl('control')}/`,
  ): Promise<Page> {
    const opened = await context.newPage();
    opened.setDefaultTimeout(WAIT_MS);
    opened.on('pageerror', (error) => this.problems.push(String(error)));
    opened.on('console', (message) => {
      // Chromium also reports every response that is an error, and those are expected.
      const isFault = message.type() === 'error' && !message.text().startsWith('Failed to load');
      if (isFault) this.problems.push(message.text());
    });
    await opened.goto(url);
    return opened;
  }

  async addDevice(clientId: string): Promise<void> {
    const { routerUrl: router } = this.running.cluster;
    await new Promise<void>((resolve) => {
      const onState = ({ type }: ClientState) => type === 'connected' && resolve();
      const onPush = ({ data }: Push) => void this.received.push(`${clientId}: ${data}`);
      this.devices.push(connect({ router, clientId, onPush, onState }));
    });
  }

  async signIn(on: Page, token: string): Promise<void> {
    await on.getByLabel(/Token/).fill(token);
    await on.getByRole('button', { name: 'Sign in' }).click();
  }

  show(view: string): Promise<unknown> {
    return this.page.evaluate(`location.hash = ${JSON.stringify(`#/${view}`)}`);
  }

  untilText(text: string | RegExp): Promise<void> {
    return this.page.getByText(text).first().waitFor();
  }

  badge(text: string) {
    return this.page.locator('main .badge', { hasText: new RegExp(`^${text}$`) }).first();
  }

  /** The clients of the table, in its order. */
  clientIds(): Promise<string[]> {
    return this.page.locator('main tbody .client-id').allTextContents();
  }

  /** Presses a button and confirms its dialog. */
  async act(button: string, reason: string, within = this.page.locator('main')): Promise<void> {
    await within.getByRole('button', { name: button, exact: true }).first().click();
    const dialog = within.locator('dialog[open]');
    await dialog.getByLabel(/Reason/).fill(reason);
    await dialog.getByRole('button', { name: button, exact: true }).click();
    await dialog.waitFor({ state: 'detached' });
  }

  async checkAccess(): Promise<void> {
    await this.page.evaluate(axe);
    const found = await this.page.evaluate<{
      violations: { id: string; nodes: { html: string }[] }[];
    }>('axe.run()');
    const described = found.violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]);
    expect(described).toEqual([]);
  }

  /**
   * Draws the view at all widths in both colours, if SCREENSHOTS is a folder.
   * @param part what must be in sight
   */
  async takePictures(name: string, part?: Locator): Promise<void> {
    const folder = process.env.SCREENSHOTS;
    if (!folder) return;
    const { page } = this;
    for (const width of WIDTHS) {
      for (const colorScheme of ['light', 'dark'] as const) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({
          width,
          height: width === 390 ? 844 : Math.round(width * 0.6),
        });
        await part?.scrollIntoViewIfNeeded();
        await page.waitForTimeout(300);
        await page.screenshot({ path: join(folder, `${name}-${width}-${colorScheme}.png`) });
      }
    }
    await page.emulateMedia({ colorScheme: 'light' });
    await page.setViewportSize({ width: 1280, height: 768 });
  }
}
