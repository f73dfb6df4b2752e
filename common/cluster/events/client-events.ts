/**
 * Events of connections: `client.connected`, `client.disconnected` and `client.moved`.
 *
 * `ll:{tag}:on` is a hash by clientId of the connection that the events say it has: `<edge
 * incarnation>:<connection> <edge> <protocol> <Unix ms> <labels>`. It is changed together with the
 * events, so each connection has one event of its beginning and one of its end, however often a
 * command is repeated, and an end is never before its beginning. A connection is entered by the
 * script that announces it, because the order of the announcements decides which of two connections
 * survives.
 *
 * A connection that ends with a goaway stays in the hash, with `-<Unix ms of its end> ` before the
 * rest: its client is expected to connect again. If it does, the client has moved; else its end is
 * an event after `MOVE_MS`, by due-events.ts.
 */
import type { Outcome } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';
import { counterKey } from '../inbox.js';
import { devicesKey, LUA_NOTE_DEVICES, type UserDevice } from '../presence/user-devices.js';
import { DUE_KEPT_MS, type EventBounds, luaEvents, perBounds } from './event-stream.js';

/** The hash of a shard that no edge serves any more goes after this time. */
const REGISTRY_MS = 24 * 60 * 60 * 1000;

/** A client that connects again within this time after a goaway has moved. */
export const MOVE_MS = 15_000;

export const luaClients = (bounds: EventBounds) => `${luaEvents(bounds)}
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Of a connection that has received a goaway: when it ended, and its entry before that.
local function leaving(known)
  return string.match(known or '', '^%-(%d+) (.*)$')
end
local function ended(channel, client, known, reason, atMs)
  local edge, protocol, since, labels = string.match(known, '^%S+ (%S+) (%S+) (%d+) (.*)$')
  if not edge then return end
  local ms = string.format('%d', math.max(0, (atMs or now) - since))
  event(channel, 'client.disconnected', client, 'e', edge, 'p', protocol, 'l', labels, 'r', reason,
    'd', ms)
end
-- The client of a connection that has received a goaway does not connect again, unless it has.
local function gone(channel, client, connection)
  local endedAt, left = leaving(call('HGET', channel .. ':on', client))
  if not endedAt or string.match(left, '^%S+') ~= connection then return end
  ended(channel, client, left, 'goaway', tonumber(endedAt))
  call('HDEL', channel .. ':on', client)
end
`;

/**
 * Publishes announcements on the channel of a shard, notes devices, and enters the connections.
 * Input:  KEYS seq, set of each device; ARGV envelope, seconds to keep devices, each device; edge,
 *         incarnation; for each connection clientId, connection, '1' if it was announced before,
 *         protocol, labels
 * Output: id of the newest event or '', indexes of the connections that were not entered
 *
 * A connection that was announced before does not replace another one: that may be newer. Or its
 * end is not written yet, so the connection has to be announced again until it is entered or has
 * ended.
 */
const ANNOUNCE = perBounds(
  (bounds) =>
    new Script(`${luaClients(bounds)}
local channel = string.sub(KEYS[1], 1, -5)
call('SPUBLISH', channel, ARGV[1])
${LUA_NOTE_DEVICES}
local disputed = {}
local edge, incarnation = ARGV[#KEYS + 2], ARGV[#KEYS + 3]
for i = #KEYS + 4, #ARGV, 5 do
  local client, protocol, labels = ARGV[i], ARGV[i + 3], ARGV[i + 4]
  local connection = incarnation .. ':' .. ARGV[i + 1]
  local known = call('HGET', channel .. ':on', client)
  local _, left = leaving(known)
  local isKnown = known and string.match(left or known, '^%S+') == connection
  if known and not left and not isKnown and ARGV[i + 2] == '1' then
    disputed[#disputed + 1] = (i - #KEYS - 4) / 5
  elseif not isKnown then
    if known and not left then ended(channel, client, known, 'session_replaced') end
    if left then
      local from = string.match(left, '^%S+ (%S+)')
      event(channel, 'client.moved', client, 'e', edge, 'p', protocol, 'l', labels, 'f', from)
    else
      event(channel, 'client.connected', client, 'e', edge, 'p', protocol, 'l', labels)
    end
    call('HSET', channel .. ':on', client, string.format('%s %s %s %d %s', connection, edge, protocol,
      now, labels))
  end
end
call('PEXPIRE', channel .. ':on', ${REGISTRY_MS})
keepEvents(channel)
return {newestEvent, disputed}`),
);

/**
 * Ends connections. One that was not entered, or was replaced by a newer one, has no event.
 * Input:  KEYS seq; ARGV incarnation; for each connection clientId, connection, reason
 * Output: id of the newest event, or ''
 */
const END = perBounds(
  (bounds) =>
    new Script(`${luaClients(bounds)}
local channel = string.sub(KEYS[1], 1, -5)
for i = 2, #ARGV, 3 do
  local client, connection = ARGV[i], ARGV[1] .. ':' .. ARGV[i + 1]
  local known = call('HGET', channel .. ':on', client)
  local isKnown = known and string.match(known, '^%S+') == connection
  if isKnown and ARGV[i + 2] == 'goaway' then
    call('HSET', channel .. ':on', client, string.format('-%d %s', now, known))
    call('ZADD', channel .. ':due', string.format('%d', now + ${MOVE_MS}), 'm' .. connection .. ' ' .. client)
    call('PEXPIRE', channel .. ':due', ${DUE_KEPT_MS})
  elseif isKnown then
    ended(channel, client, known, ARGV[i + 2])
    call('HDEL', channel .. ':on', client)
  end
end
keepEvents(channel)
return newestEvent`),
);

/**
 * Ends the connections of edges that do not live any more, and publishes an envelope if there are
 * some.
 * Input:  KEYS seq; ARGV cursor of the scan, reason, ms that a connection must be old, envelope,
 *         incarnations that live
 * Output: the next cursor, '0' at the end; number of connections that are not old enough
 */
const END_OF_DEAD = perBounds(
  (bounds) =>
    new Script(`${luaClients(bounds)}
local channel = string.sub(KEYS[1], 1, -5)
local on = channel .. ':on'
local lives = {}
for i = 5, #ARGV do lives[ARGV[i]] = true end
local read = call('HSCAN', on, ARGV[1], 'COUNT', 1000)
local count, young = 0, 0
for i = 1, #read[2], 2 do
  local client, known = read[2][i], read[2][i + 1]
  local incarnation, since = string.match(known, '^(.-):%S+ %S+ %S+ (%d+) ')
  if incarnation and not lives[incarnation] and not leaving(known) then
    if now - since >= tonumber(ARGV[3]) then
      ended(channel, client, known, ARGV[2])
      call('HDEL', on, client)
      count = count + 1
    else young = young + 1 end
  end
end
if count > 0 then
  keepEvents(channel)
  call('SPUBLISH', channel, ARGV[4])
end
call('PEXPIRE', on, ${REGISTRY_MS})
return {read[1], young}`),
);

/**
 * Writes the event of a block by an operator.
 * Input:  KEYS seq; ARGV clientId or user, ms
 * Output: 1
 */
const BLOCKED = perBounds(
  (bounds) =>
    new Script(`${luaEvents(bounds)}
local channel = string.sub(KEYS[1], 1, -5)
event(channel, 'client.blocked', ARGV[1], 'd', ARGV[2])
keepEvents(channel)
return 1`),
);

export interface ConnectedClient {
  readonly clientId: string;
  readonly connection: number;
  /** The connection was announced before. */
  readonly renewed: boolean;
  readonly protocol: string;
  readonly labels: string;
}

export interface EndedClient {
  readonly clientId: string;
  readonly connection: number;
  readonly reason: string;
}

/** Which connections are to be ended, and who is told. */
export interface EndOfDeadOptions {
  /** Incarnations of all other edges: those of the cluster. */
  readonly living: readonly string[];
  /** Younger connections are left. */
  readonly ageMsMin: number;
  /** Envelope for the edges of the shard: an edge may live that is not known. */
  readonly notice: Buffer;
}

export interface DeadEdgesSearch {
  /** Cursor of the next call; '0' at the end. */
  readonly cursor: string;
  readonly young: number;
}

/** The edge whose connections are meant. */
export interface EventEdge {
  readonly edgeId: string;
  readonly incarnation: string;
}

/**
 * Publishes announcements, notes devices, and writes the events. Resolves with the clients whose
 * connection was not entered, because another one is.
 */
export function announceWithEvents(
  link: ScriptLink,
  channel: string,
  { edgeId, incarnation }: EventEdge,
  clients: readonly ConnectedClient[],
  noted: { readonly devices: readonly UserDevice[]; readonly keepS: number },
  envelope: Buffer,
  bounds: EventBounds,
): Promise<Outcome<ConnectedClient[]>> {
  const { devices, keepS } = noted;
  const keys = [counterKey(channel), ...devices.map(({ user }) => devicesKey(channel, user))];
  const args = [
    envelope,
    keepS,
    ...devices.map(({ device }) => device),
    edgeId,
    incarnation,
    ...clients.flatMap(({ clientId, connection, renewed, protocol, labels }) => [
      clientId,
      connection,
      renewed ? 1 : 0,
      protocol,
      labels,
    ]),
  ];
  return ANNOUNCE(bounds).run(link, keys, args, 'text', ([id, indexes]: [string, number[]]) => {
    if (id !== '') bounds.onWritten?.(channel, id);
    return indexes.map((i) => clients[i]!);
  });
}

/** Writes the events of connections that have ended. To be repeated until it has run. */
export function endWithEvents(
  link: ScriptLink,
  channel: string,
  incarnation: string,
  clients: readonly EndedClient[],
  bounds: EventBounds,
): Promise<Outcome<void>> {
  const args = clients.flatMap(({ clientId, connection, reason }) => [
    clientId,
    connection,
    reason,
  ]);
  return END(bounds).run(
    link,
    [counterKey(channel)],
    [incarnation, ...args],
    'text',
    (id: string) => {
      if (id !== '') bounds.onWritten?.(channel, id);
    },
  );
}

/**
 * Writes the events of connections whose edge has died. Resolves with the cursor of the next call,
 * and with the number of connections that are not old enough yet.
 */
export function endOfDeadEdges(
  link: ScriptLink,
  channel: string,
  cursor: string,
  { living, ageMsMin, notice }: EndOfDeadOptions,
  bounds: EventBounds,
): Promise<Outcome<DeadEdgesSearch>> {
  const args = [cursor, 'edge_lost', ageMsMin, notice, ...living];
  const parse = ([next, young]: [string, number]) => ({ cursor: next, young });
  return END_OF_DEAD(bounds).run(link, [counterKey(channel)], args, 'text', parse);
}

/** Writes the event of a block by an operator. */
export function writeBlocked(
  link: ScriptLink,
  channel: string,
  name: string,
  forMs: number,
  bounds: EventBounds,
): Promise<Outcome<number>> {
  return BLOCKED(bounds).run(link, [counterKey(channel)], [name, forMs], 'text', Number);
}
