/**
 * Lua for pushes that replace an earlier push of their client, or extend a growing message. It is a
 * part of the script that stores pushes, and pushes without such a key do not run it.
 *
 *   ll:{tag}:keys:<clientId>  hash: `c<collapse key>` to `<expiry> <id>`, the newest push with this
 *                             key · `a<append key>` to `<expiry> <bytes so far>`, or `<expiry>
 *                             end`. A key is free again at its expiry, Unix time in ms
 *
 * A push that is replaced leaves the inbox as one that is confirmed alone (`apart` and `freed`, see
 * inbox.ts). In contrast to it, nothing is confirmed, and the device may have received it and name
 * it as its cursor: so `replaced` of the ack hash keeps the ids of the newest ones, each between
 * spaces, until a later push is confirmed.
 *
 * The parts of a growing message are pushes like any others, so each is a cursor and is confirmed
 * or lost by itself. The sixth field of their entries, `a`, is `<offset> <kind><append key>`; the
 * kind is `e` for the part that ends the message, else `a`.
 */
import type { ErrorCode } from '../../process/errors.js';
import { REPLACED_BYTES_MAX } from '../inbox.js';

/** How a push is combined with earlier ones of its client. */
export type Combination =
  /** It replaces the stored push with this key. */
  | { readonly type: 'collapse'; readonly key: string }
  /** It is the next part of a growing message. */
  | { readonly type: 'append'; readonly key: string; readonly isEnd: boolean };

/** Maximum keys of one client that are in use. */
export const COMBINATION_KEYS_MAX = 128;

/** Why the script does not store a push. */
export const COMBINATION_REASONS = {
  PUSH_KEYS_TOO_MANY: `the client has ${COMBINATION_KEYS_MAX} collapse and append keys in use, the maximum`,
  APPEND_ENDED: 'the message has ended; use another append_to',
  APPEND_TOO_LARGE: 'the message is larger than an inbox may be; end it and begin another',
} as const satisfies Partial<Record<ErrorCode, string>>;

export type CombinationError = keyof typeof COMBINATION_REASONS;

/**
 * Lua that defines `storeCombined`; the functions of STORE in push.ts are known to it. As a text
 * that is not run without need, because each function costs the script time.
 * Input:  the keys seq, inbox, ack, idem or nil, keys; what `store` takes, and the kind of
 *         combination (c, a, or e for the end of a message) with the key
 * Output: what `store` returns, and the id of the replaced push if there was one; '!' and an
 *         error code
 */
export const luaCombine = (hasEvents: boolean) => `
-- Removes the push that another one replaces. Returns its id, unless it is not stored any more.
local function replace(inbox, ack, id)
  local oldest = call('XRANGE', inbox, '-', '+', 'COUNT', 2)
  local entry = oldest[1]
  local isOldest = entry and entry[1] == id
  if not isOldest then entry = call('XRANGE', inbox, id, id)[1] end
  if not entry then return end
  local known = call('HMGET', ack, 'apart', 'freed', 'replaced')
  local apart, freed, bytes = known[1] or id, number(known[2]), #entry[2][2]
  if not isOldest then
    freed = freed + bytes
  elseif oldest[2] then
    freed = freed + number(entry[2][6]) + bytes - number(oldest[2][2][6])
  else
    freed = 0
  end
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  local apartMs, apartN = string.match(apart, '^(%d+)-(%d+)$')
  if number(apartMs) < number(ms) or (apartMs == ms and number(apartN) < number(n)) then apart = id end
  local replaced = (known[3] or ' ') .. id .. ' '
  if #replaced > ${REPLACED_BYTES_MAX} then
    replaced = string.sub(replaced, (string.find(replaced, ' ', 2, true)))
  end
  -- First, because a Redis that is full rejects it before anything has changed.
  call('HSET', ack, 'apart', apart, 'freed', format('%d', freed), 'replaced', replaced)
  call('XDEL', inbox, id)
  countLeft(inbox, 'collapsed', 1)
${hasEvents ? "  left(inbox, id, 'replaced')" : ''}
  return id
end

-- Whether a key that is not known can be added.
local function hasRoom(names, inbox)
  local all = call('HGETALL', names)
  local left = #all / 2
  if left < ${COMBINATION_KEYS_MAX} then return true end
  for i = 1, #all, 2 do
    local due, value = string.match(all[i + 1], '^(%d+) (%S+)$')
    local isFree = number(due) <= now or value == 'end'
    if not isFree and string.byte(all[i]) == 99 then
      isFree = not call('XRANGE', inbox, value, value)[1]
    end
    if isFree then
      call('HDEL', names, all[i])
      left = left - 1
    end
  end
  return left < ${COMBINATION_KEYS_MAX}
end

storeCombined = function(seq, inbox, ack, idem, names, start, payload, checksum, kind, key)
  if idem and call('EXISTS', idem) == 1 then
    return store(seq, inbox, ack, idem, start, payload, checksum)
  end
  local field = (kind == 'c' and 'c' or 'a') .. key
  local known = call('HGET', names, field)
  local due, value = string.match(known or '', '^(%d+) (%S+)$')
  if not known and not hasRoom(names, inbox) then return '!PUSH_KEYS_TOO_MANY' end
  if number(due) <= now then value = nil end
  local line, kept
  if kind == 'c' then
    local replaced = value and replace(inbox, ack, value)
    line = store(seq, inbox, ack, idem, start, payload, checksum)
    kept = string.match(line, '^%S+')
    if replaced then line = line .. ' ' .. replaced end
  else
    if value == 'end' then return '!APPEND_ENDED' end
    local offset = number(value)
    if offset + #payload > bytesMax then return '!APPEND_TOO_LARGE' end
    line = store(seq, inbox, ack, idem, start, payload, checksum + offset, format('%d', offset),
      kind .. key)
    kept = kind == 'e' and 'end' or format('%d', offset + #payload)
  end
  local untilMs = number(due)
  if untilMs < now + ttl then
    -- A little longer, so that most pushes need not give the keys more time to live.
    untilMs = now + math.floor(ttl * 17 / 16)
    extend(names, format('%d', untilMs - now))
  end
  call('HSET', names, field, format('%d', untilMs) .. ' ' .. kept)
  return line
end
`;
