-- Return a field that is a whole number, and nil for any other: what a script computes with may be damaged.
local function whole(text)
  return text and #text < 17 and string.match(text, '^%d+$')
end
