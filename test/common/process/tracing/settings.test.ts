import { execFileSync } from 'node:child_process';
import { expect, test } from '@jest/globals';
import { packageRoot } from '../../../../common/process/package-root.js';
import { tracingConfig } from '../../../../common/process/tracing/settings.js';
import { traceContextOf } from '../../../../common/process/tracing/tracer.js';

function parse(env: Record<string, string>, tracing: 'none' | 'otlp' = 'otlp') {
  const problems: string[] = [];
  const config = tracingConfig({ LONGLINE_TRACING: tracing }, env, problems);
  return { config, problems };
}

test('without LONGLINE_TRACING, the standard variables mean nothing', () => {
  const env = { OTEL_TRACES_SAMPLER: 'nonsense', OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' };
  expect(parse(env, 'none')).toEqual({ config: undefined, problems: [] });
});

test('the defaults are those of OpenTelemetry, also for empty variables', () => {
  expect(parse({ OTEL_TRACES_SAMPLER: '', OTHER: 'x' })).toEqual({
    problems: [],
    config: {
      isParentBased: true,
      ratio: 1,
      batch: {
        scheduledDelayMillis: 5_000,
        exportTimeoutMillis: 30_000,
        maxQueueSize: 2_048,
        maxExportBatchSize: 512,
      },
    },
  });
});

test.each([
  ['always_on', false, 1],
  ['always_off', false, 0],
  ['traceidratio', false, 0.25],
  ['parentbased_always_on', true, 1],
  ['parentbased_always_off', true, 0],
  ['parentbased_traceidratio', true, 0.25],
])('the sampler %s', (OTEL_TRACES_SAMPLER, isParentBased, ratio) => {
  const { config } = parse({ OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG: '0.25' });
  expect(config).toMatchObject({ isParentBased, ratio });
});

test.each([
  ['OTEL_TRACES_SAMPLER', 'jaeger_remote'],
  ['OTEL_TRACES_SAMPLER_ARG', '1.5'],
  ['OTEL_EXPORTER_OTLP_ENDPOINT', 'collector:4318'],
  ['OTEL_EXPORTER_OTLP_TRACES_ENDPOINT', 'ftp://collector'],
  ['OTEL_EXPORTER_OTLP_PROTOCOL', 'grpc'],
  ['OTEL_BSP_MAX_QUEUE_SIZE', '0'],
])('%s=%s is a problem', (name, value) => {
  const { config, problems } = parse({ [name]: value });
  expect(config).toBeUndefined();
  expect(problems).toEqual([expect.stringMatching(new RegExp(`^${name}: `))]);
});

test('a context has a traceparent, and the tracestate that comes with it', () => {
  const headers: Record<string, string> = { traceparent: 'a', tracestate: 'b' };
  expect(traceContextOf((name) => headers[name] ?? '')).toEqual(headers);
  expect(traceContextOf((name) => (name === 'tracestate' ? 'b' : ''))).toBeUndefined();
});

test('the packages of OpenTelemetry are loaded by one module, which is loaded on demand', () => {
  const git = (pattern: string) =>
    execFileSync(
      'git',
      ['grep', '--untracked', '-lE', pattern, '--', 'common', 'edge', 'router', 'control', 'cli'],
      { cwd: packageRoot, encoding: 'utf8' },
    )
      .trim()
      .split('\n');
  expect(git("from '@opentelemetry/")).toEqual(['common/process/tracing/otlp-tracer.ts']);
  expect(git('/otlp-tracer[.]js')).toEqual(['common/process/tracing/open-tracer.ts']);
  expect(git("await import\\('./otlp-tracer[.]js'\\)")).toEqual([
    'common/process/tracing/open-tracer.ts',
  ]);
});
