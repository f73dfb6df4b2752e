/** What is asked over HTTP: where a client belongs, and the stream where there is no WebSocket. */
import type { Failure } from './machine.js';

/** Over what an edge sends for the largest payload that a router can be set to take, as base64. */
const LINE_CHARACTERS_MAX = 32 * 1024 * 1024;

/** Thrown when an answer is not what was asked for. */
export class Unusable extends Error {
  constructor(readonly failure: Failure) {
    super(failure.why);
  }
}

/** Resolves with the URL of `/connect` at the edge that owns the client's shard. */
export async function lookUp(
  router: string,
  clientId: string,
  token: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const url = `${router.replace(/\/+$/, '')}/connect?clientId=${encodeURIComponent(clientId)}`;
  const response = await ask(url, 'application/json', token, signal);
  const { url: edge } = (await response.json()) as { url?: unknown };
  if (typeof edge !== 'string') throw new Unusable({ why: 'the router names no edge' });
  return edge;
}

/**
 * Hands each line of an `application/x-ndjson` answer to `onText`; resolves when it ends.
 * @throws when it breaks, is rejected, or `signal` ends it
 */
export async function readStream(
  url: string,
  token: string | undefined,
  signal: AbortSignal,
  onText: (text: string) => void,
): Promise<void> {
  const response = await ask(url, 'application/x-ndjson', token, signal);
  const reader = response.body!.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const text = decoder.decode(value, { stream: true });
    // Only what is new is searched: a long line comes in many pieces.
    const end = text.lastIndexOf('\n');
    if (end < 0) {
      rest += text;
      if (rest.length > LINE_CHARACTERS_MAX) throw new Unusable({ why: 'a line has no end' });
      continue;
    }
    const lines = (rest + text.slice(0, end)).split('\n');
    rest = text.slice(end + 1);
    for (const line of lines) if (!signal.aborted) onText(line);
  }
}

/** The answer, if it is one of success. */
async function ask(
  url: string,
  accept: string,
  token: string | undefined,
  signal: AbortSignal,
): Promise<Response> {
  const headers: Record<string, string> = { Accept: accept };
  if (token !== undefined) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(url, { headers, signal });
  if (response.ok) return response;
  const why = `HTTP ${response.status}: ${(await response.text()).slice(0, 200)}`;
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  throw new Unusable(seconds >= 0 ? { why, retryAfterMs: seconds * 1_000 } : { why });
}
