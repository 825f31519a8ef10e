#!lua
-- Revokes a token until a time, unless as many others are revoked as may be, and forgets those that
-- are over. Returns 1 if it is revoked.
-- KEYS: revoked
-- ARGV: token, until in milliseconds, the most others

local revoked = KEYS[1]
local token, ends, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZREMRANGEBYSCORE', revoked, '-inf', string.format('%.0f', now))
if not redis.call('ZSCORE', revoked, token) and redis.call('ZCARD', revoked) >= most then return 0 end
redis.call('ZADD', revoked, 'GT', ends, token)
return 1
