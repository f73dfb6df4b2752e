/**
 * HTTP requests of the client: the lookup at the router, and the stream that replaces a WebSocket.
 */
import type { Failure } from './events.js';
import { isText, parseObject } from './messages.js';
import type { ConnectOptions } from './options.js';

const JSON_TYPE = 'application/json';

/** Above the line of the largest payload that a router can be configured to accept, in base64. */
const LINE_CHARACTERS_MAX = 32 * 1024 * 1024;
/** Rejections that are no longer true after a while. All others below 500 stay. */
const TEMPORARY_STATUSES = [408, 425, 429];

/** Thrown for an unsuccessful or invalid response. */
export class ConnectError extends Error {
  constructor(readonly failure: Failure) {
    super();
  }
}

/**
 * Resolves with the URL of `/connect` at the edge that owns the client's shard.
 * @throws ConnectError for a rejection or an invalid response; any error of `fetch`
 */
export async function lookUp(
  { router, clientId, labels }: Pick<ConnectOptions, 'router' | 'clientId' | 'labels'>,
  token: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const query = (labels ? [clientId, labels] : [clientId]).map(encodeURIComponent).join('&labels=');
  const url = `${router.replace(/\/+$/, '')}/connect?clientId=${query}`;
  const response = await get(url, JSON_TYPE, token, signal);
  // An edge or a front proxy streams events for this Accept, too.
  const isEdge = /event-stream/.test(response.headers.get('content-type') ?? '');
  const text = isEdge ? 'an edge' : await response.text();
  const { url: edge } = parseObject(text);
  if (isText(edge) && /^https?:/.test(edge)) return edge;
  throw new ConnectError({
    code: 'NOT_A_ROUTER',
    reason: `${router} is not a router: ${text.slice(0, 200)}`,
    permanence: 'unproven',
  });
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
    const lines = text.split('\n');
    // Only the new text is searched: a long line arrives in many pieces.
    lines[0] = partial + lines[0];
    partial = lines.pop()!;
    if (partial.length > LINE_CHARACTERS_MAX) {
      throw new Error('long line');
    }
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
  throw new ConnectError(await rejectionOf(response, accept));
}

async function rejectionOf(response: Response, accept: string): Promise<Failure> {
  const { status } = response;
  const text = (await response.text()).slice(0, 1_000);
  const { code, message = text } = Object(parseObject(text).error) as Record<string, unknown>;
  const hasCode = isText(code);
  const seconds = Number.parseFloat(response.headers.get('retry-after') ?? '');
  return {
    code: hasCode ? code : `HTTP_${status}`,
    reason: `HTTP ${status}: ${message}`,
    retryAfterMs: seconds >= 0 ? seconds * 1_000 : undefined,
    permanence: permanenceOf(status, hasCode, accept === JSON_TYPE),
  };
}

/** Another server may have the address of a dead edge, or answer for a router that is down. */
function permanenceOf(status: number, hasCode: boolean, isLookUp: boolean): Failure['permanence'] {
  if (status >= 500 || TEMPORARY_STATUSES.includes(status)) return undefined;
  // A token for another clientId is a 403.
  if (status === 401 || status === 403) return 'token';
  if (hasCode) return 'permanent';
  return isLookUp ? 'unproven' : undefined;
}
