/** `longline explain`: clientId -> shard -> tag -> owner -> where it is really connected. */
import { controlApi } from './control-api.js';
import type { ControlOptions } from './status.js';
import { table } from './table.js';

/** @throws Failure when control refuses or cannot be reached */
export async function explain(clientId: string, options: ControlOptions): Promise<void> {
  const client = await controlApi(options.control).client(clientId);
  if (options.json) {
    console.log(JSON.stringify(client));
    return;
  }
  const { shard, tag, owner, ownerUrl, connections, complete } = client;
  const steps: [string, string][] = [
    ['client', client.clientId],
    ['shard', `${shard}`],
    ['channel', `ll:{${tag}}`],
    ['owner', owner ? `${owner}  ${ownerUrl}` : 'nobody at the moment'],
  ];
  for (const { edgeId, protocol, remoteAddress, connectedAtMs, guest } of connections) {
    const since = new Date(connectedAtMs).toISOString();
    steps.push([
      'connected',
      `${edgeId}${guest ? ' as a guest' : ''} over ${protocol} from ${remoteAddress} since ${since}`,
    ]);
  }
  if (connections.length === 0) {
    steps.push(['connected', complete ? 'nowhere' : 'nowhere that answered']);
  }
  if (!complete) steps.push(['', 'not every edge that could hold it answered in time']);
  const [first, ...rest] = steps;
  console.log(table(first!, rest));
}
