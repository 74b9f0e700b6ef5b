"""Faults of the kinds that a third blind round put before a correct server, and that the rules of the time missed."""

from __future__ import annotations

import json

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from enginehouse_plugin import SystemMessage


def replaced(value, one):
    """*value*, JSON, with what *one* makes of each of its leaves."""
    if isinstance(value, dict):
        return {key: replaced(entry, one) for key, entry in value.items()}
    return [replaced(entry, one) for entry in value] if isinstance(value, list) else one(value)


@mutant(kills=("RF25",), may_kill=("RF*", "X*"), origin="enums that an upstream takes as strings alone")
class EnumsAreStrings(Behaviour):
    """The numbers of an enum are strings."""

    def answer(self, answer, body):
        if "number" in json.dumps(body.get("response_format")):
            for choice in answer["choices"]:
                choice["message"]["content"] = self._strings(choice["message"]["content"])
        return answer

    def _strings(self, text):
        try:
            return json.dumps(replaced(json.loads(text), lambda leaf: str(leaf) if type(leaf) is int else leaf))
        except ValueError:
            return text


@mutant(kills=("TOOL23",), origin="calls read from a format like XML, without the tool's parameters")
class ArgumentsAreWords(Behaviour):
    """A boolean among the arguments is the string "True" or "False"."""

    def answer(self, answer, body):
        for choice in answer["choices"]:
            for call in choice["message"].get("tool_calls") or ():
                call["function"]["arguments"] = self._words(call["function"]["arguments"])
        return answer

    def _words(self, text):
        try:
            return json.dumps(replaced(json.loads(text), lambda leaf: str(leaf) if isinstance(leaf, bool) else leaf))
        except ValueError:
            return text


@mutant(kills=("MSG24",), may_kill=("MSG15",), origin="columns of three bytes a character")
class DropsEmoji(Behaviour):
    """Characters beyond the first 65,536 are dropped from messages."""

    def prepare(self, body):
        kept = super().prepare(body)

        def one(leaf):
            return "".join(char for char in leaf if ord(char) < 1 << 16) if isinstance(leaf, str) else leaf

        return {**kept, "messages": replaced(kept["messages"], one)}


def with_messages(request, messages):
    prompt = msgspec.structs.replace(request.prompt, messages=tuple(messages))
    return msgspec.structs.replace(request, prompt=prompt)


@mutant(kills=("MSG25",), may_kill=("MSG18",), in_process=True)
class ReadsTheLastSystemMessage(Behaviour):
    """Of several system messages the last alone is read."""

    def accept(self, request):
        systems = [message for message in request.prompt.messages if isinstance(message, SystemMessage)]
        return with_messages(
            request,
            [message for message in request.prompt.messages if message not in systems or message is systems[-1]],
        )


@mutant(kills=("MSG26",), in_process=True)
class DropsTextBesideCalls(Behaviour):
    """The text of an assistant message that has calls is dropped."""

    def accept(self, request):
        return with_messages(
            request,
            [
                msgspec.structs.replace(message, content=None) if getattr(message, "tool_calls", None) else message
                for message in request.prompt.messages
            ],
        )


@mutant(kills=("ERR12",))
class ListsAModelTwice(Behaviour):
    """The models route lists the model twice."""

    def models(self):
        listed = super().models()
        return {**listed, "data": listed["data"] * 2}
