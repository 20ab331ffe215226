-- One node tells what became of its slice of one budget, and asks for more. All of it happens at once, or not at all.
--
-- KEYS[1] is the budget, a hash:
--   level     used, part, parts, at: units used up and not refilled yet; how many of the `parts` that make a unit are
--             refilled beyond that; microseconds since 1970 of that reckoning
--   n:<node>  held, until, last, base, spent, returned: one node's slice, when its lease is over, and what it has told
--             since the answer `base`
-- ARGV is the node, its telling (last, base, had, spent, returned), its wish (wanted, least), the budget (capacity, units
-- refilled per so many seconds, the end in microseconds or 0), lease and memory in microseconds, and the time, or ''.
-- Answers with units granted, free and held. All numbers are whole and below 2^53, so that doubles are exact.

local MEMORIES = 64 -- lapsed nodes that are remembered at most
local FOR_EVER = 315360000000 -- milliseconds, ten years

local node = 'n:' .. ARGV[1]
local last, base, had = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local spent, returned = tonumber(ARGV[5]), tonumber(ARGV[6])
local wanted, least = tonumber(ARGV[7]), tonumber(ARGV[8])
local capacity, rate, per, ends = tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local lease, memory, now = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])

if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
if ends > 0 and now >= ends then
  return {0, 0, 0}
end

local function divide(dividend, divisor)
  local rest = math.fmod(dividend, divisor)
  return (dividend - rest) / divisor, rest
end

local function numbers(text)
  local found = {}
  for number in string.gmatch(text, '%S+') do
    found[#found + 1] = tonumber(number)
  end
  return unpack(found)
end

-- What is known.
local used, part, parts, at = 0, 0, 0, now
local held, told_last, told_base, told_spent, told_returned = 0, 0, -1, 0, 0
local others, lapsed = 0, {}
local fields = redis.call('HGETALL', KEYS[1])
for index = 1, #fields, 2 do
  local name, value = fields[index], fields[index + 1]
  if name == 'level' then
    used, part, parts, at = numbers(value)
  elseif name == node then
    local lease_end
    held, lease_end, told_last, told_base, told_spent, told_returned = numbers(value)
    if lease_end <= now then
      held = 0
    end
  else
    local units, lease_end = numbers(value)
    if lease_end > now then
      others = others + units
    else
      lapsed[#lapsed + 1] = {lease_end, name}
    end
  end
end
if last <= told_last then -- overtaken by a later telling: whoever sent this has given up on it
  return {0, 0, 0}
end

-- What has been refilled since; in steps that stay below 2^53, so that no fraction of a unit is ever lost or made up.
local unit = per * 1000000
if parts ~= unit then
  part, parts = 0, unit
end
if now > at and used > 0 and rate > 0 then
  if rate / per * ((now - at) / 1000000) > used + 1 then
    used = 0
  else
    local seconds, micros = divide(now - at, 1000000)
    local whole, rest = divide(rate, per)
    local millions, ones = divide(whole, 1000000)
    local by_seconds, seconds_rest = divide(rest * seconds, per)
    local by_micros, micros_rest = divide(ones * micros, 1000000)
    local by_rests
    by_rests, part = divide(part + seconds_rest * 1000000 + micros_rest * per + rest * micros, unit)
    used = used - (whole * seconds + by_seconds + millions * micros + by_micros + by_rests)
  end
  if used <= 0 then
    used, part = 0, 0
  end
end
at = now

-- What is told. If nobody heard the last answer, the node tells all of that again: only what is new in it counts.
local new_spent, new_returned = spent, returned
if base == told_base then
  new_spent, new_returned = spent - told_spent, math.max(returned - told_returned, 0)
  returned = math.max(returned, told_returned)
end
used = used + new_spent
held = math.max(held - new_spent, 0)
held = math.max(held - new_returned, 0)
-- What was granted by an answer that nobody heard is free again: the node does not know of it.
held = math.min(held, math.max(had - spent - tonumber(ARGV[6]), 0))
if used <= 0 then
  used, part = 0, 0
end

-- What is granted.
local free, granted = capacity - used - held - others, 0
if free > 0 and free >= least then
  granted = math.min(wanted, free)
end
held, free = held + granted, free - granted

redis.call('HSET', KEYS[1],
  'level', string.format('%.0f %.0f %.0f %.0f', used, part, parts, at),
  node, string.format('%.0f %.0f %.0f %.0f %.0f %.0f', held, now + lease, last, base, spent, returned))

-- What may be forgotten: nodes that were silent for long, and the budget when it is whole again.
table.sort(lapsed, function(one, other) return one[1] > other[1] end)
for index, found in ipairs(lapsed) do
  if index > MEMORIES or found[1] + memory <= now then
    redis.call('HDEL', KEYS[1], found[2])
  end
end
local rest = (lease + memory) / 1000
if ends > 0 then
  rest = (ends - now) / 1000
elseif used > 0 then
  rest = rate > 0 and rest + used / rate * per * 1000 or FOR_EVER
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(math.min(rest, FOR_EVER))))
return {granted, free, held}
