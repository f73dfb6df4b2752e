/** Numbers that a member of a cluster tells of itself. */
import type { LocalCluster } from '../../../cli/local/cluster.js';
import { eventually } from '../eventually.js';
import { ask } from '../http.js';

/**
 * The value of a metric; 0 while the labelled child does not exist yet.
 * @param httpUrl of the member
 */
export async function metricOf(
  httpUrl: string,
  metric: string,
  labels: Record<string, string> = {},
): Promise<number> {
  const { body } = await ask(`${httpUrl}/metrics`);
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  for (const line of body.split('\n')) {
    const [, found, labelled = '', value] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (found !== metric) continue;
    if (wanted.every((pair) => labelled.split(',').includes(pair))) return Number(value);
  }
  return 0;
}

/** While a device is told what its inbox holds, a durable push to it is truly STORED. */
export async function untilCaughtUp(cluster: LocalCluster): Promise<void> {
  for (const name of cluster.namesOf('edge')) {
    if (cluster.pid(name) === undefined) continue;
    const catchingUp = () => metricOf(cluster.httpUrl(name), 'longline_edge_catching_up');
    await eventually(async () => (await catchingUp()) === 0);
  }
}
