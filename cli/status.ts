/** `longline status`: the edges and the cluster as control sees them. */
import { controlApi } from './control-api.js';
import { table } from './table.js';

export interface ControlOptions {
  /** URL of control's HTTP API. */
  readonly control: string;
  readonly json?: boolean;
}

/** What control does not know at the moment. */
const UNKNOWN = '?';

/** @throws Failure when control refuses or cannot be reached */
export async function status(options: ControlOptions): Promise<void> {
  const api = controlApi(options.control);
  const [cluster, edges] = await Promise.all([api.cluster(), api.edges()]);
  if (options.json) {
    console.log(JSON.stringify({ cluster, edges }));
    return;
  }
  const head = ['edge', 'state', 'ready', 'shards', 'subscribed', 'connections', 'guests', 'url'];
  const rows = edges.map((edge) => [
    edge.id,
    edge.state,
    edge.ready === null ? UNKNOWN : edge.ready ? 'yes' : 'no',
    edge.shardsOwned,
    edge.shardsSubscribed ?? UNKNOWN,
    edge.connections ?? UNKNOWN,
    edge.guests ?? UNKNOWN,
    edge.advertisedUrl,
  ]);
  console.log(table(head, rows));
  const { position } = cluster;
  console.log(
    [
      `edges alive ${cluster.edgesAlive}`,
      `shards ${cluster.shardCount}, unowned ${cluster.shardsUnowned}`,
      `largest share ${cluster.shardsMaxOverMean.toFixed(3)} of the mean`,
      `connections ${cluster.connections}, guests ${cluster.guests}`,
      `assignment ${position.incarnation}.${position.epoch}`,
    ].join(' · '),
  );
}
