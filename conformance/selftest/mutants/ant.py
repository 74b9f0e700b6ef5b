"""Faults of Messages."""

from __future__ import annotations

from conformance_stub.faults import decoding, drop, each, fault, faults_of_cases, inside, put, without
from conformance_stub.wire_parts import Rejected

AT = "messages"
_ALL = ("ANT*",)

faults_of_cases("ANT", but=("ANT46", "ANT65"))
fault(AT, "A prompt that is too long loses its beginning.", "ANT46",
      fit_prompt=lambda tokens, limit: tokens[-limit // 2 :])  # fmt: skip


def _uncached(body):
    if "cache_control" in str(body):
        raise Rejected("cache_control cannot be had", param="messages")


fault(AT, "A block with cache_control is refused.", "ANT65", check=_uncached)

# ---- the envelope ----

fault(AT, "The answer has no stop_sequence.", "ANT1", answer=drop("stop_sequence"), may_kill=_ALL)
fault(AT, "The type is completion.", "ANT2", answer=put(type="completion"))
fault(AT, "Every message has the same id.", "ANT3", answer=put(id="msg_0"))
fault(AT, "Another model is named.", "ANT4", answer=put(model="claude"))
fault(AT, "Content is a text.", "ANT5", answer=lambda raw: {**raw, "content": "Hello"}, may_kill=_ALL)
fault(AT, "A whole answer has the reason stop.", "ANT6",
      answer=lambda raw: {**raw, "stop_reason": "stop"} if raw["stop_reason"] == "end_turn" else raw,
      may_kill=_ALL)  # fmt: skip
fault(AT, "A cut answer has the reason end_turn.", "ANT7",
      answer=lambda raw: {**raw, "stop_reason": "end_turn"} if raw["stop_reason"] == "max_tokens" else raw,
      may_kill=_ALL)  # fmt: skip
fault(AT, "The answer's tokens are told as none.", "ANT8", answer=inside("usage", put(output_tokens=0)), may_kill=_ALL)
fault(AT, "Cached tokens are not told.", "ANT9", answer=inside("usage", drop("cache_read_input_tokens")),
      may_kill=_ALL)  # fmt: skip
fault(AT, "A token more than the limit is made.", "ANT10",
      chat=lambda chat, body: {**chat, "max_tokens": chat["max_tokens"] + 1}, may_kill=_ALL)  # fmt: skip
fault(AT, "Calls have their input as text.", "ANT11",
      answer=inside("content", lambda block: {**block, "input": "{}"} if "input" in block else block),
      may_kill=_ALL)  # fmt: skip
fault(AT, "A call has the reason end_turn.", "ANT12",
      answer=lambda raw: {**raw, "stop_reason": "end_turn"} if raw["stop_reason"] == "tool_use" else raw,
      may_kill=_ALL)  # fmt: skip

# ---- errors and effects ----

fault(AT, "A body that is no JSON is an empty one.", "ANT47",
      decode=decoding(model="stub-1", messages=[{"role": "user", "content": "Hi"}], max_tokens=2))  # fmt: skip
fault(AT, "Unknown fields are dropped in silence.", "ANT48",
      check=lambda body: [body.pop(name) for name in list(body) if name.startswith("x_")] and None)  # fmt: skip
fault(AT, "Errors have chat's form.", "ANT49", error=drop("type"), may_kill=_ALL)
fault(AT, "An unknown model is an invalid request.", "ANT50",
      error=inside("error", put(type="invalid_request_error")))  # fmt: skip
fault(
    AT,
    "The key in x-api-key is not looked at.",
    "ANT51",
    dialect_key=lambda dialect, headers: headers.get("authorization"),
)
fault(AT, "Temperature is not read.", "ANT69", chat=lambda chat, body: {**chat, "temperature": 0}, may_kill=_ALL)
fault(AT, "The sequence that matched is not told.", "ANT70",
      answer=lambda raw: {**raw, "stop_sequence": None})  # fmt: skip
fault(AT, "Stop sequences are not read.", "ANT70", chat=lambda chat, body: drop("stop")(chat))

# ---- streams ----

fault(AT, "All events are called message.", "ANT71", events=lambda events: [("message", data) for _, data in events])
fault(AT, "The first message has a reason.", "ANT72",
      events=each(inside("message", put(stop_reason="end_turn")), "message_start"))  # fmt: skip
fault(AT, "The first message has no counts.", "ANT72",
      events=each(inside("message", put(usage={})), "message_start"), may_kill=_ALL)  # fmt: skip
fault(AT, "A stream does not end.", "ANT73", events=without("message_stop"))
fault(AT, "Blocks do not end.", "ANT74", events=without("content_block_stop"))
fault(AT, "Indices count from one.", "ANT74",
      events=each(lambda data: {**data, "index": data["index"] + 1} if "index" in data else data))  # fmt: skip
fault(AT, "Input comes in deltas of text.", "ANT75",
      events=each(inside("delta", lambda delta: {"type": "text_delta", "text": delta["partial_json"]}
                         if "partial_json" in delta else delta), "content_block_delta"), may_kill=_ALL)  # fmt: skip
fault(AT, "Blocks begin with text.", "ANT76",
      events=each(inside("content_block", lambda block: {**block, "text": "A"} if "text" in block else block),
                  "content_block_start"), may_kill=_ALL)  # fmt: skip
fault(AT, "The last block is lost in streams.", "ANT77",
      events=without("content_block_delta"), may_kill=_ALL)  # fmt: skip
fault(AT, "The last count is one.", "ANT78", events=each(inside("usage", put(output_tokens=1)), "message_delta"))
fault(AT, "Pieces of input lack their end.", "ANT79",
      events=each(inside("delta", lambda delta: {**delta, "partial_json": delta["partial_json"].replace("}", "")}
                         if "partial_json" in delta else delta), "content_block_delta"), may_kill=_ALL)  # fmt: skip
fault(AT, "A stream ends with [DONE].", "ANT80", stream=lambda data: data + b"data: [DONE]\n\n", may_kill=_ALL)


def _not_checked(body):
    if body.get("stream") and body.get("temperature") == 7:
        body["temperature"] = 1


fault(AT, "A stream is not checked.", "ANT81", check=_not_checked)

# ---- counting ----

fault(AT, "One token too many is counted.", "ANT82", "ANT83", counted=lambda tokens: tokens + 1)
fault(AT, "Only messages are counted.", "ANT83", counted_body=lambda body: drop("system", "tools")(body))
fault(AT, "What is counted is not checked.", "ANT84", counted_body=lambda body: {
    **body, "messages": [{"role": "user", "content": "Hi"}],
} if not body.get("messages") or body["messages"][0]["role"] == "narrator" else body)  # fmt: skip
