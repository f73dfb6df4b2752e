/**
 * JSON messages between edge and device: one per text frame of the WebSocket subprotocol
 * `longline.json`, or one per line of an `application/x-ndjson` stream.
 *
 * Unknown messages are ignored, because an edge may be newer than this client.
 */

/** A push, as `onPush` receives it. */
export interface Push {
  /** Id, `<Unix milliseconds>-<n>`, increasing from push to push; absent for a live-only push. */
  readonly id?: string;
  /** Payload: a string if it is UTF-8, otherwise bytes. */
  readonly data: string | Uint8Array;
  /** Content type that the backend set, if any. */
  readonly contentType?: string;
  /** Where `data` belongs, if it is the next part of a growing message. */
  readonly appended?: Appended;
}

export interface Appended {
  /** Key of the message. */
  readonly to: string;
  /**
   * Bytes of the message before this part. More than the application has: the beginning is
   * confirmed already, or lost. 0: the message begins.
   */
  readonly offset: number;
  /** Whether the message ends with this part. */
  readonly isEnd: boolean;
}

/** Messages from an edge. */
export type ServerMessage =
  /** First message: the client is connected and receives every push from here on. */
  | { readonly type: 'welcome'; readonly heartbeatMs: number; readonly ticket?: string | undefined }
  | { readonly type: 'push'; readonly push: Push }
  /** Pushes since the `lastEventId` were lost. All pushes still stored follow. */
  | { readonly type: 'reset' }
  /** Last message: connect after `retryMs`, to `url` or, without it, through the router. */
  | { readonly type: 'goaway'; readonly retryMs: number; readonly url?: string | undefined }
  /** Last message: the clientId has a newer connection. */
  | { readonly type: 'session-replaced' }
  /** Resume ticket, which replaces the token at the next connect. */
  | { readonly type: 'ticket'; readonly ticket: string }
  /** The token of this connection is about to expire. */
  | { readonly type: 'expiring' }
  /** A heartbeat, a pong, or a message that this client does not know. */
  | { readonly type: 'other' };

/** Messages from a device, over a WebSocket only. */
export type DeviceMessage =
  /** Confirms all pushes up to `id`. */
  | { readonly type: 'ack'; readonly id: string }
  | { readonly type: 'ping' }
  | { readonly type: 'token'; readonly token: string };

const OTHER: ServerMessage = { type: 'other' };

/** @param text one text frame or line */
export function parseMessage(text: string): ServerMessage {
  const members = parseObject(text);
  const { type, ticket } = members;
  switch (type) {
    case 'welcome': {
      const heartbeatMs = positive(members.heartbeatMs);
      if (heartbeatMs === undefined) return OTHER;
      return { type, heartbeatMs, ticket: textOf(ticket) };
    }
    case 'push': {
      const push = parsePush(members);
      return push === undefined ? OTHER : { type, push };
    }
    case 'goaway': {
      const retryMs = positive(members.retryMs) ?? 0;
      return { type, retryMs, url: textOf(members.url) };
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

/** Returns the members of a JSON object; none of any other text. */
export function parseObject(text: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

function parsePush(members: Record<string, unknown>): Push | undefined {
  const { id, data, base64, contentType, appendTo, offset, end } = members;
  const payload = isText(data) ? data : isText(base64) ? bytesOf(base64) : undefined;
  if (payload === undefined) return undefined;
  return {
    ...(isText(id) && { id }),
    data: payload,
    ...(isText(contentType) && { contentType }),
    ...(isText(appendTo) && {
      appended: { to: appendTo, offset: Number(offset), isEnd: !!end },
    }),
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
 * Compares ids. Both parts of an id are decimal without leading zeros and up to 20 digits, more
 * than a number can represent.
 * @returns whether `id` is newer than `than`; any id is newer than ''
 */
export function isNewer(id: string, than: string): boolean {
  return sortable(id) > sortable(than);
}

function sortable(id: string): string {
  return id
    .split('-')
    .map((part) => part.padStart(20, '0'))
    .join();
}

export function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function textOf(value: unknown): string | undefined {
  return isText(value) ? value : undefined;
}

function positive(value: unknown): number | undefined {
  return typeof value === 'number' && value > 0 ? value : undefined;
}
