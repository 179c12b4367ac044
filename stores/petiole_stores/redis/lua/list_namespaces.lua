--- include items
-- Namespaces that have an item whose time is not over. KEYS[1] prefix of the keys; ARGV[1] {prefix, after, limit, now?}. Answers
-- a list of at most limit of them, in order: those that begin with the prefix and come after another.

local found = {}
each_namespace(request.prefix, request.after, function(ns)
  each_item(ns, function()
    found[#found + 1] = ns
    return true
  end)
  return #found == request.limit
end)
return cmsgpack.pack(found)
