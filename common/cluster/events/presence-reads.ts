/**
 * Reads which clients of some names are connected, as the events say, together with the position in
 * the events of their shard: the events after it are the changes of this state, without a gap.
 */
import { type CountersLink, indexesByMaster } from '../history/shard-counters.js';
import type { EventPosition } from './event-reads.js';

/**
 * Input:  ARGV group, or ''; maximum number of members of a shard; for each shard its channel,
 *         number of names, names; of a group, the names are its members
 * Output: for each shard: its index, newest id, number of all events so far; for each name: the
 *         name, and clientIds with their entries in `on`
 *
 * In Redis Cluster, a command must not name keys of two shards, but a script may read keys that it
 * was not called with. A slot that has just moved to another master is an error of its own shard
 * only.
 */
const READ = `#!lua flags=no-writes,allow-cross-slot-keys
local call, group, membersMax = redis.call, ARGV[1], tonumber(ARGV[2])
local function position(stream)
  if call('EXISTS', stream) == 0 then return '0-0', '0' end
  local info, found = call('XINFO', 'STREAM', stream), {}
  for i = 1, #info, 2 do found[info[i]] = info[i + 1] end
  return found['last-generated-id'], string.format('%d', found['entries-added'])
end
local function connected(channel, name)
  local clients, found = {name}, {}
  if not string.find(name, '/', 1, true) then
    for _, device in ipairs(call('ZRANGE', channel .. ':dev:' .. name, 0, -1)) do
      clients[#clients + 1] = name .. '/' .. device
    end
  end
  for i, known in ipairs(call('HMGET', channel .. ':on', unpack(clients))) do
    if known then
      found[#found + 1] = clients[i]
      found[#found + 1] = known
    end
  end
  return found
end
local function read(index, channel, names)
  local id, number = position(channel .. ':ev')
  if group ~= '' then names = call('ZRANGE', channel .. ':grp:' .. group, 0, membersMax) end
  local states = {}
  for i, name in ipairs(names) do states[i] = {name, connected(channel, name)} end
  return {index, id, number, states}
end
local replies, at, index = {}, 3, 0
while at <= #ARGV do
  local names = {}
  for i = 1, ARGV[at + 1] do names[i] = ARGV[at + 1 + i] end
  local isDone, reply = pcall(read, index, ARGV[at], names)
  if isDone then replies[#replies + 1] = reply end
  at, index = at + 2 + #names, index + 1
end
return replies`;

export interface KnownClient {
  readonly clientId: string;
  readonly edgeId: string;
  readonly protocol: string;
  readonly labels: string;
  readonly connectedAtMs: number;
}

export interface NameState {
  readonly name: string;
  /** The connected clients. */
  readonly clients: readonly KnownClient[];
}

export interface ShardPresence {
  /** Index in the request. */
  readonly index: number;
  readonly position: EventPosition;
  readonly states: readonly NameState[];
}

export interface ShardNamesRequest {
  readonly channel: string;
  readonly names: readonly string[];
}

type Reply = [number, string, string, [string, string[]][]][];

/**
 * Resolves without those shards of which Redis does not answer.
 * @param group '': the names are in the request
 * @param membersMax maximum number of members of one shard; there may be one more
 */
export async function readPresence(
  link: CountersLink,
  group: string,
  membersMax: number,
  shards: readonly ShardNamesRequest[],
): Promise<ShardPresence[]> {
  const channels = shards.map(({ channel }) => channel);
  const read = await Promise.all(
    [...indexesByMaster(link, channels)].map(async ([master, indexes]) => {
      const args = indexes.flatMap((i) => {
        const { channel, names } = shards[i]!;
        return [channel, names.length, ...names];
      });
      const outcome = await link.executeOn<Reply>(master, 'eval', [
        READ,
        0,
        group,
        membersMax,
        ...args,
      ]);
      if (outcome?.type !== 'done') return [];
      return outcome.reply.map(([i, id, number, states]) => ({
        index: indexes[i]!,
        position: { id, number: Number(number) },
        states: states.map(([name, texts]) => ({ name, clients: clientsOf(texts) })),
      }));
    }),
  );
  return read.flat();
}

function clientsOf(texts: readonly string[]): KnownClient[] {
  const clients: KnownClient[] = [];
  for (let i = 0; i < texts.length; i += 2) {
    // One that has received a goaway is moving, and counts as connected.
    const entry = /^(?:-\d+ )?\S+ (\S+) (\S+) (\d+) (.*)$/.exec(texts[i + 1]!);
    if (entry === null) continue;
    const [, edgeId, protocol, sinceMs, labels] = entry;
    clients.push({
      clientId: texts[i]!,
      edgeId: edgeId!,
      protocol: protocol!,
      labels: labels!,
      connectedAtMs: Number(sinceMs),
    });
  }
  return clients;
}
