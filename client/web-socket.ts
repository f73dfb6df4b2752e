/** A connection over WebSocket: the subprotocol `longline.json`. */
import type { Failure } from './machine.js';

/** A browser's WebSocket, that of Node from 22 on, or that of the package `ws`. */
export interface WebSocketLike {
  onmessage: unknown;
  onclose: unknown;
  onerror: unknown;
  send(text: string): void;
  close(): void;
}

export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

const SUBPROTOCOL = 'longline.json';

/**
 * @param url as the router gives it: `http:` or `https:`
 * @param token shown as a subprotocol, which is in no log, unlike a query
 * @param signal ends the connection, after which nothing is heard of it
 * @param onText hears each frame
 * @param onEnd comes once
 * @returns what sends a frame
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
  // Why a WebSocket fails is not told to a page. What there is to know comes with the close.
  socket.onerror = () => {};
  socket.onclose = ({ code, reason }: { code: number; reason: string }) => {
    if (signal.aborted) return;
    onEnd({ why: `closed with ${code} ${reason}`.trim(), closeCode: code });
  };
  return (text) => socket.send(text);
}
