/**
 * Settings of tracing: one of our own turns it on, then the standard variables of OpenTelemetry
 * apply.
 */
import { z } from 'zod';
import { type Env, integer, share } from '../config.js';

export const tracingSettings = {
  LONGLINE_TRACING: z
    .enum(['none', 'otlp'])
    .default('none')
    .describe(
      '`otlp`: spans of pushes are sent to a collector of OpenTelemetry, which is named by the ' +
        'standard variables (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER`, …). `none`: ' +
        'these variables are ignored, and nothing is loaded for it.',
    ),
};

const endpoint = z.url({ protocol: /^https?$/, error: 'expected an http or https URL' }).optional();
const protocol = z.enum(['http/protobuf'], { error: 'only http/protobuf is supported' }).optional();

/** The standard variables that are read here; the exporter reads the others that start alike. */
const standard = z.object({
  OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: endpoint,
  OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
  OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: protocol,
  OTEL_TRACES_SAMPLER: z
    .enum([
      'always_on',
      'always_off',
      'traceidratio',
      'parentbased_always_on',
      'parentbased_always_off',
      'parentbased_traceidratio',
    ])
    .default('parentbased_always_on'),
  OTEL_TRACES_SAMPLER_ARG: share.default(1),
  OTEL_BSP_SCHEDULE_DELAY: integer(1, 600_000).default(5_000),
  OTEL_BSP_EXPORT_TIMEOUT: integer(1, 600_000).default(30_000),
  OTEL_BSP_MAX_QUEUE_SIZE: integer(1, 1_000_000).default(2_048),
  OTEL_BSP_MAX_EXPORT_BATCH_SIZE: integer(1, 1_000_000).default(512),
});

export interface TracingConfig {
  /** Whether the decision of the caller counts before the ratio. */
  readonly isParentBased: boolean;
  /** Share of the other pushes that are sampled. */
  readonly ratio: number;
  readonly batch: {
    readonly scheduledDelayMillis: number;
    readonly exportTimeoutMillis: number;
    readonly maxQueueSize: number;
    readonly maxExportBatchSize: number;
  };
}

/** @returns undefined: there is no tracing */
export function tracingConfig(
  { LONGLINE_TRACING }: z.infer<z.ZodObject<typeof tracingSettings>>,
  env: Env,
  problems: string[],
): TracingConfig | undefined {
  if (LONGLINE_TRACING === 'none') return undefined;
  // An empty variable counts as unset, as everywhere.
  const present = Object.entries(env).filter(([, value]) => value !== '');
  const { data, error } = standard.safeParse(Object.fromEntries(present));
  for (const { path, message } of error?.issues ?? [])
    problems.push(`${String(path[0])}: ${message}`);
  if (data === undefined) return undefined;
  const sampler = data.OTEL_TRACES_SAMPLER;
  const fixed = sampler.endsWith('always_on') ? 1 : 0;
  return {
    isParentBased: sampler.startsWith('parentbased_'),
    ratio: sampler.endsWith('traceidratio') ? data.OTEL_TRACES_SAMPLER_ARG : fixed,
    batch: {
      scheduledDelayMillis: data.OTEL_BSP_SCHEDULE_DELAY,
      exportTimeoutMillis: data.OTEL_BSP_EXPORT_TIMEOUT,
      maxQueueSize: data.OTEL_BSP_MAX_QUEUE_SIZE,
      maxExportBatchSize: Math.min(
        data.OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
        data.OTEL_BSP_MAX_QUEUE_SIZE,
      ),
    },
  };
}
