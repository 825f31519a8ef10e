-- Returns what is known of each node whose lease is valid.
-- KEYS: nodes, names

local valid = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. clock(), '+inf')
if #valid == 0 then return {} end
return redis.call('HMGET', KEYS[2], unpack(valid))
