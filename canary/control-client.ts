/** The two requests of the canary to control: who owns what, and what the canary has found. */
import { z } from 'zod';
import type { ShardMap } from './plan.js';

const ANSWER_MS_MAX = 10_000;
const index = z.int().min(-1);

const shardMap = z.object({
  edges: z.array(z.string()),
  owners: z.array(index).min(1),
  masters: z.array(z.string()),
  masterOf: z.array(index),
});

export class ControlClient {
  readonly #headers: Record<string, string>;

  /** @param url of the operator API */
  constructor(
    readonly url: string,
    token: string | undefined,
  ) {
    this.#headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  }

  /** @throws Error if control does not answer, or not with a map */
  async shardMap(): Promise<ShardMap> {
    return shardMap.parse(await this.#call('/v1/shard-map', {}));
  }

  /** @throws Error if control does not accept it */
  async report(report: object): Promise<void> {
    await this.#call('/v1/canary-report', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(report),
    });
  }

  async #call(path: string, request: { method?: string; headers?: object; body?: string }) {
    const response = await fetch(`${this.url}${path}`, {
      ...request,
      headers: { ...this.#headers, ...request.headers },
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    const body = await response.text();
    if (response.status !== 200) {
      throw new Error(`${path}: control answered ${response.status}: ${body.slice(0, 200)}`);
    }
    return JSON.parse(body) as unknown;
  }
}
