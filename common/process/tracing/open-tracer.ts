/**
 * Opens the tracer of a role. The packages of OpenTelemetry are loaded only where tracing is on:
 * without it, they cost neither memory nor time.
 */
import type { Logger } from '../log.js';
import type { Metrics } from '../metrics.js';
import type { TracingConfig } from './settings.js';
import type { Tracer } from './tracer.js';

export interface OpenTracerOptions {
  readonly role: 'router' | 'edge';
  /** Name of the process. */
  readonly name: string;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** @param config undefined: there is no tracing */
export async function openTracer(
  config: TracingConfig | undefined,
  { role, name, log, metrics }: OpenTracerOptions,
): Promise<Tracer | undefined> {
  if (config === undefined) return undefined;
  const spans = metrics.counter(
    `longline_${role}_spans_total`,
    'Spans by outcome: exported, failed because the collector did not take them, or dropped because ' +
      'too many were waiting for it',
    ['outcome'],
  );
  const counts = {
    exported: spans.labels('exported'),
    failed: spans.labels('failed'),
    dropped: spans.labels('dropped'),
  };
  const { OtlpTracer } = await import('./otlp-tracer.js');
  return new OtlpTracer({ service: `longline-${role}`, name, log, config, counts });
}
