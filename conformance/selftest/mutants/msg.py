"""Faults in reading messages."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour, Rejected, vocabulary
from conformance_stub.mutants import mutant
from enginehouse_plugin import Chat, DeveloperMessage, SystemMessage, TextPart, ToolMessage, UserMessage
from enginehouse_plugin.errors import EngineFailure


def with_messages(request, messages):
    return msgspec.structs.replace(request, prompt=Chat(tuple(messages)))


@mutant(kills=("MSG1", "MSG18", "MSG25"), may_kill=("MSG2", "MSG16", "MSG32", "MSG35"), in_process=True)
class DropsTheSystemMessage(Behaviour):
    """The system message does not reach the model."""

    def accept(self, request):
        kept = (message for message in request.prompt.messages if not isinstance(message, SystemMessage))
        return with_messages(request, kept)


@mutant(kills=("MSG2", "MSG18", "MSG23"), may_kill=("MSG16",), in_process=True)
class DropsTheDeveloper(Behaviour):
    """The developer's message does not reach the model."""

    def accept(self, request):
        kept = (message for message in request.prompt.messages if not isinstance(message, DeveloperMessage))
        return with_messages(request, kept)


@mutant(kills=("MSG2",), in_process=True)
class TakesTheDeveloperForAUser(Behaviour):
    """The developer's message is taken for a user's."""

    def accept(self, request):
        changed = (
            UserMessage(message.content) if isinstance(message, DeveloperMessage) else message
            for message in request.prompt.messages
        )
        return with_messages(request, changed)


@mutant(kills=("MSG3",), may_kill=("MSG42", "MSG20", "MSG21", "MSG22", "MSG4", "MSG16"), in_process=True)
class ReadsTheFirstPart(Behaviour):
    """Of an array of parts only the first is read."""

    def accept(self, request):
        changed = []
        for message in request.prompt.messages:
            if isinstance(message.content, tuple):
                message = msgspec.structs.replace(message, content=message.content[:1])
            changed.append(message)
        return with_messages(request, changed)


@mutant(
    kills=("MSG3", "MSG4"),
    may_kill=(
        "MSG20",
        "MSG21",
        "MSG22",
        "MSG16",
        "MSG38",
        "MSG40",
        "MSG42",
    ),
)
class RefusesParts(Behaviour):
    """Content must be a string."""

    def problem(self, name, value, body, profile):
        if name == "messages" and any(isinstance(message.get("content"), list) for message in value):
            return "content must be a string"
        return super().problem(name, value, body, profile)


@mutant(
    kills=("MSG4",),
    may_kill=("MSG42", "MSG20", "MSG21", "MSG22"),
    origin="Ollama: text parts become separate messages",
    in_process=True,
)
class AMessagePerPart(Behaviour):
    """Every text part is followed by another message."""

    def accept(self, request):
        split = []
        for message in request.prompt.messages:
            if isinstance(message, UserMessage) and not isinstance(message.content, str):
                split += [UserMessage(part.text) for part in message.content if isinstance(part, TextPart)]
                message = UserMessage("")
            split.append(message)
        return with_messages(request, split)


@mutant(
    kills=("MSG5",), may_kill=("LEN21", "MSG1", "MSG2", "MSG6", "MSG25", "MSG27", "MSG34", "MSG35"), in_process=True
)
class ReadsTheLastMessages(Behaviour):
    """Only the last two messages are read."""

    def accept(self, request):
        return with_messages(request, request.prompt.messages[-2:])


@mutant(
    kills=("MSG6",),
    may_kill=(
        "LEN21",
        "MSG13",
        "TOOL*",
        "MSG16",
        "MSG17",
        "MSG26",
        "MSG28",
        "MSG29",
        "MSG8",
        "MSG32",
        "MSG38",
        "MSG39",
    ),
)
class NeedsContentBesideCalls(Behaviour):
    """An assistant's message must have content, calls or not."""

    def problem(self, name, value, body, profile):
        if name == "messages" and any(isinstance(one, dict) and one.get("content", "") is None for one in value):
            return "content must be a string"
        return super().problem(name, value, body, profile)


@mutant(
    kills=("MSG6",),
    may_kill=("LEN21", "TOOL*", "MSG16", "MSG17", "MSG26", "MSG28", "MSG29", "MSG8", "MSG32", "MSG38", "MSG39"),
    in_process=True,
)
class FailsOnTools(Behaviour):
    """A tool's reply breaks the chat template."""

    def prompt_tokens(self, request):
        if any(isinstance(message, ToolMessage) for message in request.prompt.messages):
            raise EngineFailure("the template raised: unknown role tool")
        return super().prompt_tokens(request)


@mutant(kills=("MSG7",))
class TakesAnyReply(Behaviour):
    """tool_call_id is not looked at."""

    def problem(self, name, value, body, profile):
        problem = super().problem(name, value, body, profile)
        return None if problem and "tool_call_id" in problem else problem


def refuses_in_messages(key):
    """A `problem` that knows no *key* in messages."""

    def problem(self, name, value, body, profile):
        if name == "messages" and any(isinstance(message, dict) and key in message for message in value):
            return f"has an unknown key {key}"
        return super(Behaviour, self).problem(name, value, body, profile)

    return problem


@mutant(kills=("MSG8",))
class RefusesNames(Behaviour):
    """`name` is refused."""

    problem = refuses_in_messages("name")


@mutant(kills=("MSG9",), may_kill=("SSE16", "ISO4"))
class TakesNoMessages(Behaviour):
    """An empty conversation is answered."""

    def problem(self, name, value, body, profile):
        return None if name == "messages" and value == [] else super().problem(name, value, body, profile)


@mutant(kills=("MSG9",), may_kill=("ERR1", "ERR2"), origin="mlx_lm.server: a missing field is no 400")
class MissingMessagesAre500(Behaviour):
    """Without messages it fails with a KeyError."""

    def check_fields(self, body, profile):
        if "messages" not in body:
            raise Rejected("'messages'", status=500)
        super().check_fields(body, profile)


def changing_messages(change):
    """A `check_fields` that repairs each message in place before it looks."""

    def check_fields(self, body, profile):
        for message in body.get("messages") or ():
            if isinstance(message, dict):
                change(message)
        super(Behaviour, self).check_fields(body, profile)

    return check_fields


@mutant(kills=("MSG10",), origin="llama-server: the template takes any role")
class TakesAnyRole(Behaviour):
    """An unknown role counts as the user's."""

    check_fields = changing_messages(
        lambda message: (
            message.get("role") in ("system", "developer", "user", "assistant", "tool") or message.update(role="user")
        )
    )


@mutant(kills=("MSG10",))
class LowersRoles(Behaviour):
    """Roles are compared without regard to case."""

    check_fields = changing_messages(lambda message: message.update(role=str(message.get("role")).lower()))


@mutant(kills=("MSG11",))
class PrintsNumbers(Behaviour):
    """A number as content is read as its digits."""

    check_fields = changing_messages(
        lambda message: (
            isinstance(message.get("content"), int | float) and message.update(content=str(message["content"]))
        )
    )


@mutant(kills=("MSG12",))
class RefusesEarlierReasoning(Behaviour):
    """reasoning_content is refused."""

    problem = refuses_in_messages("reasoning_content")


@mutant(kills=("MSG13",))
class RefusesEarlierRefusals(Behaviour):
    """refusal is refused."""

    problem = refuses_in_messages("refusal")


@mutant(kills=("MSG14",), origin="servers that tokenize the rendered template with its specials", in_process=True)
class ReadsMarksInTexts(Behaviour):
    """The template's marks in a text are control tokens."""

    def prompt_tokens(self, request):
        tokens = super().prompt_tokens(request)
        for token, mark in vocabulary.SPECIALS.items():
            tokens = replaced(tokens, vocabulary.encode(mark), token)
        return tokens


def replaced(tokens, part, by):
    """*tokens* with *by* for each run of *part*."""
    made, at = [], 0
    while at < len(tokens):
        found = tokens[at : at + len(part)] == part
        made.append(by if found else tokens[at])
        at += len(part) if found else 1
    return made


@mutant(kills=("MSG15",))
class FailsOnNul(Behaviour):
    """U+0000 ends the prompt with an internal error."""

    def check_fields(self, body, profile):
        super().check_fields(body, profile)
        if any("\0" in str(message["content"]) for message in body["messages"]):
            raise Rejected("embedded null character", status=500)
