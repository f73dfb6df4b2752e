/** `longline explain`: clientId → shard → channel → owner → actual connections, and why. */
import { type ClientView, controlApi } from '../control/api.js';
import type { ControlOptions } from './status.js';
import { table } from './table.js';

/** @throws Failure when control rejects or cannot be reached */
export async function explain(clientId: string, options: ControlOptions): Promise<void> {
  const client = await controlApi(options.control, options.token).client(clientId);
  if (options.json) {
    console.log(JSON.stringify(client));
    return;
  }
  const { shard, tag, owner, ownerUrl, move, connections, complete } = client;
  const lines: [string, string][] = [
    ['client', client.clientId],
    ['shard', `${shard}`],
    ['channel', `ll:{${tag}}`],
    ['owner', owner ? `${owner}  ${ownerUrl}` : 'none now'],
  ];
  if (move) lines.push(['moving', `from ${move.from} to ${move.to}: ${PHASES[move.phase]}`]);
  for (const { edgeId, protocol, remoteAddress, connectedAtMs, guest } of connections) {
    const since = new Date(connectedAtMs).toISOString();
    lines.push([
      'connected',
      `${edgeId}${guest ? ' as a guest' : ''} over ${protocol} from ${remoteAddress} since ${since}`,
    ]);
    if (guest) lines.push(['', guestReason(edgeId, client)]);
  }
  if (connections.length === 0) {
    lines.push(['connected', complete ? 'to no edge' : 'to no edge that answered']);
  }
  if (!complete) lines.push(['', 'an edge that could have a connection did not answer in time']);
  const [first, ...rest] = lines;
  console.log(table(first!, rest));
}

const PHASES = {
  acquiring: 'acquiring, the new edge subscribes to the shard',
  'handing-over': 'handing over, the old edge sends its clients to the new one',
};

function guestReason(edgeId: string, { move, owner }: ClientView): string {
  if (owner === null) return 'a guest because its shard has no owner';
  if (move?.from === edgeId) {
    return `a guest because its shard moved to ${move.to}: ${edgeId} will send it there`;
  }
  if (move?.to === edgeId) return `a guest until ${edgeId} owns its shard, which is moving there`;
  return `a guest because ${owner} owns its shard: it connected before that or reached no other edge`;
}
