"""What a server between does quietly: to the ends of texts, to arguments, and to the pieces of streamed calls."""

from __future__ import annotations

import copy
import html
import json

from conformance_stub import Behaviour
from conformance_stub.faults import fault
from conformance_stub.mutants import mutant

_MESSAGES = ("MSG*", "END*", "X*")


def trimmed(content, *, parts=False):
    """*content* without blanks at its ends; text parts too, where *parts* is set."""
    if isinstance(content, str):
        return content.strip()
    if parts and isinstance(content, list):
        return [
            {**part, "text": part["text"].strip()} if isinstance(part.get("text"), str) else part for part in content
        ]
    return content


class ChangesTexts(Behaviour):
    """Each content of a message passes through `changed`."""

    def changed(self, message, body):
        raise NotImplementedError

    def decode(self, data):
        body = super().decode(data)
        for message in body.get("messages") or ():
            if isinstance(message, dict) and message.get("content"):
                message["content"] = self.changed(message, body)
        return body


@mutant(kills=("MSG37", "MSG38"), may_kill=(*_MESSAGES, "REL*", "TOK4"))
class TrimsMessages(ChangesTexts):
    """Messages are trimmed at both ends before the template shows them."""

    def changed(self, message, body):
        return trimmed(message["content"])


@mutant(kills=("MSG37", "MSG38"), may_kill=_MESSAGES)
class TrimsTheEndOfInstructions(ChangesTexts):
    """A system message loses the blanks at its end."""

    def changed(self, message, body):
        content = message["content"]
        return content.rstrip() if message["role"] == "system" and isinstance(content, str) else content


@mutant(kills=("MSG38",), may_kill=_MESSAGES)
class TrimsPartsToo(ChangesTexts):
    """Texts are trimmed at both ends, whatever form they have."""

    def changed(self, message, body):
        return trimmed(message["content"], parts=True)


@mutant(kills=("MSG38",), may_kill=_MESSAGES)
class TrimsResults(ChangesTexts):
    """Results of tools are trimmed at both ends."""

    def changed(self, message, body):
        return trimmed(message["content"]) if message["role"] == "tool" else message["content"]


@mutant(kills=("SSE27",), may_kill=("SSE*", *_MESSAGES))
class StreamsTrimMessages(ChangesTexts):
    """Messages are trimmed at both ends in streams."""

    def changed(self, message, body):
        return trimmed(message["content"]) if body.get("stream") else message["content"]


@mutant(kills=("MSG36",), may_kill=_MESSAGES, origin="a gateway that cleans what users send")
class ReadsEscapes(ChangesTexts):
    """Escapes of HTML in a text are read as the characters that they stand for."""

    def changed(self, message, body):
        content = message["content"]
        return html.unescape(content) if isinstance(content, str) else content


@mutant(kills=("MSG36",), may_kill=_MESSAGES, origin="a filter against hidden characters")
class DropsJoiners(ChangesTexts):
    """Characters of no width are dropped from texts."""

    def changed(self, message, body):
        content = message["content"]
        return content.replace("\u200d", "") if isinstance(content, str) else content


class ChangesHistory(Behaviour):
    """The arguments of each call of the history are written anew by `written`, where they are JSON."""

    def written(self, arguments):
        raise NotImplementedError

    def decode(self, data):
        body = super().decode(data)
        for message in body.get("messages") or ():
            for call in (isinstance(message, dict) and message.get("tool_calls")) or ():
                try:
                    call["function"]["arguments"] = self.written(json.loads(call["function"]["arguments"]))
                except (ValueError, TypeError, KeyError, OverflowError):
                    continue
        return body


@mutant(kills=("MSG39",), may_kill=("MSG*", "TOOL*"), origin="Ollama: arguments are a map of Go")
class SortsArguments(ChangesHistory):
    """Arguments of earlier calls have their keys sorted."""

    def written(self, arguments):
        return json.dumps(arguments, sort_keys=True)


@mutant(kills=("MSG39",), may_kill=("MSG*", "TOOL*"))
class ArgumentsOfDoubles(ChangesHistory):
    """Integers in arguments of earlier calls are doubles."""

    def written(self, arguments):
        return json.dumps(json.loads(json.dumps(arguments), parse_int=lambda digits: int(float(digits))))


def _calls_of(chunks):
    return [call for chunk in chunks for choice in chunk["choices"] for call in choice["delta"].get("tool_calls") or ()]


@mutant(kills=("TOOL29",), may_kill=("TOOL*", "X*", "SSE*", "RF*"))
class LosesTheLastBrace(Behaviour):
    """The last piece of the arguments of a streamed call is cut by a character."""

    def is_cut(self, body):
        return True

    def chunks(self, chunks, body):
        made = super().chunks(chunks, body)
        for call in _calls_of(made) if self.is_cut(body) else ():
            function = call["function"]
            if function["arguments"].endswith("}"):
                function["arguments"] = function["arguments"][:-1]
        return made


@mutant(kills=("TOOL29",), may_kill=("TOOL*", "X*"), origin="a server whose parser of calls ends a token early")
class LosesTheLastBraceOfItsOwn(LosesTheLastBrace):
    """The last brace of streamed arguments is lost where no tool_choice forces the call."""

    def is_cut(self, body):
        return body.get("tool_choice", "auto") == "auto"


class Counting(Behaviour):
    """Counts the pieces of arguments of each stream."""

    def __init__(self):
        self._pieces = {}

    def at(self, chunk, call):
        """Which piece of arguments of its stream that of *call* is, from 1; 0 where it has none."""
        if not call["function"]["arguments"]:
            return 0
        self._pieces[chunk["id"]] = self._pieces.get(chunk["id"], 0) + 1
        return self._pieces[chunk["id"]]


@mutant(kills=("TOOL29",), may_kill=("TOOL*", "X*", "SSE*"))
class LosesPiecesOfArguments(Counting):
    """The thirtieth piece of streamed arguments is lost."""

    def chunks(self, chunks, body):
        made = super().chunks(chunks, body)
        for chunk in made:
            for call in _calls_of([chunk]):
                if self.at(chunk, call) == 30:
                    call["function"]["arguments"] = ""
        return made


@mutant(kills=("TOOL29",), may_kill=("TOOL*", "X*", "SSE*"))
class RepeatsPiecesOfArguments(Counting):
    """The thirtieth piece of streamed arguments comes twice, where usage is asked for."""

    def chunks(self, chunks, body):
        sent = []
        for chunk in super().chunks(chunks, body):
            sent.append(chunk)
            is_again = [self.at(chunk, call) == 30 for call in _calls_of([chunk])]
            if any(is_again) and (body.get("stream_options") or {}).get("include_usage"):
                sent.append(copy.deepcopy(chunk))
        return sent


@mutant(kills=("TOOL29", "SSE7"), may_kill=("TOOL*", "X*", "SSE*", "N*"))
class ArgumentsAfterTheEnd(Behaviour):
    """The last brace of streamed arguments comes after the finish_reason."""

    def __init__(self):
        self._held = {}

    def chunks(self, chunks, body):
        sent = []
        for chunk in super().chunks(chunks, body):
            for call in _calls_of([chunk]):
                if call["function"]["arguments"].endswith("}"):
                    self._held[chunk["id"]] = copy.deepcopy(chunk)
                    call["function"]["arguments"] = call["function"]["arguments"][:-1]
            sent.append(chunk)
            if any(choice["finish_reason"] for choice in chunk["choices"]) and chunk["id"] in self._held:
                late = self._held.pop(chunk["id"])
                for call in _calls_of([late]):
                    call["function"] = {"arguments": "}"}
                sent.append(late)
        return sent


@mutant(kills=("X18",), may_kill=("TOOL*", "N*", "X*"))
class StreamsGiveTheFirstChoiceAllArguments(Behaviour):
    """Streamed arguments of further choices go to the first."""

    def chunks(self, chunks, body):
        made = super().chunks(chunks, body)
        for choice in (choice for chunk in made for choice in chunk["choices"]):
            if choice["index"] and any(
                call["function"]["arguments"] for call in choice["delta"].get("tool_calls") or ()
            ):
                choice["index"] = 0
        return made


def _with_trimmed(chat, body):
    return {**chat, "raw": chat["raw"].strip()} if isinstance(chat.get("raw"), str) else chat


fault("completions", "A prompt is trimmed at both ends.", "CMP47", chat=_with_trimmed, may_kill=("CMP*", "REL*"))


def _trimmed_messages(body):
    for message in body.get("messages") or ():
        message["content"] = trimmed(message["content"])


fault("tokenize", "Messages are trimmed before they are counted.", "TOK4", check=_trimmed_messages)
