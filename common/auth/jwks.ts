/**
 * Keys from a URL (RFC 7517 §5), fetched at start and then regularly. A key that was removed from
 * the URL is accepted until the next fetch. A token with an unknown `kid` also triggers a fetch; a
 * cooldown keeps clients with invented `kid`s from causing a fetch per connection.
 *
 * While fetches fail, the last keys stay in use for a bounded time; after it there are no keys, and
 * no new device is accepted. Time and size of a response are bounded. Redirects are not followed:
 * only the configured address is trusted.
 */
import type { Counter } from 'prom-client';
import type { Logger } from '../process/log.js';
import { readKeys, type VerificationKey } from './keys.js';

export interface JwksTimes {
  /** Interval of fetches, and so the time that a withdrawn key is still accepted. */
  readonly refreshMs: number;
  /** Minimum time between a fetch and one triggered by a token, and retry interval. */
  readonly cooldownMs: number;
  readonly timeoutMs: number;
  /** Time that the last keys stay in use while fetches fail. */
  readonly keepMs: number;
}

export const JWKS_TIMES = { cooldownMs: 30_000, timeoutMs: 5_000, keepMs: 24 * 60 * 60 * 1_000 };

const BODY_BYTES_MAX = 256 * 1024;

export class Jwks {
  #fetching: Promise<void> | undefined;
  #fetchedAtMs = Number.NEGATIVE_INFINITY;
  #succeededAtMs: number | undefined;
  #problem = '';
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /**
   * @param onKeys receives the new keys; none when the last ones have become too old
   * @param fetches outcomes: `ok`, `failed`
   */
  constructor(
    readonly url: string,
    readonly times: JwksTimes,
    readonly onKeys: (keys: readonly VerificationKey[]) => void,
    readonly fetches: Counter<'outcome'>,
    readonly log: Logger,
  ) {}

  /** Resolves after the first fetch, successful or not. */
  start(): Promise<void> {
    return this.#fetch();
  }

  /** Fetches unless within the cooldown. Resolves when the fetch is done. */
  refetch(): Promise<void> {
    if (this.#fetching !== undefined) return this.#fetching;
    if (performance.now() < this.#fetchedAtMs + this.times.cooldownMs) return Promise.resolve();
    return this.#fetch();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  /** Runs one fetch at a time; concurrent callers share it. */
  #fetch(): Promise<void> {
    this.#fetching ??= this.#fetchOnce().finally(() => {
      this.#fetching = undefined;
      this.#fetchedAtMs = performance.now();
      this.#scheduleNext();
    });
    return this.#fetching;
  }

  #scheduleNext(): void {
    clearTimeout(this.#timer);
    if (this.#isClosed) return;
    const { refreshMs, cooldownMs } = this.times;
    const waitMs = this.#problem === '' ? refreshMs : Math.min(refreshMs, cooldownMs);
    this.#timer = setTimeout(() => void this.#fetch(), waitMs).unref();
  }

  async #fetchOnce(): Promise<void> {
    try {
      const read = await readKeys(await download(this.url, this.times.timeoutMs));
      // A secret that is available from a URL is not secret.
      const keys = read.filter(({ algorithm }) => algorithm !== 'HS256');
      this.#succeededAtMs = performance.now();
      if (this.#problem !== '') this.log.info({ url: this.url }, 'JWKS fetched again');
      this.#problem = '';
      this.fetches.inc({ outcome: 'ok' });
      this.onKeys(keys);
    } catch (error) {
      this.fetches.inc({ outcome: 'failed' });
      this.#onProblem(problemOf(error as Error));
    }
  }

  #onProblem(problem: string): void {
    if (problem !== this.#problem)
      this.log.error({ url: this.url, problem }, 'fetching the JWKS failed');
    this.#problem = problem;
    if (
      this.#succeededAtMs === undefined ||
      performance.now() < this.#succeededAtMs + this.times.keepMs
    )
      return;
    this.#succeededAtMs = undefined;
    this.log.error(
      { url: this.url },
      'the JWKS keys have expired; no token can be verified until a fetch succeeds',
    );
    this.onKeys([]);
  }
}

async function download(url: string, timeoutMs: number): Promise<string> {
  const response = await fetch(url, {
    // With `error`, Node.js 20 forgets the signal at a garbage collection, and waits for ever.
    redirect: 'manual',
    headers: { accept: 'application/jwk-set+json, application/json' },
    signal: AbortSignal.timeout(timeoutMs),
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`expected status 200, got ${response.status}`);
  }
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new Error(`the response is over ${BODY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString();
  // `readKeys` also accepts a PEM or a plain secret, which a JWKS URL must not return.
  if (!text.trimStart().startsWith('{')) throw new Error('the response is not a JSON object');
  return text;
}

function problemOf(error: Error): string {
  const { cause } = error;
  return cause instanceof Error ? `${error.message}: ${cause.message}` : error.message;
}
