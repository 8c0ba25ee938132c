"""Lua scripts: atomic operations of Redis for which one command is not enough."""

# KEYS: the key. ARGV: the expected value; then, unless it is to be deleted, the new value; then the life, unless kept.
COMPARE_AND_SET = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if #ARGV == 1 then redis.call('DEL', KEYS[1])
elseif #ARGV == 2 then redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""

# KEYS: a log. ARGV: its maximal length, then the values.
LOG_APPEND = """
for number = 2, #ARGV do redis.call('XADD', KEYS[1], '*', 'v', ARGV[number]) end
local dropped = redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[1])
return {redis.call('XLEN', KEYS[1]), dropped}
"""
# KEYS: a log. ARGV: its reader, which gets a new consumer group; the former reader's group is destroyed.
LOG_OPEN = """
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    redis.call('XGROUP', 'DESTROY', KEYS[1], group[2])
  end
end
redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
"""
# KEYS: a log. ARGV: the age in milliseconds.
LOG_TRIM = """
local now = redis.call('TIME')
local oldest = now[1] * 1000 + math.floor(now[2] / 1000) - ARGV[1]
return redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', math.max(oldest, 0)))
"""
# KEYS: a window, as the times of its hits in microseconds, newest first. ARGV: the limit; the period, in
# microseconds; the number of new hits. A hit is added once and removed once, so a call costs the same for any limit.
WINDOW_HIT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local oldest = redis.call('LINDEX', KEYS[1], -1)
while oldest and tonumber(oldest) <= now - ARGV[2] do
  redis.call('RPOP', KEYS[1])
  oldest = redis.call('LINDEX', KEYS[1], -1)
end
local hits = redis.call('LLEN', KEYS[1])
local counted = hits + ARGV[3] <= tonumber(ARGV[1])
if counted then
  for _ = 1, ARGV[3] do hits = redis.call('LPUSH', KEYS[1], string.format('%.0f', now)) end
  redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] / 1000))
end
return {counted and 1 or 0, hits, (oldest or now) + ARGV[2] - now}
"""
