/** Metrics of the processes of a cluster. */
import type { LocalCluster } from '../../../cli/local/cluster.js';
import { eventually } from '../eventually.js';
import { httpRequest } from '../http.js';

/**
 * The value of a metric; 0 while there is no sample with these labels yet.
 * @param httpUrl HTTP URL of the process
 */
export async function metricOf(
  httpUrl: string,
  metric: string,
  labels: Record<string, string> = {},
): Promise<number> {
  const { body } = await httpRequest(`${httpUrl}/metrics`);
  const wanted = Object.entries(labels).map(([label, value]) => `${label}="${value}"`);
  for (const line of body.split('\n')) {
    const [, found, labelled = '', value] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (found !== metric) continue;
    if (wanted.every((pair) => labelled.split(',').includes(pair))) return Number(value);
  }
  return 0;
}

/** Waits until no edge is catching up: until then, a durable push gets the verdict STORED. */
export async function untilCaughtUp(cluster: LocalCluster): Promise<void> {
  for (const name of cluster.namesOf('edge')) {
    if (cluster.pid(name) === undefined) continue;
    const catchingUp = () => metricOf(cluster.httpUrl(name), 'longline_edge_catching_up');
    await eventually(async () => (await catchingUp()) === 0);
  }
}
