-- Call a command on a key with many arguments, a hundred at a time.
local function call_with_many(command, key, arguments)
  for first = 1, #arguments, 100 do
    redis.call(command, key, unpack(arguments, first, math.min(first + 99, #arguments)))
  end
end
