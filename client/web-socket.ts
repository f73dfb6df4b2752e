/** Connection over WebSocket with the subprotocol `longline.json`. */
import type { Failure } from './events.js';

/** Part of the WebSocket interface that the client uses. */
export interface WebSocketLike {
  onmessage: unknown;
  onclose: unknown;
  onerror: unknown;
  send(text: string): void;
  close(): void;
}

/** WebSocket of a browser, of Node.js from 22 on, or of the package `ws`. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** Close code of a connection that was not closed by a close frame (RFC 6455 §7.1.5). */
const ABNORMAL = 1006;
const SUBPROTOCOL = 'longline.json';

/**
 * Opens a connection to an edge.
 * @param url URL from the router or a goaway: `http:` or `https:`
 * @param token sent as a subprotocol, which access logs do not contain, unlike the query
 * @param signal closes the connection; no callback is called afterwards
 * @param onText called with each message
 * @param onEnd called once when the connection fails or ends
 * @returns function that sends a text message
 */
export function openWebSocket(
  WebSocket: WebSocketConstructor,
  url: string,
  token: string | undefined,
  signal: AbortSignal,
  onText: (text: string) => void,
  onEnd: (failure: Failure) => void,
): (text: string) => void {
  const protocols = token === undefined ? [SUBPROTOCOL] : [SUBPROTOCOL, `longline.token.${token}`];
  const socket = new WebSocket(url.replace(/^http/, 'ws'), protocols);
  signal.addEventListener('abort', () => socket.close());
  socket.onmessage = ({ data }: { data: unknown }) => {
    if (!signal.aborted) onText(String(data));
  };
  // An error event has no details in a browser; the close event that follows has the code.
  socket.onerror = () => {};
  socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
    if (signal.aborted) return;
    onEnd({
      code: code === ABNORMAL ? 'NETWORK' : `CLOSE_${code}`,
      reason: `closed with ${code} ${reason}`,
    });
  };
  return (text) => socket.send(text);
}
