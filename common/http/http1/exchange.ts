/** One request and its response: a text at once, or a stream of parts. */
import type { PeerCertificate } from 'node:tls';
import type { HttpHead } from '../../wire/http-head.js';
import { tokensOf } from '../../wire/http-lists.js';
import { encodeResponse, type TextResponse } from './response.js';

/** The connection of an exchange. */
export interface Carrier {
  readonly certificate: PeerCertificate | undefined;
  readonly isClosed: boolean;
  /** Whether the client reads what it is sent. */
  readonly isWritable: boolean;
  /** Whether all earlier requests are answered. */
  isFirst(exchange: Exchange): boolean;
  write(text: string): void;
  /** No request after this one is read. */
  closeAfter(): void;
  onAnswered(exchange: Exchange): void;
  onResumed(): void;
}

const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';

export class Exchange {
  isBodyRead: boolean;
  isAnswered = false;
  #isStream = false;
  #isPaused = false;
  #response: TextResponse | undefined;
  /** Parts that wait for the responses before them. */
  #text = '';
  /** The response is sent, or the connection has ended. */
  onClose = () => {};
  /** Parts of the response can be sent again. */
  onWritable = () => {};
  /** Called for a stream whose connection has reached its maximum age. */
  onTooOld = () => {};

  /** @param head undefined: it could not be read */
  constructor(
    readonly head: HttpHead | undefined,
    readonly carrier: Carrier,
    hasBody: boolean,
  ) {
    this.isBodyRead = !hasBody;
  }

  /** Whether the client does not use the connection for further requests (RFC 9112 §9.3). */
  get wantsClose(): boolean {
    if (this.head === undefined || this.head.minorVersion === 0) return true;
    const connection = this.head.headers.get('connection');
    return connection !== undefined && tokensOf(connection).includes('close');
  }

  get isStream(): boolean {
    return this.#isStream;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  respond(response: TextResponse): void {
    if (this.isAnswered) return;
    this.#response = response;
    this.#end();
  }

  /** Asks for the body, if the client waits for that (RFC 9110 §10.1.1). */
  continue(): void {
    const expect = this.head?.headers.get('expect');
    // While an earlier response is pending, 100 Continue cannot be sent. The client then sends its
    // body after a short wait.
    if (expect?.toLowerCase() !== '100-continue' || !this.carrier.isFirst(this)) return;
    this.carrier.write(CONTINUE);
  }

  /** @param start head of the response; it must end the connection */
  startStream(start: string): void {
    this.#isStream = true;
    this.carrier.closeAfter();
    this.continue();
    this.write(start);
  }

  /** Returns whether the client reads; `onWritable` is called when it does. */
  write(part: string): boolean {
    const isFirst = this.carrier.isFirst(this);
    if (isFirst) this.carrier.write(part);
    else this.#text += part;
    return isFirst && this.carrier.isWritable;
  }

  endStream(part: string): void {
    this.write(part);
    this.#end();
  }

  /** Reads no more of the body. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.carrier.onResumed();
  }

  // Called by the connection.

  onFirst(): void {
    if (!this.#isStream) return;
    if (this.#text !== '') this.carrier.write(this.#text);
    this.#text = '';
    this.onWritable();
  }

  encode(isClose: boolean): string {
    if (this.#response === undefined) return this.#text;
    return encodeResponse(this.#response, isClose, this.head?.method === 'HEAD');
  }

  #end(): void {
    this.isAnswered = true;
    this.carrier.onAnswered(this);
  }
}
