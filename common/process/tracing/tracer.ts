/** Spans of pushes, as the roles use them. */
import type { Counter } from 'prom-client';
import type { Logger } from '../log.js';

/** The headers of W3C Trace Context. Empty: none. */
export interface TraceContext {
  readonly traceparent: string;
  readonly tracestate: string;
}

/**
 * Returns the context of a request; undefined: it has none.
 * @param header returns the values of a header, joined by commas; empty: it is absent
 */
export function traceContextOf(header: (name: string) => string): TraceContext | undefined {
  const traceparent = header('traceparent');
  return traceparent === '' ? undefined : { traceparent, tracestate: header('tracestate') };
}

export type Attributes = Readonly<Record<string, string | number>>;

/** A span that is sampled. */
export interface Span {
  /** Context for the processes that continue the trace. */
  readonly context: TraceContext;
  set(attributes: Attributes): void;
  /** @param error a code, if what the span stands for has failed */
  end(error?: string): void;
}

export interface SpanStart {
  readonly name: string;
  readonly kind: 'server' | 'producer' | 'consumer';
  /** Context of the span that it is a part of; undefined: it begins a trace. */
  readonly parent: TraceContext | undefined;
  /** In ms of the monotonic clock. */
  readonly startedMs: number;
  readonly attributes: Attributes;
}

export interface Tracer {
  /** Undefined: not sampled. */
  start(span: SpanStart): Span | undefined;
  /** Sends the spans that wait. Never rejects. */
  close(): Promise<void>;
}

/** Spans by what became of them; those that wait are in none. */
export type SpanCounts = Readonly<Record<'exported' | 'failed' | 'dropped', Counter.Internal>>;

export interface TracerOptions {
  /** Name of the service, such as `longline-edge`. */
  readonly service: string;
  /** Name of the process. */
  readonly name: string;
  readonly log: Logger;
}
