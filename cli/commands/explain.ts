/** `longline explain`: clientId -> shard -> tag -> owner -> where it is really connected, and why. */
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
  const steps: [string, string][] = [
    ['client', client.clientId],
    ['shard', `${shard}`],
    ['channel', `ll:{${tag}}`],
    ['owner', owner ? `${owner}  ${ownerUrl}` : 'nobody at the moment'],
  ];
  if (move) steps.push(['moving', `from ${move.from} to ${move.to}: ${PHASES[move.phase]}`]);
  for (const { edgeId, protocol, remoteAddress, connectedAtMs, guest } of connections) {
    const since = new Date(connectedAtMs).toISOString();
    steps.push([
      'connected',
      `${edgeId}${guest ? ' as a guest' : ''} over ${protocol} from ${remoteAddress} since ${since}`,
    ]);
    if (guest) steps.push(['', whyGuest(edgeId, client)]);
  }
  if (connections.length === 0) {
    steps.push(['connected', complete ? 'nowhere' : 'nowhere that answered']);
  }
  if (!complete) steps.push(['', 'not every edge that could hold it answered in time']);
  const [first, ...rest] = steps;
  console.log(table(first!, rest));
}

const PHASES = {
  acquiring: 'acquiring, the new owner proves that it hears the shard',
  'handing-over': 'handing over, the old owner tells its clients to go',
};

function whyGuest(edgeId: string, { move, owner }: ClientView): string {
  if (owner === null) return 'a guest, as nobody owns its shard';
  if (move?.from === edgeId) {
    return `a guest, as its shard went to ${move.to}: ${edgeId} will tell it to go there`;
  }
  if (move?.to === edgeId)
    return `a guest until ${edgeId} owns its shard, which is on its way there`;
  return `a guest, as ${owner} owns its shard now: it was sent here before, or found nobody else`;
}
