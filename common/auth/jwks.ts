/**
 * Keys from a URL (RFC 7517 §5): fetched at the start and then regularly; a key that is not there any
 * more stops to count with the next fetch. A token that names an unknown key asks for a fetch, too,
 * and a cooldown keeps strangers who invent names from making us fetch all the time.
 *
 * While the URL does not answer, the last good keys stay, but not for ever: then none are in force
 * and nobody is let in. What comes is bounded in time and size, and a redirect is not followed: the
 * address that was configured is the one that is trusted.
 */
import type { Counter } from 'prom-client';
import type { Logger } from '../process/log.js';
import { readKeys, type VerificationKey } from './keys.js';

export interface JwksTimes {
  /** How often the keys are fetched: how long a key that was withdrawn still counts. */
  readonly refreshMs: number;
  /** Between two fetches, whoever asks for them. */
  readonly cooldownMs: number;
  readonly timeoutMs: number;
  /** How long the last good keys count while there are no newer ones. */
  readonly keepMs: number;
}

export const JWKS_TIMES = { cooldownMs: 30_000, timeoutMs: 5_000, keepMs: 24 * 60 * 60 * 1_000 };

const BODY_BYTES_MAX = 256 * 1024;

export class Jwks {
  #fetching: Promise<void> | undefined;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  #hadAtMs: number | undefined;
  #problem = '';
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /**
   * @param take takes over the keys; none when there is nothing that may count any more
   * @param fetches counts by outcome: `ok`, `failed`
   */
  constructor(
    readonly url: string,
    readonly times: JwksTimes,
    readonly take: (keys: readonly VerificationKey[]) => void,
    readonly fetches: Counter<'outcome'>,
    readonly log: Logger,
  ) {}

  /** Resolves after the first fetch, whatever came of it. */
  start(): Promise<void> {
    return this.#fetch();
  }

  /** Fetches, unless that was just done; resolves when it is done. */
  lookAgain(): Promise<void> {
    if (this.#fetching !== undefined) return this.#fetching;
    if (performance.now() < this.#triedAtMs + this.times.cooldownMs) return Promise.resolve();
    return this.#fetch();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  /** One at a time; whoever asks meanwhile waits for the same one. */
  #fetch(): Promise<void> {
    this.#fetching ??= this.#fetchOnce().finally(() => {
      this.#fetching = undefined;
      this.#triedAtMs = performance.now();
      this.#planNext();
    });
    return this.#fetching;
  }

  #planNext(): void {
    clearTimeout(this.#timer);
    if (this.#isClosed) return;
    const { refreshMs, cooldownMs } = this.times;
    const waitMs = this.#problem === '' ? refreshMs : Math.min(refreshMs, cooldownMs);
    this.#timer = setTimeout(() => void this.#fetch(), waitMs).unref();
  }

  async #fetchOnce(): Promise<void> {
    try {
      const read = await readKeys(await download(this.url, this.times.timeoutMs));
      // A secret that a URL hands out is none.
      const keys = read.filter(({ algorithm }) => algorithm !== 'HS256');
      this.#hadAtMs = performance.now();
      if (this.#problem !== '') this.log.info({ url: this.url }, 'the JWKS is there again');
      this.#problem = '';
      this.fetches.inc({ outcome: 'ok' });
      this.take(keys);
    } catch (error) {
      this.fetches.inc({ outcome: 'failed' });
      this.#onProblem(problemOf(error as Error));
    }
  }

  #onProblem(problem: string): void {
    if (problem !== this.#problem) this.log.error({ url: this.url, problem }, 'no JWKS comes');
    this.#problem = problem;
    if (this.#hadAtMs === undefined || performance.now() < this.#hadAtMs + this.times.keepMs)
      return;
    this.#hadAtMs = undefined;
    this.log.error({ url: this.url }, 'the keys of the JWKS are too old, none are in force');
    this.take([]);
  }
}

async function download(url: string, timeoutMs: number): Promise<string> {
  const response = await fetch(url, {
    redirect: 'error',
    headers: { accept: 'application/jwk-set+json, application/json' },
    signal: AbortSignal.timeout(timeoutMs),
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`expected status 200, not ${response.status}`);
  }
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new Error(`a JWKS has at most ${BODY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  const text = Buffer.concat(chunks).toString();
  // A secret or a PEM is no answer to this question.
  if (!text.trimStart().startsWith('{')) throw new Error('the answer is no JSON object');
  return text;
}

function problemOf(error: Error): string {
  const { cause } = error;
  return cause instanceof Error ? `${error.message}: ${cause.message}` : error.message;
}
