/** Metrics of a role, by series: a name, and labels as Prometheus' text format writes them. */
export type ReadMetric = (series: string) => number;

/**
 * @param httpUrl address of the role's `/metrics`
 * @returns a function that throws when there is no such series
 */
export async function readMetrics(httpUrl: string): Promise<ReadMetric> {
  const lines = (await (await fetch(`${httpUrl}/metrics`)).text()).split('\n');
  return (series) => {
    const line = lines.find((each) => each.startsWith(`${series} `));
    if (line === undefined) throw new Error(`${httpUrl}/metrics has no ${series}`);
    return Number(line.slice(series.length));
  };
}
