import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseLabels } from '../../../common/labels/labels.js';
import { matches, parseSelector, type Selector } from '../../../common/labels/selector.js';
import { Metrics } from '../../../common/process/metrics.js';
import { connectionOf } from '../../../common/transport/transport.js';
import { ConnectionLabels } from '../../../edge/session/connection-labels.js';

async function gauge(metrics: Metrics, name: string): Promise<number> {
  const metric = await metrics.registry.getSingleMetric(name)!.get();
  return metric.values[0]!.value;
}

function open(setsMax = 10, queryNames: string[] = []) {
  const metrics = new Metrics();
  return { metrics, labels: new ConnectionLabels(setsMax, queryNames, metrics) };
}

test('connections with the same labels share a set, which goes with the last of them', async () => {
  const { labels, metrics } = open();
  labels.set(1, 'app=ios', '');
  labels.set(2, 'app=ios', '');
  labels.set(3, '', '');
  expect(await gauge(metrics, 'longline_edge_label_sets')).toBe(1);
  expect(await gauge(metrics, 'longline_edge_connections_labelled')).toBe(2);
  labels.forget(1);
  labels.forget(1);
  expect(labels.textOf(2)).toBe('app=ios');
  labels.forget(2);
  expect(await gauge(metrics, 'longline_edge_label_sets')).toBe(0);
  expect(await gauge(metrics, 'longline_edge_connections_labelled')).toBe(0);
});

test('labels take no memory until a connection has some, and then two bytes by slot', () => {
  const { labels } = open();
  labels.set(1, '', '');
  labels.forget(1);
  expect(labels.claimsOf(1)).toBe('');
  expect(labels.bytes).toBe(0);
  labels.set(connectionOf(9_999, 1), 'app=ios', '');
  expect(labels.bytes).toBe(20_000);
});

test('a label of the token goes before one of the query', () => {
  const { labels } = open();
  labels.set(1, 'app=ios', 'app=web,version=5.2');
  expect(labels.textOf(1)).toBe('app=ios,version=5.2');
  expect([labels.claimsOf(1), labels.queryOf(1)]).toEqual(['app=ios', 'app=web,version=5.2']);
  labels.renew(1, '');
  expect(labels.textOf(1)).toBe('app=web,version=5.2');
});

test('a query sets only the labels that are allowed', () => {
  const { labels } = open(10, ['version', 'app']);
  expect(labels.readQuery(undefined)).toBe('');
  expect(labels.readQuery('version=5.2 app=ios')).toBe('app=ios,version=5.2');
  expect(labels.readQuery('region=eu')).toMatchObject({
    code: 'LABELS_INVALID',
    message: 'the query may not set the label region; see LONGLINE_EDGE_QUERY_LABELS',
  });
  expect(labels.readQuery('app')).toMatchObject({ code: 'LABELS_INVALID' });
});

test('labels beyond the bound are unknown, are never selected, and stay so', async () => {
  const { labels, metrics } = open(2);
  for (const [i, app] of ['ios', 'web', 'tv', 'ios'].entries()) labels.set(i, `app=${app}`, '');
  expect(labels.claimsOf(2)).toBeUndefined();
  for (const selector of ['app', '!app', 'app=tv', 'app!=ios']) {
    const selected = labels.select(selector, [0, 1, 2, 3])!;
    expect(selected.connections).not.toContain(2);
    expect(selected.labelsUnknown).toBe(1);
    expect(selected.connections.length + selected.notSelected).toBe(3);
  }
  expect(await gauge(metrics, 'longline_edge_label_sets_over_limit_total')).toBe(1);
  labels.forget(1);
  labels.renew(2, 'app=tv');
  expect(labels.claimsOf(2)).toBeUndefined();
  labels.forget(2);
  labels.set(2, 'app=tv', '');
  expect(labels.select('app=tv', [0, 1, 2, 3])!.connections).toEqual([2]);
});

test('an invalid selector selects nothing', () => {
  expect(open().labels.select('app in', [1])).toBeUndefined();
});

test('selects by the labels that each connection has now', () => {
  const texts = ['', 'app=ios', 'app=web', 'app=ios,region=eu', 'region=us'];
  const selectors = [
    'app=ios',
    '!app',
    'region in (eu,us)',
    'app!=ios',
    'app',
    'region=eu',
    '!region',
  ];
  const command = fc.oneof(
    fc.record({ slot: fc.nat(7), text: fc.constantFrom(...texts) }),
    fc.record({ selector: fc.constantFrom(...selectors, 'app notin (tv)', 'a', 'b', 'c') }),
  );
  fc.assert(
    fc.property(fc.array(command, { maxLength: 80 }), (commands) => {
      const { labels } = open();
      const model = new Map<number, string>();
      for (const each of commands) {
        if ('slot' in each) {
          labels.forget(each.slot);
          labels.set(each.slot, each.text, '');
          model.set(each.slot, each.text);
          continue;
        }
        const selector = parseSelector(each.selector) as Selector;
        const expected = [...model.keys()].filter((slot) => {
          const parsed = parseLabels(model.get(slot)!);
          return !('code' in parsed) && matches(selector, parsed);
        });
        const { connections, notSelected } = labels.select(each.selector, [...model.keys()])!;
        expect(connections).toEqual(expected);
        expect(notSelected).toBe(model.size - expected.length);
      }
    }),
  );
});
