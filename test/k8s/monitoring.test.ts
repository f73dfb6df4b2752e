/** Alerts and dashboard query metrics that exist, and runbook links lead to sections that exist. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { packageRoot } from '../../common/process/package-root.js';
import { ALARM_NAMES } from '../../control/dashboard/alarms.js';
import { CHART, find, helmTest, render } from './helm.js';

const TRIAL = ['--set', 'auth.mode=none', '--set', 'redis.bundled.enabled=true'];
const read = (path: string) => readFileSync(join(packageRoot, path), 'utf8');
const alerts = readFileSync(join(CHART, 'files/alerts.yaml'), 'utf8');
const dashboard = readFileSync(join(CHART, 'files/dashboard.json'), 'utf8');

function unknownMetrics(text: string): string[] {
  const metrics = read('docs/reference/metrics.md');
  const queried = [...new Set(text.match(/\blongline_\w+/g))];
  expect(queried.length).toBeGreaterThan(15);
  return queried.filter((name) => !metrics.includes(`| \`${name.replace(/_bucket$/, '')}\` |`));
}

function rules(...sets: readonly string[]): string {
  const given = ['monitoring.prometheusRule.enabled=true', ...sets];
  const rendered = render([...TRIAL, ...given.flatMap((set) => ['--set', set])]);
  return find(rendered, 'PrometheusRule', 'longline-alerts');
}

test('the dashboard queries only existing metrics', () => {
  expect(unknownMetrics(dashboard)).toEqual([]);
});

test('the dashboard shows metrics without a namespace label', () => {
  const { templating, panels } = JSON.parse(dashboard);
  const variable = templating.list.find(({ name }: { name: string }) => name === 'namespace');
  expect(variable).toMatchObject({ includeAll: true, allValue: '.*' });
  const queries: string[] = panels.flatMap(({ targets }: { targets: { expr: string }[] }) =>
    targets.map(({ expr }) => expr),
  );
  expect(queries.length).toBeGreaterThan(15);
  for (const query of queries) {
    // A regular expression that matches the empty text matches a label that does not exist.
    expect(query).toMatch(/namespace=~"\$namespace"/);
    expect(query.replaceAll('namespace=~"$namespace"', '')).not.toMatch(/namespace/);
  }
});

test('the dashboards have the names of the tiles of control’s page', () => {
  const tiles = read('control/dashboard/views/overview.tsx').matchAll(/<Tile\s+title="([^"]+)"/g);
  const names = [...tiles].map(([, title]) => title!);
  const titles = JSON.parse(dashboard).panels.map(({ title }: { title: string }) => title);
  expect(names.length).toBeGreaterThan(4);
  expect(names.filter((name) => !titles.includes(name))).toEqual([]);
});

describe('alerts', () => {
  test('exist for each alarm of control’s page', () => {
    const names = [...alerts.matchAll(/- alert: (\w+)$/gm)].map(([, name]) => name!);
    expect(ALARM_NAMES.filter((name) => !names.includes(name))).toEqual([]);
  });

  test('query only existing metrics', () => {
    expect(unknownMetrics(alerts)).toEqual([]);
  });

  test('query only existing error codes and verdicts', () => {
    const codes = [...alerts.matchAll(/code="(\w+)"/g)].map(([, code]) => code!);
    const verdicts = alerts.match(/VERDICT_\w+/g)!;
    for (const code of codes) expect(read('docs/reference/errors.md')).toContain(code);
    for (const name of verdicts) expect(read('proto/longline/v1/push.proto')).toContain(name);
  });

  test('link to sections of docs/operations.md', () => {
    const headings = [...read('docs/operations.md').matchAll(/^#+ (.*)$/gm)];
    const anchors = headings.map(([, heading]) =>
      heading!
        .toLowerCase()
        .replace(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    );
    const links = [...alerts.matchAll(/runbook_url: "\{RUNBOOKS\}#(.*)"$/gm)];
    expect(links).toHaveLength(alerts.match(/- alert: /g)!.length);
    expect(links.map(([, anchor]) => anchor!).filter((each) => !anchors.includes(each))).toEqual(
      [],
    );
  });

  helmTest('have a severity, an explanation and the given labels, matchers and base URL', () => {
    const text = rules(
      'monitoring.prometheusRule.runbookBaseUrl=https://docs.example/ops',
      'monitoring.prometheusRule.alertLabels.team=push',
      'monitoring.prometheusRule.disabled={LonglineNoLeader}',
    );
    const count = alerts.match(/- alert: /g)!.length - 1;
    for (const part of [/summary: /g, /description: /g, /severity: /g, /team: push/g]) {
      expect(text.match(part)).toHaveLength(count);
    }
    expect(text.match(/runbook_url: https:\/\/docs.example\/ops#/g)).toHaveLength(count);
    expect(text).not.toMatch(/LonglineNoLeader|\{MATCHERS\}|\{RUNBOOKS\}/);
    expect(text).toMatch(/longline_control_frozen\{namespace="push"\}/);
    // Prometheus expands these.
    expect(text).toMatch(/\{\{ \$value \}\} shards have no owner/);
  });

  helmTest('match every metric without matchers', () => {
    expect(rules('monitoring.prometheusRule.matchers=')).toMatch(/longline_control_frozen\{\}/);
  });
});

describe.each(['serviceMonitor', 'podMonitor'])('monitoring.%s', (which) => {
  helmTest('scrapes a port of each role, with relabelings and labels', () => {
    const kind = which === 'podMonitor' ? 'PodMonitor' : 'ServiceMonitor';
    const path = `monitoring.${which}`;
    const sets = [
      `${path}.enabled=true`,
      `${path}.labels.release=prometheus`,
      `${path}.relabelings[0].action=labeldrop`,
      `${path}.metricRelabelings[0].action=drop`,
    ];
    const rendered = render([...TRIAL, ...sets.flatMap((set) => ['--set', set])]);
    for (const role of ['edge', 'router', 'control']) {
      const text = find(rendered, kind, `longline-${role}`);
      expect(text).toMatch(/^ {4}release: prometheus$/m);
      expect(text).toMatch(/ relabelings:\n +- action: labeldrop/);
      expect(text).toMatch(/ metricRelabelings:\n +- action: drop/);
      const [, port] = /- port: (\w+)/.exec(text)!;
      const isPod = kind === 'PodMonitor';
      const workload = find(
        rendered,
        role === 'edge' ? 'StatefulSet' : 'Deployment',
        `longline-${role}`,
      );
      expect(isPod ? workload : find(rendered, 'Service', `longline-${role}`)).toMatch(
        new RegExp(`- name: ${port}\n`),
      );
    }
  });
});
