/**
 * Calls with one request, as long as it has not arrived whole. A client that never sends it would
 * keep the call, and its place on the connection, for as long as the connection lasts. Streams of
 * requests are not meant: a caller may open one long before it has something to send.
 */
import type { ServiceError } from '@grpc/grpc-js';
import { rejection } from '../errors.js';
import { toServiceError } from './calls.js';

export interface AwaitedRequest {
  /** Called when the request has not arrived in time. */
  end(reason: Partial<ServiceError>): void;
}

/** One timer for all calls: nearly every request arrives together with its call. */
const SWEEP_MS = 1_000;

export class AwaitedRequests {
  /** When each call began; oldest first. */
  readonly #calls = new Map<AwaitedRequest, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    readonly msMax: number,
    readonly onTimeout: () => void,
  ) {}

  add(call: AwaitedRequest): void {
    this.#calls.set(call, performance.now());
    this.#timer ??= this.#sweepLater();
  }

  delete(call: AwaitedRequest): void {
    this.#calls.delete(call);
  }

  #sweepLater(): NodeJS.Timeout {
    return setTimeout(() => this.#sweep(), SWEEP_MS).unref();
  }

  #sweep(): void {
    const endMs = performance.now() - this.msMax;
    const message = `the request has not arrived whole within ${this.msMax} ms`;
    for (const [call, beganAtMs] of this.#calls) {
      if (beganAtMs > endMs) break;
      this.#calls.delete(call);
      this.onTimeout();
      call.end(toServiceError(rejection('REQUEST_TIMEOUT', message)));
    }
    this.#timer = this.#calls.size > 0 ? this.#sweepLater() : undefined;
  }
}
