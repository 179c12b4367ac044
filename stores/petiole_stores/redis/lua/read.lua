--- include records brief
-- Read records of one partition. KEYS[1] prefix; ARGV[1] {what, id, ns?, before?, limit?, brief?, token?}; what is
--   "run"          the Run or null                "tasks"        the list of a run's Tasks, as they were made
--   "task"         the Task or null
--   "holds"        whether a finish of the task under the token would be taken
--   "checkpoint"   the Checkpointed or null       "head"         that of the head of a thread (id) and namespace
--   "checkpoints"  the list of a thread's, newest first; ns nil: of every namespace; before: below this seq; brief: without
--                  their states

local function one(kind, id, thread_id)
  local record = id and load(kind, id)
  return record and shown(record, thread_id) or cjson.null
end

local read = {}

function read.run() return one('run', request.id) end

function read.task() return one('task', request.id) end

function read.holds() return stands(load('task', request.id), request.token) end

function read.checkpoint() return one('checkpoint', request.id) end

function read.head() return one('checkpoint', head_of(thread_of(request.id), request.ns).checkpoint_id, request.id) end

function read.tasks()
  local found = {}
  for _, id in ipairs(redis.call('LRANGE', P .. 'tasks:' .. request.id, 0, -1)) do
    local task = load('task', id)
    if task then found[#found + 1] = shown(task) end
  end
  return found
end

local STATE, PART = { state = true }, 500

function read.checkpoints()
  local found, offset = {}, 0
  local top = request.before and '(' .. text_of(request.before) or '+inf'
  while not request.limit or #found < request.limit do
    local key = P .. 'history:' .. request.id
    local members = redis.call('ZREVRANGEBYSCORE', key, top, '-inf', 'LIMIT', offset, PART)
    for _, member in ipairs(members) do
      if request.limit and #found >= request.limit then break end
      local split = member:find(SEP, 1, true)
      if not request.ns or member:sub(1, split - 1) == request.ns then
        local id = member:sub(split + 1)
        local checkpoint = request.brief and load_brief('checkpoint', id, STATE)
        if not request.brief then checkpoint = load('checkpoint', id) end
        if checkpoint then found[#found + 1] = shown(checkpoint, request.id) end
      end
    end
    if #members < PART then break end
    offset = offset + PART
  end
  return found
end

return cmsgpack.pack(read[request.what]())
