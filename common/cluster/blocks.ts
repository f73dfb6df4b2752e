/**
 * The clients and users that may not connect, chosen by operators: one hash for the whole cluster,
 * so that edges read one version.
 *
 * - A clientId or a user: it is blocked until the value, Unix time in milliseconds by the clock of
 *   Redis.
 * - A control character (U+0001), which no clientId contains, and then a user, or nothing for all
 *   users: tokens issued before the value, Unix time in milliseconds, are revoked. It has no end,
 *   because it is unknown when the last of these tokens expires.
 * - The empty name: a version, which grows with every change.
 */
import type { Outcome } from '../redis/execute.js';
import type { RedisLink } from '../redis/redis-link.js';
import { Script, type ScriptLink } from '../redis/script.js';

/** Names that can be blocked at a time. */
export const BLOCKS_MAX = 10_000;
/** Users whose tokens can be revoked at a time; all of them together do not count. */
export const REVOCATIONS_MAX = 10_000;

const REVOKED = '\u0001';

/** Lua helpers at the start of the scripts. */
const LUA_BLOCKS = `
local call, key = redis.call, KEYS[1]
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function version()
  return call('HGET', key, '') or ''
end
local function changed()
  call('HSET', key, '', string.format('%d', (tonumber(version()) or 0) + 1))
end
local function isRevocation(name)
  return string.byte(name) == 1
end
`;

/**
 * Reads everything, unless the caller knows this version.
 * Input:  KEYS hash; ARGV known version, or ''
 * Output: version ('' if the hash is empty); unless it is the known one, also names and values: for
 *         a block in force the remaining ms, for a revocation its time
 */
const READ = new Script(`${LUA_BLOCKS}
local newest = version()
if newest == ARGV[1] then return {newest} end
local found, all = {newest}, call('HGETALL', key)
for i = 1, #all, 2 do
  local name, value = all[i], tonumber(all[i + 1]) or 0
  if name ~= '' and not isRevocation(name) then value = value - now end
  if name ~= '' and value > 0 then
    found[#found + 1] = name
    found[#found + 1] = string.format('%d', value)
  end
end
return found`);

/**
 * Blocks a name, and removes the blocks that are over.
 * Input:  KEYS hash; ARGV name, milliseconds, maximum number of blocks
 * Output: 1; 0 if there are too many
 */
const BLOCK = new Script(`${LUA_BLOCKS}
local count, all = 0, call('HGETALL', key)
for i = 1, #all, 2 do
  local name = all[i]
  if name ~= '' and not isRevocation(name) then
    if (tonumber(all[i + 1]) or 0) > now then count = count + 1 else call('HDEL', key, name) end
  end
end
if count >= tonumber(ARGV[3]) and not call('HGET', key, ARGV[1]) then return 0 end
call('HSET', key, ARGV[1], string.format('%d', now + ARGV[2]))
changed()
return 1`);

/**
 * Removes a block.
 * Input:  KEYS hash; ARGV name
 * Output: 1 if the name was blocked, else 0
 */
const UNBLOCK = new Script(`${LUA_BLOCKS}
local untilMs = tonumber(call('HGET', key, ARGV[1]) or 0) or 0
if call('HDEL', key, ARGV[1]) == 1 then changed() end
return untilMs > now and 1 or 0`);

/**
 * Revokes tokens. A revocation never gets earlier: tokens that are revoked stay so.
 * Input:  KEYS hash; ARGV name, Unix ms or '' for now, maximum number of revocations
 * Output: the time in force; 0 if there are too many; -1 if the time is in the future
 */
const REVOKE = new Script(`${LUA_BLOCKS}
local name, at = ARGV[1], tonumber(ARGV[2]) or math.ceil(now / 1000) * 1000
if at > now + 1000 then return -1 end
local before = tonumber(call('HGET', key, name) or 0) or 0
if before == 0 and #name > 1 then
  local count, all = 0, call('HGETALL', key)
  for i = 1, #all, 2 do
    if #all[i] > 1 and isRevocation(all[i]) then count = count + 1 end
  end
  if count >= tonumber(ARGV[3]) then return 0 end
end
if at <= before then return before end
call('HSET', key, name, string.format('%d', at))
changed()
return at`);

/**
 * Removes a revocation.
 * Input:  KEYS hash; ARGV name
 * Output: 1 if there was one, else 0
 */
const UNREVOKE = new Script(`${LUA_BLOCKS}
local had = call('HDEL', key, ARGV[1])
if had == 1 then changed() end
return had`);

type Link = ScriptLink & Pick<RedisLink, 'names'>;

export interface Block {
  /** A clientId or a user. */
  readonly name: string;
  readonly remainingMs: number;
}

export interface Revocation {
  /** Empty: all users. */
  readonly user: string;
  /** Tokens issued before this are revoked: Unix time in ms. */
  readonly beforeMs: number;
}

export interface BlockList {
  readonly blocks: readonly Block[];
  readonly revocations: readonly Revocation[];
}

export interface VersionedBlocks {
  readonly version: string;
  /** Undefined: the known version is the newest one. */
  readonly list: BlockList | undefined;
}

/** @param known version that the caller has; '' reads in any case unless the list is empty */
export function readBlocks(link: Link, known: string): Promise<Outcome<VersionedBlocks>> {
  return READ.run(link, [link.names.blocks], [known], 'text', ([version, ...rest]: string[]) => {
    if (version === known) return { version, list: undefined };
    const blocks: Block[] = [];
    const revocations: Revocation[] = [];
    for (let i = 0; i < rest.length; i += 2) {
      const [name, value] = [rest[i]!, Number(rest[i + 1])];
      if (name.startsWith(REVOKED)) revocations.push({ user: name.slice(1), beforeMs: value });
      else blocks.push({ name, remainingMs: value });
    }
    return { version: version!, list: { blocks, revocations } };
  });
}

/** Resolves with false if there are too many blocks. */
export function addBlock(link: Link, name: string, forMs: number): Promise<Outcome<boolean>> {
  const args = [name, forMs, BLOCKS_MAX];
  return BLOCK.run(link, [link.names.blocks], args, 'text', (added: number) => added === 1);
}

/** Resolves with whether the name was blocked. */
export function removeBlock(link: Link, name: string): Promise<Outcome<boolean>> {
  return UNBLOCK.run(link, [link.names.blocks], [name], 'text', (was: number) => was === 1);
}

/**
 * Resolves with the time in force, which may be later than `beforeMs`.
 * @param user empty: all users
 * @param beforeMs Unix time; undefined: the next full second of Redis' clock, because tokens state
 *   whole seconds
 */
export function addRevocation(
  link: Link,
  user: string,
  beforeMs: number | undefined,
): Promise<Outcome<number | 'full' | 'future'>> {
  const args = [REVOKED + user, beforeMs ?? '', REVOCATIONS_MAX];
  return REVOKE.run(link, [link.names.blocks], args, 'text', (at: number) => {
    if (at === 0) return 'full';
    return at < 0 ? 'future' : at;
  });
}

/** Resolves with whether there was a revocation. */
export function removeRevocation(link: Link, user: string): Promise<Outcome<boolean>> {
  const keys = [link.names.blocks];
  return UNREVOKE.run(link, keys, [REVOKED + user], 'text', (was: number) => was === 1);
}
