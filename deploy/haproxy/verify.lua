-- May this request pass? HAProxy has no auth check, so this asks the BFF, hands on the identity, or answers what the BFF
-- answers: status, header fields and body.

local address, question = os.getenv("BFF_VERIFY_ADDRESS"), os.getenv("BFF_VERIFY")
local MILLISECONDS = 10000
local SAYS = { "x-user-id", "x-user-email", "x-user-name", "x-user-roles", "x-session-id", "x-auth-time", "x-correlation-id" }
-- With a profile that has a service, its token: add "authorization".

-- About the connection to this proxy, or about the body, which the question has none of.
local NOT_ASKED = { "connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade" }
-- About the connection to the BFF, or said by HAProxy again.
local NOT_ANSWERED = { "connection", "content-length", "date", "keep-alive", "server", "transfer-encoding" }

local UNDECIDED = {
  status = 503,
  headers = {
    ["content-type"] = { "application/problem+json" },
    ["cache-control"] = { "no-store" },
    ["retry-after"] = { "1" },
    ["x-denied-reason"] = { "undecided" },
  },
  body = '{"type": "urn:problem-type:bff:undecided", "title": "Not available", "status": 503, "code": "undecided"}',
}

-- HAProxy's tables of header fields begin at 0, those that it takes at 1. Without the fields that are left out, and without
-- those whose names it drops itself on the way to a server (http-restrict-req-hdr-names).
local function copied(fields, left_out)
  local found = {}
  for name, values in pairs(fields) do
    if name:match("^[%w-]+$") then
      local list = {}
      for place = 0, #values do
        list[#list + 1] = values[place]
      end
      found[name] = list
    end
  end
  for _, name in ipairs(left_out) do
    found[name] = nil
  end
  return found
end

local function asked(txn)
  local headers = copied(txn.http:req_get_headers(), NOT_ASKED)
  headers["x-forwarded-method"] = { txn.f:method() }
  headers["x-forwarded-uri"] = { txn.f:pathq() }
  local sent, answer = pcall(function()
    return core.httpclient():get({ url = "http://" .. address .. question, headers = headers, timeout = MILLISECONDS })
  end)
  if not sent or answer == nil or answer.status < 200 or answer.status >= 500 and answer.status ~= 503 then
    return UNDECIDED
  end
  return { status = answer.status, headers = copied(answer.headers, NOT_ANSWERED), body = answer.body }
end

core.register_action("verify", { "http-req" }, function(txn)
  local answer = asked(txn)
  if answer.status == 200 then
    for _, name in ipairs(SAYS) do
      local values = answer.headers[name]
      if values then
        txn.http:req_set_header(name, values[1])
      end
    end
    return
  end
  local reply = txn:reply({ status = answer.status, headers = answer.headers, body = answer.body })
  txn:done(reply)
end, 0)
