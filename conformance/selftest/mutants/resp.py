"""Faults of Responses."""

from __future__ import annotations

from conformance_stub.dialects import Made
from conformance_stub.faults import decoding, drop, each, fault, faults_of_cases, inside, put, without
from conformance_stub.wire_parts import Rejected

AT = "responses"
_ENDS = ("response.completed", "response.incomplete")
_ALL = ("RESP*",)

faults_of_cases("RESP", but=("RESP57", "RESP64", "RESP65"))
fault(AT, "A schema that is none is as if it were not there.", "RESP57",
      chat=lambda chat, body: drop("response_format")(chat) if "no_such_type" in str(chat) else chat)  # fmt: skip
fault(AT, "An earlier response that nobody knows is as if it were not there.", "RESP64",
      check=lambda body: body.pop("previous_response_id", None))  # fmt: skip
fault(AT, "An input that is too long loses its beginning.", "RESP65",
      fit_prompt=lambda tokens, limit: tokens[-limit // 2 :])  # fmt: skip

# ---- the envelope ----

fault(AT, "The answer has no usage.", "RESP1", answer=drop("usage"), may_kill=_ALL)
fault(AT, "The object is that of chat.", "RESP2", answer=put(object="chat.completion"))
fault(AT, "Every response has the same id.", "RESP3", answer=put(id="resp_0"))
fault(AT, "The id of a stream is another in each event.", "RESP3",
      events=lambda events: [(name, inside("response", put(id=f"resp_{at}"))(data))
                             for at, (name, data) in enumerate(events)])  # fmt: skip
fault(AT, "The time is in milliseconds.", "RESP4", answer=lambda raw: {**raw, "created_at": raw["created_at"] * 1000})
fault(AT, "A whole answer has incomplete_details.", "RESP5", answer=put(incomplete_details={"reason": None}),
      may_kill=("RESP6", "RESP98"))  # fmt: skip
fault(AT, "A cut answer is completed.", "RESP6", answer=put(status="completed", incomplete_details=None),
      may_kill=_ALL)  # fmt: skip
fault(AT, "Content has no annotations.", "RESP7",
      answer=inside("output", inside("content", drop("annotations"))), may_kill=("RESP98",))  # fmt: skip
fault(AT, "Cut items are completed.", "RESP8", answer=inside("output", put(status="completed")), may_kill=("RESP98",))
fault(AT, "Items have no ids.", "RESP9", answer=inside("output", drop("id")))
fault(AT, "Another model is named.", "RESP10", answer=put(model="gpt"))
fault(AT, "The total leaves out the answer.", "RESP11",
      answer=inside("usage", lambda usage: {**usage, "total_tokens": usage["input_tokens"]}))  # fmt: skip
fault(AT, "All tokens and one are told as cached.", "RESP12",
      answer=inside("usage", lambda usage: {**usage, "input_tokens_details": {"cached_tokens": 10**6}}))  # fmt: skip
fault(AT, "A token more than the limit is made.", "RESP13",
      chat=lambda chat, body: {**chat, "max_tokens": chat["max_tokens"] + 1} if "max_tokens" in chat else chat,
      may_kill=_ALL)  # fmt: skip
fault(AT, "Calls have their arguments as an object.", "RESP14",
      answer=inside("output", lambda item: {**item, "arguments": {}} if "arguments" in item else item),
      may_kill=_ALL)  # fmt: skip
fault(AT, "Calls have no call_id.", "RESP14", answer=inside("output", drop("call_id")))
fault(AT, "The end has no time.", "RESP15", answer=put(completed_at=None))

# ---- requests ----


fault(AT, "A body that is no JSON is an empty one.", "RESP66",
      decode=decoding(model="stub-1", input="Say hello.", max_output_tokens=2))  # fmt: skip
fault(AT, "Unknown fields are dropped in silence.", "RESP67",
      check=lambda body: [body.pop(name) for name in list(body) if name.startswith("x_")] and None)  # fmt: skip
fault(AT, "Errors are flat.", "RESP68", error=lambda raw: raw["error"])
fault(AT, "Log probabilities are not asked for.", "RESP82", chat=lambda chat, body: drop("logprobs")(chat))
fault(AT, "Temperature is not read.", "RESP83", chat=lambda chat, body: {**chat, "temperature": 0}, may_kill=_ALL)

# ---- streams ----


def renumbered(events: list[Made]) -> list[Made]:
    return [(name, {**data, "sequence_number": at}) for at, (name, data) in enumerate(events)]


def swapped(first: str, second: str):
    """Events of these types change places where they are neighbours."""

    def edit(events: list[Made]) -> list[Made]:
        made = list(events)
        for at in range(len(made) - 1):
            if (made[at][0], made[at + 1][0]) == (first, second):
                made[at], made[at + 1] = made[at + 1], made[at]
        return renumbered(made)

    return edit


fault(AT, "All events are called message.", "RESP87", events=lambda events: [("message", data) for _, data in events])
fault(AT, "Sequence numbers begin with one.", "RESP88",
      events=each(lambda data: {**data, "sequence_number": data["sequence_number"] + 1}))  # fmt: skip
fault(AT, "A stream does not tell that it is in progress.", "RESP89",
      events=lambda events: renumbered(without("response.in_progress")(events)))  # fmt: skip
fault(AT, "A response begins as completed.", "RESP89",
      events=each(inside("response", put(status="completed")), "response.created"))  # fmt: skip
fault(AT, "A cut answer ends as completed.", "RESP90",
      events=lambda events: [("response.completed", {**data, "type": "response.completed"}) if name in _ENDS
                             else (name, data) for name, data in events])  # fmt: skip
fault(AT, "A comment event follows the end.", "RESP90",
      events=lambda events: [*events, ("done", {"type": "done", "sequence_number": len(events)})],
      may_kill=_ALL)  # fmt: skip
fault(AT, "Items do not end.", "RESP91",
      events=lambda events: renumbered(without("response.output_item.done")(events)), may_kill=_ALL)  # fmt: skip
fault(AT, "A part ends after its item.", "RESP92",
      events=swapped("response.content_part.done", "response.output_item.done"))  # fmt: skip
fault(AT, "Parts do not begin.", "RESP92",
      events=lambda events: renumbered(without("response.content_part.added")(events)))  # fmt: skip
fault(AT, "Deltas name another item.", "RESP93", events=each(put(item_id="msg_0"), "response.output_text.delta"))
fault(AT, "The text of the end lacks its last character.", "RESP94",
      events=each(lambda data: {**data, "text": data["text"][:-1]}, "response.output_text.done"))  # fmt: skip
fault(AT, "The first delta is lost.", "RESP94",
      events=lambda events: renumbered([
          event for at, event in enumerate(events)
          if event[0] != "response.output_text.delta" or events[at - 1][0] == "response.output_text.delta"
      ]), may_kill=("RESP98",))  # fmt: skip
fault(AT, "The end of arguments has none.", "RESP95",
      events=each(put(arguments=""), "response.function_call_arguments.done"))  # fmt: skip
fault(AT, "A call begins without its call_id.", "RESP96",
      events=each(inside("item", drop("call_id")), "response.output_item.added"))  # fmt: skip
fault(AT, "The last event has no output.", "RESP97",
      events=each(inside("response", put(output=[])), *_ENDS), may_kill=("RESP98",))  # fmt: skip
fault(AT, "Streamed items lack their text.", "RESP98",
      events=each(inside("response", inside("output", put(content=[]))), *_ENDS), may_kill=("RESP97",))  # fmt: skip
fault(AT, "A stream has no usage.", "RESP99", events=each(inside("response", put(usage=None)), *_ENDS), may_kill=_ALL)
fault(AT, "Usage comes with the first event.", "RESP99",
      events=each(inside("response", put(usage={"input_tokens": 1})), "response.created"))  # fmt: skip
fault(AT, "Items begin as completed.", "RESP100",
      events=each(inside("item", put(status="completed")), "response.output_item.added"))  # fmt: skip
fault(AT, "A stream ends with [DONE].", "RESP101", stream=lambda data: data + b"data: [DONE]\n\n", may_kill=_ALL)
fault(AT, "Deltas have no logprobs.", "RESP102", events=each(drop("logprobs"), "response.output_text.delta"))


def _served_as_stream(body):
    if body.get("stream") and body.get("temperature") == 7:
        body["temperature"] = 1


fault(AT, "A stream is not checked.", "RESP103", check=_served_as_stream)

# ---- kept responses ----


def _lost(answer):
    return {**answer, "usage": None}


fault(AT, "A kept response has no usage.", "RESP104", kept_answer=_lost)
fault(AT, "Every response is kept.", "RESP105", keeps=lambda body: True)
fault(AT, "What is deleted can still be got.", "RESP106", deletes=lambda: False)
fault(AT, "Unknown ids are a bad request.", "RESP107", may_kill=("RESP105", "RESP106"),
      unknown_response=lambda: Rejected("no such response", status=400))  # fmt: skip
fault(AT, "Items are listed in one order.", "RESP108", listed=lambda items, order: items)
fault(AT, "Earlier turns are forgotten.", "RESP109", "RESP110", continued=lambda before, instructions: [])
fault(AT, "Earlier instructions are carried over.", "RESP110",
      continued=lambda before, instructions: [
          *([{"role": "system", "content": instructions}] if instructions else []), *before
      ])  # fmt: skip
fault(AT, "The background is left waiting.", "RESP111", finishes_in_background=lambda: False, time_scale=0.02)
