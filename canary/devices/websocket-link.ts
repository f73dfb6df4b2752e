/**
 * A connection over WebSocket with the subprotocol `longline.json`, by a client that is not ours.
 */
import WebSocket from 'ws';
import { LookedUpLink } from './looked-up-link.js';

interface Message {
  readonly type: string;
  readonly id?: string;
  readonly data?: string;
  readonly url?: string;
  readonly retryMs?: number;
}

export class WebSocketLink extends LookedUpLink {
  #socket: WebSocket | undefined;

  protected connect(edge: URL): void {
    const { cursor } = this.target;
    const url = new URL(edge.href.replace(/^http/, 'ws'));
    if (cursor !== '') url.searchParams.set('lastEventId', cursor);
    const socket = new WebSocket(url, ['longline.json']);
    this.#socket = socket;
    let reason = 'ended by the edge';
    socket.on('message', (data: Buffer) => this.#receive(edge, data.toString()));
    socket.on('ping', () => this.onActive());
    socket.on('error', (error) => {
      reason = error.message;
    });
    socket.on('close', (code) => this.onClosed(`${reason} (${code})`));
  }

  protected endSocket(how: 'reset' | 'fin'): void {
    if (how === 'fin') this.#socket?.close();
    else this.#socket?.terminate();
  }

  #receive(edge: URL, text: string): void {
    this.onActive();
    const message = parse(text);
    if (message === undefined) {
      // Passed on as it is: the checker reports a payload that it cannot read.
      if (this.isOpen) this.handler.onEvent({ name: 'message', messageId: '', text });
      return;
    }
    const { type, id = '', data = '' } = message;
    if (type === 'welcome') return this.onOpen(edge);
    if (!this.isOpen) return;
    if (type === 'push') {
      this.handler.onEvent({ name: 'message', messageId: id, text: data });
      if (id !== '') this.#socket?.send(JSON.stringify({ type: 'ack', id }));
    } else if (type === 'reset') {
      this.handler.onEvent({ name: 'reset', messageId: id, text: '' });
    } else if (type === 'goaway') {
      const { url, retryMs } = message;
      this.handler.onEvent({
        name: 'goaway',
        messageId: '',
        text: JSON.stringify({ url }),
        retryMs,
      });
    }
  }
}

function parse(text: string): Message | undefined {
  try {
    return JSON.parse(text) as Message;
  } catch {
    return undefined;
  }
}
