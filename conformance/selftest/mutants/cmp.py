"""Faults of completions."""

from __future__ import annotations

from conformance_stub.faults import decoding, drop, each, fault, faults_of_cases, inside, put

AT = "completions"
_ALL = ("CMP*",)

faults_of_cases("CMP", but=("CMP28", "CMP46"))
fault(AT, "A prompt that is too long loses its beginning.", "CMP28",
      fit_prompt=lambda tokens, limit: tokens[-limit // 2 :])  # fmt: skip


def _named_for_chat(events):
    return each(put(object="chat.completion.chunk"))(events)


fault(AT, "The answer has no usage.", "CMP1", answer=drop("usage"), may_kill=_ALL)
fault(AT, "Chunks are those of chat.", "CMP2", events=_named_for_chat)
fault(AT, "Every completion has the same id.", "CMP3", answer=put(id="cmpl-0"))
fault(AT, "The time is in milliseconds.", "CMP4", answer=lambda raw: {**raw, "created": raw["created"] * 1000})
fault(AT, "Choices have no logprobs.", "CMP5", answer=inside("choices", drop("logprobs")))
fault(AT, "A cut text has the reason stop.", "CMP6", answer=inside("choices", put(finish_reason="stop")),
      may_kill=_ALL)  # fmt: skip
fault(AT, "The total leaves out the text.", "CMP7",
      answer=inside("usage", lambda usage: {**usage, "total_tokens": usage["prompt_tokens"]}))  # fmt: skip
fault(AT, "Thirty tokens are the default.", "CMP8",
      chat=lambda chat, body: chat if "max_tokens" in body else {**chat, "max_tokens": 30})  # fmt: skip
fault(AT, "A token more than the limit is made.", "CMP9",
      chat=lambda chat, body: {**chat, "max_tokens": chat["max_tokens"] + 1}, may_kill=_ALL)  # fmt: skip
fault(AT, "A body that is no JSON is an empty one.", "CMP29",
      decode=decoding(model="stub-1", prompt="Once", max_tokens=2))  # fmt: skip
fault(AT, "Unknown fields are dropped in silence.", "CMP30",
      check=lambda body: [body.pop(name) for name in list(body) if name.startswith("x_")] and None)  # fmt: skip
fault(AT, "Errors are flat.", "CMP31", error=lambda raw: raw["error"])
fault(AT, "Temperature is not read.", "CMP35", chat=lambda chat, body: {**chat, "temperature": 0}, may_kill=_ALL)
fault(AT, "The seed is not read.", "CMP36", chat=lambda chat, body: drop("seed")(chat))
fault(AT, "Stop strings are not read.", "CMP37", chat=lambda chat, body: drop("stop")(chat))
fault(AT, "One choice is made whatever n says.", "CMP38", chat=lambda chat, body: drop("n")(chat))
fault(AT, "The prompt is not echoed.", "CMP39", chat=lambda chat, body: [body.pop("echo", None), chat][1])
fault(AT, "Tokens have no offsets.", "CMP40",
      answer=inside("choices", lambda choice: {**choice, "logprobs": drop("text_offset")(choice["logprobs"])}
                    if choice["logprobs"] else choice))  # fmt: skip
fault(AT, "The first chunk is lost.", "CMP41", events=lambda events: events[1:], may_kill=_ALL)
fault(AT, "A stream has no usage.", "CMP42",
      events=lambda events: events[:-1] if events[-1][0] == "usage" else events, may_kill=_ALL)  # fmt: skip


def _not_checked(body):
    if body.get("stream") and body.get("temperature") == 7:
        body["temperature"] = 1


fault(AT, "A stream is not checked.", "CMP43", check=_not_checked)


def _without_suffix(chat, body):
    return {**chat, "raw": body["prompt"]} if body.get("suffix") else chat


def _without_echo(body):
    if body.get("suffix"):
        body.pop("echo", None)


fault(AT, "A suffix is dropped in silence.", "CMP44", chat=_without_suffix)
fault(AT, "Nothing is echoed before a suffix.", "CMP45", check=_without_echo)
fault(AT, "A model that is said not to fill in does.", "CMP46", absent=("suffix",))
