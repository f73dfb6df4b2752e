local function parse(id)
  local ms, n = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms) or 0, tonumber(n) or 0
end
local function isBefore(a, b)
  local aMs, aN = parse(a)
  local bMs, bN = parse(b)
  return aMs < bMs or (aMs == bMs and aN < bN)
end
local function nowMs()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function first(inbox)
  return redis.call('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]
end
-- A stored number; 0 for one that is corrupt.
local function number(text)
  return tonumber(text) or 0
end
-- The position of the shard's mark; false if no stored push of the shard was lost.
local function readMark(key)
  local mark = redis.call('GET', key)
  return mark and string.match(mark, '^%S+')
end
local function confirm(inbox, ack, id)
  redis.call('HSET', ack, 'acked', id)
  redis.call('HDEL', ack, 'due')
  local ms, n = parse(id)
  redis.call('XTRIM', inbox, 'MINID', string.format('%.0f-%.0f', ms, n + 1))
end

local seq, inbox, ack, idem = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local payload, ttl = ARGV[3], tonumber(ARGV[4])
if idem then
  local seen = redis.call('GET', idem)
  if seen then
    -- This is a write, so that a later WAIT also covers the first push.
    redis.call('PEXPIRE', idem, ARGV[8])
    return {0, seen}
  end
end
local now = nowMs()
local count, dropped, isNew = redis.call('XLEN', inbox), 0, false
-- The next id is newer than the newest one that Redis knows, by its clock where that is possible.
local next = '*'
-- Values for an empty inbox, of which this push becomes the oldest.
local held, floor, due, freed = 0, 0, now + ttl, false
if count > 0 then
  local known = redis.call('HMGET', ack, 'held', 'floor', 'due', 'freed')
  held, floor, due, freed = tonumber(known[1]), number(known[2]), tonumber(known[3]), tonumber(known[4])
  if not held then
    local newest = redis.call('XREVRANGE', inbox, '+', '-', 'COUNT', 1)[1]
    held, due = number(newest[2][6]) + #newest[2][2], nil
  end
  while not due or due <= now or count >= tonumber(ARGV[5])
      or held - floor - (freed or 0) + #payload > tonumber(ARGV[6]) do
    local oldest = first(inbox)
    if due then
      local nextFloor = number(oldest[2][6]) + #oldest[2][2]
      redis.call('XDEL', inbox, oldest[1])
      redis.call('HSET', ack, 'gone', oldest[1])
      count, dropped = count - 1, dropped + 1
      oldest = first(inbox)
      if freed then
        freed = freed - ((oldest and number(oldest[2][6]) or held) - nextFloor)
        redis.call('HSET', ack, 'freed', string.format('%.0f', freed))
      end
    end
    if not oldest then
      floor, due = held, now + ttl
      break
    end
    -- A corrupt entry has expired: it leaves the inbox.
    floor, due = number(oldest[2][6]), number(oldest[2][4])
  end
elseif redis.call('EXISTS', inbox) == 0 then
  -- The inbox expired or never existed: no earlier push is in it.
  isNew = true
  local known = redis.call('HMGET', ack, 'last', 'apart')
  if known[1] then
    redis.call('HSET', ack, 'gone', known[1])
    local ms, n = parse(known[1])
    -- The clock was set back, or this master's is behind that of the one before it.
    if ms >= now then next = string.format('%.0f-%.0f', ms, n + 1) end
  end
  if known[2] then redis.call('HDEL', ack, 'apart', 'freed') end
end
local expiry = now + ttl
local id = redis.call('XADD', inbox, next, 'p', payload, 'x', expiry, 'b', held, 'c', ARGV[9],
  's', string.format('%.0f', ARGV[10] + expiry + held))
redis.call('PEXPIRE', inbox, ARGV[4], isNew and 'NX' or 'GT')
redis.call('HSET', ack, 'last', id, 'held', held + #payload, 'floor', floor, 'due', due)
if count > 0 then
  -- Not shortened: an older entry may have a longer TTL than this one.
  redis.call('PEXPIRE', ack, ARGV[7], 'GT')
else
  redis.call('PEXPIRE', ack, ARGV[7])
end
if idem then redis.call('SET', idem, id, 'PX', ARGV[8]) end
local n = string.format('%.0f', redis.call('INCR', seq))
local stored = '\66' .. string.char(#id) .. id .. '\74' .. string.char(#n) .. n
  .. '\98' .. string.char(#id + #n) .. id .. n
local receivers = redis.call('SPUBLISH', ARGV[1], ARGV[2] .. stored)
return {1, id, receivers, dropped}
