"""What the next blind round missed: texts and messages made one, talks made shorter, answers of others, flat models."""

from __future__ import annotations

import asyncio
import unicodedata

import msgspec

from conformance_stub import Behaviour, vocabulary
from conformance_stub.mutants import mutant
from enginehouse_plugin import Chat, SystemMessage

_MESSAGES = ("MSG*", "END*", "X*", "REL*")


def composed(value):
    """*value* with all texts in it normalised."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, list):
        return [composed(each) for each in value]
    return {name: composed(each) for name, each in value.items()} if isinstance(value, dict) else value


@mutant(kills=("MSG40",), may_kill=_MESSAGES)
class ComposesCharacters(Behaviour):
    """Messages are normalised to composed characters."""

    def decode(self, data):
        body = super().decode(data)
        return {**body, "messages": composed(body["messages"])} if "messages" in body else body


@mutant(kills=("MSG41",), may_kill=_MESSAGES, origin="gateways to models whose roles alternate")
class MergesMessages(Behaviour):
    """Messages of one role in a row are made one, with an empty line between them."""

    joint = "\n\n"

    def decode(self, data):
        body = super().decode(data)
        made = []
        for message in body.get("messages") if isinstance(body.get("messages"), list) else ():
            if made and is_plain(message) and is_plain(made[-1]) and message["role"] == made[-1]["role"]:
                made[-1] = {**made[-1], "content": f"{made[-1]['content']}{self.joint}{message['content']}"}
            else:
                made.append(message)
        return {**body, "messages": made} if made else body


def is_plain(message):
    return isinstance(message, dict) and message.keys() == {"role", "content"} and isinstance(message["content"], str)


@mutant(kills=("MSG41",), may_kill=_MESSAGES)
class MergesMessagesWithABlank(MergesMessages):
    """Messages of one role in a row are made one, with a blank between them."""

    joint = " "


@mutant(kills=("LEN21",), may_kill=("LEN9", "MSG34"), origin="OpenRouter: transforms")
class DropsTheOldest(Behaviour):
    """Of a talk that is over the context the oldest messages are dropped, those of the system kept."""

    def prompt_tokens(self, request):
        tokens = super().prompt_tokens(request)
        while isinstance(request.prompt, Chat) and len(tokens) >= 2048:
            messages = list(request.prompt.messages)
            at = next((at for at, one in enumerate(messages[:-1]) if not isinstance(one, SystemMessage)), None)
            if at is None:
                break
            del messages[at]
            request = msgspec.structs.replace(request, prompt=Chat(tuple(messages)))
            tokens = super().prompt_tokens(request)
        return tokens


@mutant(
    kills=("ISO9",), may_kill=("ISO*", "ERR*", "C1", "C2"), origin="ChatGPT, March 2023: a cancelled request in a pool"
)
class LeavesItsAnswerBehind(Behaviour):
    """The answer to a request that its client left goes to the next one."""

    def __init__(self):
        self._left = None

    def accept(self, request):
        if request.stream or self._left is None:
            return request
        left, self._left = self._left, None
        return left

    async def events(self, events, request):
        try:
            async for event in super().events(events, request):
                yield event
        except (asyncio.CancelledError, GeneratorExit):
            self._left = None if request.stream else request
            raise


@mutant(kills=("SMP5",), may_kill=("SMP*", "@logprobs"), origin="gateways that drop top_p beside temperature")
class AFlatModelWithoutTopP(Behaviour):
    """top_p is ignored, by a model that finds nearly everything equally likely."""

    def accept(self, request):
        return msgspec.structs.replace(request, top_p=1.0)

    def logits(self, state, position, request, is_structured):
        values = super().logits(state, position, request, is_structured)
        return [value / 20 if at != vocabulary.EOS and value > -9 else value for at, value in enumerate(values)]


@mutant(kills=("TOOL3",), may_kill=("TOOL*", "X*", "RF*", "ISO*", "SCH*", "LEN17", "N*"))
class ANamedToolIsAnyTool(Behaviour):
    """A tool_choice that names a function is read as "required"."""

    def accept(self, request):
        return msgspec.structs.replace(request, tool_choice="required" if named(request) else request.tool_choice)


def named(request):
    return not isinstance(request.tool_choice, str) and request.tool_choice is not None


@mutant(kills=("MSG42",), absent=("image_input",))
class DropsPicturesItCannotSee(Behaviour):
    """Pictures are dropped by a model that sees none."""

    def decode(self, data):
        body = super().decode(data)
        for message in body.get("messages") or ():
            if isinstance(message, dict) and isinstance(message.get("content"), list):
                message["content"] = [part for part in message["content"] if part.get("type") != "image_url"]
        return body


@mutant(kills=("SCH3",), may_kill=("SCH*", "RF*"))
class DropsBounds(Behaviour):
    """The bounds of numbers are dropped from the schema of an answer, as what a backend cannot do."""

    def decode(self, data):
        body = super().decode(data)
        if isinstance(body.get("response_format"), dict):
            body["response_format"] = unbounded(body["response_format"])
        return body


def unbounded(value):
    bounds = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
    if isinstance(value, list):
        return [unbounded(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {name: unbounded(each) for name, each in value.items() if name not in bounds}


@mutant(kills=("TOOL5",), may_kill=("TOOL*", "X18"))
class CallsAreNumbered(Behaviour):
    """Ids of calls are numbers within one answer, the same in every answer."""

    def call_id(self, choice, index, entropy):
        return f"call_{choice}_{index}"
