/**
 * One caller's stream of pushes, in any encoding. It does not end for one bad push. Results are
 * sent together, once per turn of the event loop.
 */
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { PushRequest, PushResponse } from '../../proto/gen/longline/v1/push.js';
import type { Backend } from './backends.js';
import { type BackendCall, internal, type PushApi } from './operations.js';
import { stopping } from './pusher.js';
import type { StreamBounds } from './stream-bounds.js';

/** Memory of a push in flight besides its payload. */
const PUSH_OVERHEAD_BYTES = 512;

/** An item that cannot be decoded. */
export interface RejectedItem {
  readonly correlationId: string;
  readonly rejected: Rejection;
}

export type StreamItem =
  | { readonly correlationId: string; readonly push?: PushRequest | undefined }
  | RejectedItem;

export interface StreamResult {
  readonly correlationId: string;
  readonly response: PushResponse | Rejection;
}

/** How the stream reads and writes. */
export interface StreamWire {
  readonly call: BackendCall;
  /** Stops reading at its bounds, and so flow control stops the caller. */
  readonly bounds: StreamBounds;
  /** Whether nothing can be sent any more. */
  readonly isEnded: boolean;
  /** Returns false when the caller does not read; `onWritable` is called when it does. */
  send(results: readonly StreamResult[]): boolean;
  /** Reads nothing more. */
  stopReading(): void;
  /** @param reason undefined: the caller has ended its side, and every push is answered */
  end(reason: Rejection | undefined): void;
}

export class PushStream {
  #inFlight = 0;
  #results: StreamResult[] = [];
  #isWritable = true;
  #hasEnded = false;
  /** Reason for which the router has stopped reading. */
  #stopped: Rejection | undefined;
  /** Version of the tokens under which the caller was authorised. */
  #version: number;
  readonly #onStopping = () => this.stop(stopping());

  constructor(
    readonly wire: StreamWire,
    readonly backend: Backend,
    readonly api: PushApi,
  ) {
    this.#version = api.options.backends.version;
    api.options.stopping.addEventListener('abort', this.#onStopping);
  }

  /** The caller has sent items. */
  take(items: readonly StreamItem[]): void {
    if (this.#version !== this.api.options.backends.version && !this.#isStillAuthorized()) return;
    for (const item of items) this.#take(item);
  }

  onWritable(): void {
    this.#isWritable = true;
    this.#flush();
  }

  /** The caller has sent everything. */
  onEnd(): void {
    this.#hasEnded = true;
    this.#endWhenDone();
  }

  /**
   * The stream is over, or the caller has gone: pushes in flight complete, their results are
   * dropped.
   */
  onClose(): void {
    this.api.options.stopping.removeEventListener('abort', this.#onStopping);
  }

  /**
   * The router answers what it has read, and ends the stream; the caller sends the rest on another
   * one. Without this the stream would never end.
   */
  stop(reason: Rejection): void {
    this.#stopped = reason;
    this.wire.stopReading();
    this.#endWhenDone();
  }

  /** Ends the stream if the caller's token was removed. */
  #isStillAuthorized(): boolean {
    if (this.wire.isEnded) return false;
    const backend = this.api.authorize(this.wire.call, 'push');
    if (!('code' in backend)) {
      this.#version = this.api.options.backends.version;
      return true;
    }
    this.wire.end(backend);
    return false;
  }

  #take(item: StreamItem): void {
    const { pusher, log } = this.api.options;
    const { bounds, call } = this.wire;
    const { correlationId } = item;
    this.#inFlight++;
    bounds.hold(1, 0);
    const push = this.#pushOf(item);
    if ('code' in push) return this.#answer(correlationId, pusher.rejected(push));
    const bytes = push.payload.length + PUSH_OVERHEAD_BYTES;
    bounds.hold(0, bytes);
    const answer = (response: PushResponse | Rejection) => {
      bounds.release(0, bytes);
      this.#answer(correlationId, response);
    };
    pusher
      .push(push, call.answerByMs, true, call)
      .then(answer, (error) => answer(internal(log, error)));
  }

  #pushOf(item: StreamItem): PushRequest | Rejection {
    if ('rejected' in item) return item.rejected;
    const { push } = item;
    if (push === undefined) return rejection('REQUEST_MALFORMED', 'the item has no push');
    return this.backend.rejectPushes(1) ?? push;
  }

  #answer(correlationId: string, response: PushResponse | Rejection): void {
    if (this.#results.push({ correlationId, response }) === 1) setImmediate(() => this.#flush());
  }

  #flush(): void {
    if (!this.#isWritable || this.#results.length === 0) return;
    const results = this.#results;
    this.#results = [];
    this.#inFlight -= results.length;
    this.wire.bounds.release(results.length, 0);
    if (this.wire.isEnded) return;
    this.#isWritable = this.wire.send(results);
    this.#endWhenDone();
  }

  #endWhenDone(): void {
    if (this.#inFlight > 0 || this.wire.isEnded) return;
    if (this.#hasEnded) this.wire.end(undefined);
    else if (this.#stopped !== undefined) this.wire.end(this.#stopped);
  }
}

/** Why a stream ends with its connection. */
export function tooOld(): Rejection {
  return rejection('NOT_READY', 'the connection has reached its maximum age; open another stream');
}
