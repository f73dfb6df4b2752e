/**
 * The JSON envelope in which an edge and a device talk: one text frame of the WebSocket subprotocol
 * `longline.json`, or one line of an `application/x-ndjson` stream. Pure.
 *
 * What is not understood is no message: an edge may be newer than this client.
 */
export interface Push {
  /** Grows from push to push. Absent: the push is live only, and cannot come again. */
  readonly id?: string;
  /** Text, or bytes when the payload is not UTF-8. */
  readonly data: string | Uint8Array;
  readonly contentType?: string;
}

/** What an edge says. */
export type ServerMessage =
  /** Comes first: the connection is good, and nothing that is pushed from here on can miss it. */
  | { readonly type: 'welcome'; readonly heartbeatMs: number; readonly ticket?: string }
  | { readonly type: 'push'; readonly push: Push }
  /** Something since the id that was named is gone. All that is still stored follows. */
  | { readonly type: 'reset' }
  /** Connect again after `retryMs`: at `url`, or where the router says. */
  | { readonly type: 'goaway'; readonly retryMs: number; readonly url?: string }
  | { readonly type: 'session-replaced' }
  /** Shown instead of a token at the next connect. */
  | { readonly type: 'ticket'; readonly ticket: string }
  /** The token that this connection was let in with is about to end. */
  | { readonly type: 'expiring' }
  /** A heartbeat, an answer to a ping, or something that only a later client understands. */
  | { readonly type: 'other' };

/** What a device says, over a WebSocket. */
export type DeviceMessage =
  /** Confirms everything up to `id`. */
  | { readonly type: 'ack'; readonly id: string }
  | { readonly type: 'ping' }
  | { readonly type: 'token'; readonly token: string };

const OTHER: ServerMessage = { type: 'other' };

/** @param text one frame or line */
export function parseMessage(text: string): ServerMessage {
  let said: Record<string, unknown>;
  try {
    said = Object(JSON.parse(text));
  } catch {
    return OTHER;
  }
  const { type, ticket } = said;
  switch (type) {
    case 'welcome': {
      const heartbeatMs = positive(said.heartbeatMs);
      if (heartbeatMs === undefined) return OTHER;
      return isText(ticket) ? { type, heartbeatMs, ticket } : { type, heartbeatMs };
    }
    case 'push': {
      const push = parsePush(said);
      return push === undefined ? OTHER : { type, push };
    }
    case 'goaway': {
      const retryMs = positive(said.retryMs) ?? 0;
      return isText(said.url) ? { type, retryMs, url: said.url } : { type, retryMs };
    }
    case 'ticket':
      return isText(ticket) ? { type, ticket } : OTHER;
    case 'reset':
    case 'session-replaced':
    case 'expiring':
      return { type };
    default:
      return OTHER;
  }
}

function parsePush({ id, data, base64, contentType }: Record<string, unknown>): Push | undefined {
  const payload = isText(data) ? data : isText(base64) ? bytesOf(base64) : undefined;
  if (payload === undefined) return undefined;
  return {
    ...(isText(id) && { id }),
    data: payload,
    ...(isText(contentType) && { contentType }),
  };
}

function bytesOf(base64: string): Uint8Array | undefined {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return undefined;
  }
}

/**
 * Ids are `<Unix ms>-<n>`, both without leading zeros and up to 20 digits, which no number holds.
 * @returns whether `id` is newer than `than`; anything is newer than nothing
 */
export function isNewer(id: string, than: string): boolean {
  const [ms = '', n = ''] = id.split('-');
  const [thanMs = '', thanN = ''] = than.split('-');
  return (compareDigits(ms, thanMs) || compareDigits(n, thanN)) > 0;
}

function compareDigits(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function positive(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}
