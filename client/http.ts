/**
 * HTTP requests of the client: the lookup at the router, and the stream that replaces a WebSocket.
 */
import type { Failure } from './machine.js';

/** Above the line of the largest payload that a router can be configured to accept, in base64. */
const LINE_CHARACTERS_MAX = 32 * 1024 * 1024;

/** Thrown for an unsuccessful or invalid response. */
export class ConnectError extends Error {
  constructor(readonly failure: Failure) {
    super(failure.reason);
  }
}

/**
 * Resolves with the URL of `/connect` at the edge that owns the client's shard.
 * @throws ConnectError for a rejection or an invalid response; any error of `fetch`
 */
export async function lookUp(
  router: string,
  clientId: string,
  token: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const url = `${router.replace(/\/+$/, '')}/connect?clientId=${encodeURIComponent(clientId)}`;
  const response = await get(url, 'application/json', token, signal);
  const { url: edge } = (await response.json()) as { url?: unknown };
  if (typeof edge !== 'string') throw new ConnectError({ reason: 'the router returned no url' });
  return edge;
}

/**
 * Reads an `application/x-ndjson` response and calls `onText` with each line. Resolves when the
 * response ends.
 * @throws ConnectError for a rejection or a line that is too long; any error of `fetch`, also when
 *   `signal` aborts it
 */
export async function readStream(
  url: string,
  token: string | undefined,
  signal: AbortSignal,
  onText: (text: string) => void,
): Promise<void> {
  const response = await get(url, 'application/x-ndjson', token, signal);
  const reader = response.body!.getReader();
  const decoder = new TextDecoder();
  let partial = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const text = decoder.decode(value, { stream: true });
    // Only the new text is searched: a long line arrives in many pieces.
    const end = text.lastIndexOf('\n');
    if (end < 0) {
      partial += text;
      if (partial.length > LINE_CHARACTERS_MAX) throw new ConnectError({ reason: 'line too long' });
      continue;
    }
    const lines = (partial + text.slice(0, end)).split('\n');
    partial = text.slice(end + 1);
    for (const line of lines) if (!signal.aborted) onText(line);
  }
}

/** Returns a response with a status of success. */
async function get(
  url: string,
  accept: string,
  token: string | undefined,
  signal: AbortSignal,
): Promise<Response> {
  const headers: Record<string, string> = { Accept: accept };
  if (token !== undefined) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(url, { headers, signal });
  if (response.ok) return response;
  const reason = `HTTP ${response.status}: ${(await response.text()).slice(0, 200)}`;
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  throw new ConnectError(seconds >= 0 ? { reason, retryAfterMs: seconds * 1_000 } : { reason });
}
