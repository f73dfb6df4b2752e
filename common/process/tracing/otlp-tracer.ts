/**
 * Spans that are sent to a collector over OTLP, with the SDK of OpenTelemetry.
 *
 * Bound: OTEL_BSP_MAX_QUEUE_SIZE spans wait for the collector; more are dropped and counted. Pushes
 * never wait for it.
 */
import {
  type Context,
  DiagLogLevel,
  defaultTextMapGetter,
  defaultTextMapSetter,
  diag,
  type Span as OtelSpan,
  type Tracer as OtelTracer,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  type TextMapPropagator,
  trace,
} from '@opentelemetry/api';
import {
  type ExportResult,
  ExportResultCode,
  setGlobalErrorHandler,
  W3CTraceContextPropagator,
} from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import { buildInfo } from '../build-info.js';
import { type Logger, LogInterval } from '../log.js';
import { unixMs } from '../time/clock.js';
import type { TracingConfig } from './settings.js';
import type {
  Attributes,
  Span,
  SpanCounts,
  SpanStart,
  TraceContext,
  Tracer,
  TracerOptions,
} from './tracer.js';

const KINDS = {
  server: SpanKind.SERVER,
  producer: SpanKind.PRODUCER,
  consumer: SpanKind.CONSUMER,
} as const;

const propagator: TextMapPropagator = new W3CTraceContextPropagator();

/** A smaller difference between the clocks is due to the resolution of the wall clock. */
const OFFSET_CHANGE_MS = 5;

interface OtlpTracerOptions extends TracerOptions {
  readonly config: TracingConfig;
  readonly counts: SpanCounts;
}

export class OtlpTracer implements Tracer {
  readonly #provider: TracerProvider;
  readonly #tracer: OtelTracer;
  readonly #ratio: number;
  /**
   * Unix time minus the monotonic clock, in ms: one for all spans, so that those of a push fit
   * together.
   */
  #offsetMs = unixMs() - performance.now();

  constructor({ config, service, name, log, counts }: OtlpTracerOptions) {
    logProblems(log);
    const { isParentBased, ratio } = config;
    this.#ratio = ratio;
    const byTrace = new TraceIdRatioBasedSampler(ratio);
    this.#provider = new TracerProvider({
      resource: defaultResource()
        .merge(
          resourceFromAttributes({
            'service.namespace': 'longline',
            'service.name': service,
            'service.instance.id': name,
            'service.version': buildInfo.version,
          }),
        )
        .merge(detectResources({ detectors: [envDetector] })),
      sampler: new ParentBasedSampler({
        root: new AlwaysOnSampler(),
        ...(!isParentBased && { remoteParentSampled: byTrace, remoteParentNotSampled: byTrace }),
      }),
      spanProcessors: [new CountedProcessor(config, counts)],
    });
    this.#tracer = this.#provider.getTracer('longline', buildInfo.version);
  }

  start({ name, kind, parent, startedMs, attributes }: SpanStart): Span | undefined {
    const context = parent === undefined ? ROOT_CONTEXT : contextOf(parent);
    // Decided here, because the SDK takes microseconds for it. A trace that begins has no id that
    // others know.
    if (context === ROOT_CONTEXT && Math.random() >= this.#ratio) return undefined;
    const offsetMs = this.#offset();
    const options = { kind: KINDS[kind], startTime: startedMs + offsetMs, attributes };
    const span = this.#tracer.startSpan(name, options, context);
    return span.isRecording() ? new OtlpSpan(span, offsetMs) : undefined;
  }

  /** The wall clock has whole ms and may be set: it counts only where it differs by more. */
  #offset(): number {
    const offsetMs = unixMs() - performance.now();
    if (Math.abs(offsetMs - this.#offsetMs) > OFFSET_CHANGE_MS) this.#offsetMs = offsetMs;
    return this.#offsetMs;
  }

  async close(): Promise<void> {
    await this.#provider.shutdown().catch(() => {});
  }
}

class OtlpSpan implements Span {
  constructor(
    readonly span: OtelSpan,
    readonly offsetMs: number,
  ) {}

  get context(): TraceContext {
    const context = { traceparent: '', tracestate: '' };
    propagator.inject(trace.setSpan(ROOT_CONTEXT, this.span), context, defaultTextMapSetter);
    return context;
  }

  set(attributes: Attributes): void {
    this.span.setAttributes(attributes);
  }

  end(error?: string): void {
    if (error !== undefined) {
      this.span.setStatus({ code: SpanStatusCode.ERROR });
      this.span.setAttribute('error.type', error);
    }
    this.span.end(performance.now() + this.offsetMs);
  }
}

/** An invalid context begins a new trace, as the specification says. */
function contextOf(parent: TraceContext): Context {
  return propagator.extract(ROOT_CONTEXT, parent, defaultTextMapGetter);
}

/** The processor of the SDK, whose queue would drop spans without counting them. */
class CountedProcessor extends BatchSpanProcessor {
  #waiting = 0;
  readonly #waitingMax: number;

  constructor(
    { batch }: TracingConfig,
    readonly counts: SpanCounts,
  ) {
    const exporter = new OTLPTraceExporter();
    super({
      ...batch,
      exporter: {
        export: (spans, done) => this.#export(exporter, spans, done),
        shutdown: () => exporter.shutdown(),
      },
    });
    this.#waitingMax = batch.maxQueueSize;
  }

  override onEnd(span: ReadableSpan): void {
    if (this.#waiting >= this.#waitingMax) return this.counts.dropped.inc();
    this.#waiting++;
    super.onEnd(span);
  }

  #export(
    exporter: SpanExporter,
    spans: ReadableSpan[],
    done: (result: ExportResult) => void,
  ): void {
    this.#waiting -= spans.length;
    exporter.export(spans, (result) => {
      const isExported = result.code === ExportResultCode.SUCCESS;
      this.counts[isExported ? 'exported' : 'failed'].inc(spans.length);
      done(result);
    });
  }
}

/** Problems of the SDK, such as an unreachable collector, are logged at a limited rate. */
function logProblems(log: Logger): void {
  const interval = new LogInterval();
  const warn = (message: string) => {
    if (interval.isDue(performance.now())) log.warn({ reason: message }, 'spans are not exported');
  };
  const ignore = () => {};
  diag.setLogger(
    { error: warn, warn, info: ignore, debug: ignore, verbose: ignore },
    DiagLogLevel.WARN,
  );
  // The SDK's own handler turns an error into JSON, with its stack.
  setGlobalErrorHandler((error) => warn(typeof error === 'string' ? error : `${error.message}`));
}
