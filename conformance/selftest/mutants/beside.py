"""What counts only until something stands beside it: messages, streams, limits; and texts that are nearly right."""

from __future__ import annotations

import unicodedata

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from enginehouse_plugin import Chat, SystemMessage


def with_messages(request, keep):
    """*request* with those of its messages that *keep* is true of."""
    if not isinstance(request.prompt, Chat):
        return request
    kept = tuple(message for message in request.prompt.messages if keep(message))
    return msgspec.structs.replace(request, prompt=Chat(messages=kept))


def is_no_system(message):
    return not isinstance(message, SystemMessage)


@mutant(kills=("MSG35",), may_kill=("TOOL*", "X*"), origin="a template whose words about tools replace the system's")
class ToolsReplaceTheSystem(Behaviour):
    """Where tools are given, system messages are dropped."""

    def accept(self, request):
        return with_messages(request, is_no_system) if request.tools else request


@mutant(kills=("MSG35",), may_kill=("RF*", "X*", "SCH*"))
class SchemasForgetTheHistory(Behaviour):
    """Under a schema only the last message is read."""

    def accept(self, request):
        if request.output is None or not isinstance(request.prompt, Chat):
            return request
        last = request.prompt.messages[-1]
        return with_messages(request, lambda message: message is last)


@mutant(kills=("MSG35",), may_kill=("N*", "X*"))
class ChoicesForgetTheSystem(Behaviour):
    """Where several choices are asked for, system messages are dropped."""

    def accept(self, request):
        return with_messages(request, is_no_system) if request.n > 1 else request


@mutant(kills=("SSE27",), may_kill=("MSG*", "SSE*"))
class StreamsDropTheSystem(Behaviour):
    """Streams drop system messages."""

    def accept(self, request):
        return with_messages(request, is_no_system) if request.stream else request


@mutant(kills=("SSE27",), may_kill=("TOOL*", "X*", "SSE*", "@stream"))
class StreamsShowNoTools(Behaviour):
    """The model is not told of tools in a stream."""

    def prompt_tokens(self, request):
        return super().prompt_tokens(msgspec.structs.replace(request, tools=()) if request.stream else request)


@mutant(kills=("SSE27",), may_kill=("MSG*", "SSE*"))
class StreamsReadTheLastTurn(Behaviour):
    """Streams read the last message alone."""

    def accept(self, request):
        if not request.stream or not isinstance(request.prompt, Chat):
            return request
        last = request.prompt.messages[-1]
        return with_messages(request, lambda message: message is last)


@mutant(kills=("MSG36",), may_kill=("MSG40",), origin="a router that normalises what it logs")
class ReadsCompatibleForms(Behaviour):
    """Texts are read in their compatibility form (NFKC), typographic quotes and dashes as plain ones."""

    def decode(self, data):
        body = super().decode(data)
        for message in body.get("messages") or ():
            if isinstance(message, dict) and isinstance(message.get("content"), str):
                plain = message["content"].replace("\u201c", '"').replace("\u2013", "-")
                message["content"] = unicodedata.normalize("NFKC", plain)
        return body


@mutant(kills=("STOP15",), may_kill=("STOP*", "N*", "X*", "BIAS*", "LEN*", "RF*", "TOOL*"))
class TheLimitComesFirst(Behaviour):
    """An answer of as many tokens as max_tokens allows says "length", also where a stop string ended it."""

    def answer(self, answer, body):
        made = super().answer(answer, body)
        if body.get("stop") and made["usage"]["completion_tokens"] == body.get("max_tokens"):
            for choice in made["choices"]:
                choice["finish_reason"] = "length"
        return made


@mutant(kills=("STOP6",), may_kill=("STOP*", "X*", "N*", "LP*"))
class StopsAreCut(Behaviour):
    """Of a stop string the first 20 characters are compared."""

    def accept(self, request):
        return msgspec.structs.replace(request, stop=tuple(stop[:20] for stop in request.stop))


@mutant(kills=("LP20",), may_kill=("LP18",))
class TokensAreTrimmed(Behaviour):
    """Tokens of log probabilities have no blanks at their ends; their bytes do."""

    def entry(self, logits, token, request):
        made = super().entry(logits, token, request)
        top = tuple(msgspec.structs.replace(other, token=other.token.strip()) for other in made.top)
        return msgspec.structs.replace(made, token=made.token.strip(), top=top)


@mutant(kills=("ENV17",), may_kill=("PRF*",))
class ErrorsArePlainText(Behaviour):
    """Errors say that they are text/plain."""

    def error(self, status, error, headers):
        status, error, headers = super().error(status, error, headers)
        kept = [(name, value) for name, value in headers if name != "content-type"]
        return status, error, [*kept, ("content-type", "text/plain")]


@mutant(kills=("ISO7",), may_kill=("ISO*", "MSG*", "LEN*", "SSE*", "N*", "SMP*", "STOP*", "LP*", "TOOL*", "X*", "ENV*"))
class KeepsTheSystem(Behaviour):
    """A system message stays for later requests that have none."""

    def __init__(self):
        self._last = None

    def accept(self, request):
        if not isinstance(request.prompt, Chat):
            return request
        own = [message for message in request.prompt.messages if isinstance(message, SystemMessage)]
        if own or self._last is None:
            self._last = own[-1] if own else None
            return request
        return msgspec.structs.replace(request, prompt=Chat(messages=(self._last, *request.prompt.messages)))


@mutant(kills=("TOOL1",), may_kill=("TOOL*", "X*", "SSE*"))
class StreamsIgnoreNone(Behaviour):
    """tool_choice "none" is "auto" in streams."""

    def accept(self, request):
        is_none = request.stream and request.tools and request.tool_choice == "none"
        return msgspec.structs.replace(request, tool_choice="auto") if is_none else request
