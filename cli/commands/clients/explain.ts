/** `longline explain`: clientId → shard → channel → owner → actual connections, and why. */
import { type ClientView, controlApi, type GuestReason } from '../../control/api.js';
import { connectedSince, plural, spell } from '../format.js';
import type { ControlOptions } from '../status.js';
import { table } from '../table.js';
import { reconnectLines } from './reconnects.js';

/** @throws Failure when control rejects or cannot be reached */
export async function explain(clientId: string, options: ControlOptions): Promise<void> {
  const client = await controlApi(options.control, options.token).client(clientId);
  console.log(options.json ? JSON.stringify(client) : explanation(client));
}

/**
 * The same for each device of a user.
 * @throws Failure when control rejects or cannot be reached
 */
export async function explainUser(user: string, options: ControlOptions): Promise<void> {
  const found = await controlApi(options.control, options.token).user(user);
  if (options.json) return console.log(JSON.stringify(found));
  console.log(found.devices.map(explanation).join('\n\n'));
  if (found.more) console.log(`\n${user} has more devices than these`);
}

function explanation(client: ClientView): string {
  const { shard, channel, owner, ownerUrl, move, connections, complete } = client;
  const lines: [string, string][] = [
    ['client', client.clientId],
    ['shard', `${shard}`],
    ['channel', channel],
    ['owner', owner ? `${owner}  ${ownerUrl}` : 'none now'],
  ];
  if (move) lines.push(['moving', `from ${move.from} to ${move.to}: ${PHASES[move.phase]}`]);
  for (const connection of connections) {
    const { edgeId, protocol, remoteAddress, connectedAtMs, connectedForMs } = connection;
    const { guest, guestReason } = connection;
    const since = connectedSince(connectedAtMs, connectedForMs);
    lines.push([
      'connected',
      `${edgeId}${guest ? ' as a guest' : ''} over ${protocol} from ${remoteAddress} since ${since}`,
    ]);
    if (connection.labels) lines.push(['', `with labels ${connection.labels}`]);
    if (guest) lines.push(['', `a guest because ${guestText(edgeId, guestReason, client)}`]);
  }
  if (connections.length === 0) {
    lines.push(['connected', complete ? 'to no edge' : 'to no edge that answered']);
  }
  lines.push(...reconnectLines(client), ...inboxLines(client));
  if (!complete) lines.push(['', 'an edge that could have a connection did not answer in time']);
  const [first, ...rest] = lines;
  return table(first!, rest);
}

const PHASES = {
  acquiring: 'acquiring, the new edge subscribes to the shard',
  'handing-over': 'handing over, the old edge sends its clients to the new one',
};

function guestText(
  edgeId: string,
  reason: GuestReason | null | undefined,
  { move, owner, ownerUrl }: ClientView,
): string {
  switch (reason) {
    case 'no-owner':
      return 'its shard has no owner';
    case 'moving-away':
      return `its shard moved to ${move?.to ?? owner}: ${edgeId} will send it there`;
    case 'moving-here':
      return `its shard is moving to ${edgeId}, which does not own it yet`;
    case 'assignment-late':
      return `${edgeId} has not received the assignment yet by which it owns the shard`;
    case 'owner-unavailable':
      return `${owner} owns its shard, but does not report or is not ready`;
    case 'connected-before-move':
      return `it connected before its shard moved to ${owner}: ${edgeId} will send it there`;
    case 'connected-after-move':
      return (
        `it came to ${edgeId} although ${owner} owns its shard: it knows no other address, ` +
        `or cannot reach ${ownerUrl}`
      );
    default:
      return `${owner} owns its shard: it connected before that or reached no other edge`;
  }
}

function inboxLines({ inbox }: ClientView): [string, string][] {
  if (inbox === undefined) return [];
  if (inbox === null) return [['inbox', 'unknown, Redis did not answer']];
  const { count, bytes, oldestId, oldestAgeMs, oldestTtlMs, ttlMs } = inbox;
  const { newestId, confirmedId, goneId } = inbox;
  const inTime = (ms: number | null) => spell(ms === null ? null : Math.max(0, ms) / 1_000);
  const lines: [string, string][] =
    count === 0
      ? [['inbox', 'empty']]
      : [
          [
            'inbox',
            `${plural(count, 'push', 'pushes')}, ${plural(bytes, 'byte')}, until the last expires ${inTime(ttlMs)}`,
          ],
          [
            '',
            `oldest ${oldestId}, stored ${inTime(oldestAgeMs)} ago, ${expiry(oldestTtlMs, inTime)}`,
          ],
        ];
  if (newestId !== null) lines.push(['', `newest id ${newestId}`]);
  lines.push(['', confirmedId === null ? 'nothing confirmed' : `confirmed up to ${confirmedId}`]);
  if (goneId !== null)
    lines.push(['', `left unconfirmed up to ${goneId}: expired, over a bound or skipped`]);
  return lines;
}

function expiry(ttlMs: number | null, inTime: (ms: number | null) => string): string {
  return ttlMs !== null && ttlMs <= 0 ? 'expired' : `expires in ${inTime(ttlMs)}`;
}
