/** All webhooks of a router, from a file that may change. */
import { randomBytes } from 'node:crypto';
import type { Metrics } from '../../../common/process/metrics.js';
import { WatchedFiles } from '../../../common/process/watched-files.js';
import { HttpPoster } from './http-post.js';
import { readWebhooks, type WebhookConfig } from './settings.js';
import { Webhook, type WebhookOptions } from './webhook.js';

export interface WebhooksOptions
  extends Pick<WebhookOptions, 'link' | 'names' | 'keepMs' | 'source' | 'log'> {
  readonly config: WebhookConfig;
  readonly routerId: string;
  readonly metrics: Metrics;
}

export class Webhooks {
  #webhooks: readonly Webhook[] = [];
  readonly #poster: HttpPoster;
  readonly #options: WebhookOptions;
  #file: WatchedFiles | undefined;

  private constructor({ config, routerId, metrics, ...shared }: WebhooksOptions) {
    this.#poster = new HttpPoster(config.networks);
    metrics.gauges(
      'longline_router_webhook_events_pending',
      'Events that wait in this router for a webhook, by webhook',
      'webhook',
      () => this.#webhooks.map(({ endpoint, pending }) => [endpoint.name, pending]),
    );
    const counters = {
      events: metrics.counter(
        'longline_router_webhook_events_total',
        'Events for webhooks by webhook and outcome: accepted, or dead after its retries',
        ['webhook', 'outcome'],
      ),
      failures: metrics.counter(
        'longline_router_webhook_failures_total',
        'Requests to webhooks that were not accepted, by webhook',
        ['webhook'],
      ),
    };
    const consumer = `${routerId}.${randomBytes(6).toString('hex')}`;
    const { retryMs } = config;
    this.#options = { ...shared, retryMs, consumer, poster: this.#poster, counters };
  }

  /** @throws EnvironmentError when the file cannot be read or used */
  static async open(options: WebhooksOptions, path: string): Promise<Webhooks> {
    const webhooks = new Webhooks(options);
    const take = ([text]: readonly Buffer[]) => webhooks.#take(String(text));
    webhooks.#file = await WatchedFiles.open([path], take, options.log);
    return webhooks;
  }

  /** Leaves all groups, so that other routers get the events at once. Never rejects. */
  async close(): Promise<void> {
    this.#file?.close();
    await Promise.all(this.#webhooks.map((webhook) => webhook.close()));
    this.#poster.close();
  }

  #take(text: string): void {
    const endpoints = readWebhooks(text);
    for (const webhook of this.#webhooks) void webhook.close();
    this.#webhooks = endpoints.map((endpoint) => new Webhook(endpoint, this.#options));
  }
}
