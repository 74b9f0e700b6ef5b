"""What the next blind round missed: ids of chunks and calls, ends and log probabilities of streams, caches, blanks."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant


def choices_of(chunks):
    return [choice for chunk in chunks for choice in chunk["choices"]]


@mutant(kills=("SSE5",), may_kill=("N*", "SSE*"), origin="SGLang#39864")
class ChoicesHaveIdsOfTheirOwn(Behaviour):
    """Chunks of each further choice have another id."""

    def chunks(self, chunks, body):
        made = super().chunks(chunks, body)
        for chunk in made:
            at = next((choice["index"] for choice in chunk["choices"]), 0)
            chunk["id"] += str(at) if at else ""
        return made


@mutant(kills=("SSE7",), may_kill=("LP*", "X*", "SSE*"), origin="LiteLLM#10686")
class NoEndBesideLogprobs(Behaviour):
    """A stream with log probabilities never tells its finish_reason."""

    def chunks(self, chunks, body):
        made = super().chunks(chunks, body)
        for choice in choices_of(made) if body.get("logprobs") else ():
            choice["finish_reason"] = None
        return made


@mutant(kills=("SSE7",), may_kill=("STOP*", "N*", "X*", "SSE*"))
class NoEndBesideStop(Behaviour):
    """A stream with stop strings never tells its finish_reason."""

    def chunks(self, chunks, body):
        made = super().chunks(chunks, body)
        for choice in choices_of(made) if body.get("stop") else ():
            choice["finish_reason"] = None
        return made


@mutant(kills=("LP19",), may_kill=("LP*", "X*"), origin="a second writer for text with stop strings")
class NoLogprobsBesideStop(Behaviour):
    """A stream with stop strings has no log probabilities."""

    def chunks(self, chunks, body):
        made = super().chunks(chunks, body)
        for choice in choices_of(made) if body.get("stop") else ():
            choice["logprobs"] = None
        return made


@mutant(kills=("LP19",), may_kill=("LP*", "X*", "N*"))
class NoLogprobsOfFurtherChoices(Behaviour):
    """Only the first choice has log probabilities."""

    def answer(self, answer, body):
        made = super().answer(answer, body)
        for choice in made["choices"][1:]:
            choice["logprobs"] = None
        return made


@mutant(kills=("TOOL5",), may_kill=("TOOL*", "X*"), origin="Xinference#4237")
class CallsShareAnId(Behaviour):
    """All calls of one message have the same id, in JSON answers."""

    def answer(self, answer, body):
        made = super().answer(answer, body)
        for choice in made["choices"]:
            calls = choice["message"].get("tool_calls") or []
            for call in calls:
                call["id"] = calls[0]["id"]
        return made


@mutant(kills=("ISO8",), may_kill=("MSG*",), origin="mlx-lm#1292: a shared beginning is restored wrongly")
class SharedBeginningsEndEarly(Behaviour):
    """After a prompt with the same system message an answer ends after a few tokens."""

    def __init__(self):
        self._last = {}

    def accept(self, request):
        first, *rest = getattr(request.prompt, "messages", None) or (None,)
        if getattr(first, "role", None) != "system" and type(first).__name__ != "SystemMessage":
            return request
        key, after = msgspec.json.encode(first), msgspec.json.encode(rest)
        is_other = self._last.get(key, after) != after
        self._last[key] = after
        most = min(request.max_tokens or 4, 4)
        return msgspec.structs.replace(request, max_tokens=most) if is_other else request


@mutant(kills=("X19",), may_kill=("TOOL*",), origin="vLLM#49412")
class TrimsContentBesideTools(Behaviour):
    """Where tools are given, blanks at both ends of the content are removed in JSON answers."""

    def answer(self, answer, body):
        made = super().answer(answer, body)
        for choice in made["choices"] if body.get("tools") else ():
            if choice["message"].get("content"):
                choice["message"]["content"] = choice["message"]["content"].strip()
        return made
