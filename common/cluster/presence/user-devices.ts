/**
 * The devices of a user that were seen lately: a sorted set beside the inboxes, in the slot of the
 * user's shard. Members are the devices within the user, their scores the Unix time in seconds
 * until which they count. Edges note every device that connects, with the announcement that they
 * publish anyway; routers read them for a push to the user. A user without devices has no set.
 */
import type { Outcome } from '../../redis/execute.js';
import { Script, type ScriptLink } from '../../redis/script.js';
import { counterKey } from '../inbox.js';

/**
 * Devices kept of one user; beyond it, those that were seen longest ago are forgotten. More than a
 * router ever pushes to, so that it notices a user with too many.
 */
export const USER_DEVICES_KEPT = 1_001;

/**
 * Lua for a new version of the members of groups of a shard (groups/members.ts). By the clock:
 * after Redis has lost the newest ones, a counter would assign them again.
 */
export const LUA_NEW_VERSION = `
local function newVersion()
  local time = redis.call('TIME')
  return string.format('%.0f', time[1] * 1000000 + time[2])
end`;

/**
 * Lua that notes devices: the keys from the second on, the second argument and those after it. A
 * new one changes which clients a group reaches, if there are groups in the shard.
 */
export const LUA_NOTE_DEVICES = `${LUA_NEW_VERSION}
local nowS, keepS, isAnyNew = tonumber(call('TIME')[1]), tonumber(ARGV[2]), false
for i = 2, #KEYS do
  local set = KEYS[i]
  call('ZREMRANGEBYSCORE', set, '-inf', string.format('%d', nowS))
  local added = call('ZADD', set, string.format('%d', nowS + keepS), ARGV[i + 1])
  call('ZREMRANGEBYRANK', set, 0, -${USER_DEVICES_KEPT + 1})
  call('PEXPIRE', set, ARGV[2] .. '000')
  isAnyNew = isAnyNew or added == 1
end
if isAnyNew then call('SET', string.sub(KEYS[1], 1, -5) .. ':members', newVersion(), 'XX') end`;

/**
 * Publishes an envelope on the channel of a shard, and notes devices of the shard.
 * Input:  KEYS seq, set of each device; ARGV envelope, seconds to keep, each device
 * Output: number of receivers
 */
const NOTE = new Script(`
local call = redis.call
local receivers = call('SPUBLISH', string.sub(KEYS[1], 1, -5), ARGV[1])
${LUA_NOTE_DEVICES}
return receivers`);

/**
 * Reads the devices that count now.
 * Input:  KEYS set; ARGV maximum number
 * Output: devices, those seen longest ago first
 */
const READ = new Script(`
return redis.call('ZRANGE', KEYS[1], '(' .. redis.call('TIME')[1], '+inf', 'BYSCORE', 'LIMIT', 0, ARGV[1])`);

export interface UserDevice {
  readonly user: string;
  /** The part of the clientId after its first slash. */
  readonly device: string;
}

/**
 * Publishes an envelope, and notes devices that are connected now. Resolves with its receivers.
 * @param channel of the shard of all these devices
 * @param keepS seconds for which they count
 */
export function noteDevices(
  link: ScriptLink,
  channel: string,
  devices: readonly UserDevice[],
  keepS: number,
  envelope: Buffer,
): Promise<Outcome<number>> {
  const keys = [counterKey(channel), ...devices.map(({ user }) => devicesKey(channel, user))];
  const args = [envelope, keepS, ...devices.map(({ device }) => device)];
  return NOTE.run(link, keys, args, 'text', Number);
}

/** Reads at most `countMax` devices of a user, in the form of `UserDevice.device`. */
export function readDevices(
  link: ScriptLink,
  channel: string,
  user: string,
  countMax: number,
): Promise<Outcome<readonly string[]>> {
  const parse = (devices: readonly string[]) => devices;
  return READ.run(link, [devicesKey(channel, user)], [countMax], 'text', parse);
}

export function devicesKey(channel: string, user: string): string {
  return `${channel}:dev:${user}`;
}
