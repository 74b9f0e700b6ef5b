"""What a blind round missed: messages of other types, blocks mixed up, penalties of prompts, leaving neighbours."""

from __future__ import annotations

import asyncio

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant
from conformance_stub.wire_parts import Rejected
from enginehouse_conformance.rules import SECTIONS
from enginehouse_plugin import TextDelta

ANYTHING = tuple(f"{section}*" for section in SECTIONS)
_LONG_PROMPTS = ("LEN*", "MSG*", "ISO*", "X*", "REL*", "CMP*", "SMP*")
_SHARED = 256


@mutant(kills=("MSG48",), may_kill=("MSG*", "ERR*"), origin="servers that read a message before they look at it")
class OddMessagesAre500(Behaviour):
    """A message that is no object is an internal error."""

    def check_fields(self, body, profile):
        messages = body.get("messages")
        if isinstance(messages, list) and not all(isinstance(one, dict) for one in messages):
            raise Rejected("'NoneType' object has no attribute 'get'", status=500)
        super().check_fields(body, profile)


@mutant(kills=("MSG48",), may_kill=("MSG*", "ANT*", "OLL*"), origin="servers that are kind to their users")
class ATextIsAMessage(Behaviour):
    """A text in place of the messages, or of one of them, is the user's."""

    def decode(self, data):
        body = super().decode(data)
        messages = body.get("messages")
        if isinstance(messages, str):
            messages = [messages]
        if not isinstance(messages, list):
            return body
        made = [{"role": "user", "content": one} if isinstance(one, str) else one for one in messages]
        return {**body, "messages": made}


@mutant(kills=("MSG48",), may_kill=("MSG*",))
class DropsWhatIsNoMessage(Behaviour):
    """Entries of the messages that are no objects are dropped."""

    def decode(self, data):
        body = super().decode(data)
        messages = body.get("messages")
        if not isinstance(messages, list):
            return body
        return {**body, "messages": [one for one in messages if isinstance(one, dict)]}


@mutant(kills=("MSG48",), may_kill=("MSG*",))
class OneMessageIsAnArray(Behaviour):
    """An object in place of the messages is the only one of them."""

    def decode(self, data):
        body = super().decode(data)
        return {**body, "messages": [body["messages"]]} if isinstance(body.get("messages"), dict) else body


@mutant(kills=("ISO12",), may_kill=_LONG_PROMPTS, origin="a cache that knows prompts by 256 tokens", in_process=True)
class BlocksOfTheFirst(Behaviour):
    """Behind its 256th token a prompt is the one that was first with these 256."""

    def __init__(self):
        self._kept = {}

    def fit_prompt(self, tokens, context_tokens):
        kept = self._kept.setdefault((len(tokens), *tokens[:_SHARED]), tokens)
        return tokens[:_SHARED] + kept[_SHARED:]


@mutant(kills=("ISO12",), may_kill=_LONG_PROMPTS, origin="a cache that writes over blocks in use", in_process=True)
class BlocksOfTheLast(Behaviour):
    """Behind its 256th token a prompt that comes again is the one that was last with these 256."""

    def __init__(self):
        self._last = {}
        self._seen = set()

    def fit_prompt(self, tokens, context_tokens):
        begin, whole = (len(tokens), *tokens[:_SHARED]), tuple(tokens)
        last, self._last[begin] = self._last.get(begin, tokens), tokens
        is_again = whole in self._seen
        self._seen.add(whole)
        return tokens[:_SHARED] + last[_SHARED:] if is_again else tokens


class _CountsThePrompt(Behaviour):
    """Keeps the prompt of each request for `adjusted`."""

    def logits(self, state, position, request, is_structured):
        self._prompt = self.prompt_tokens(request)
        return super().logits(state, position, request, is_structured)


@mutant(
    kills=("SMP31",), may_kill=("SMP*", "SSE22", "X*"), origin="llama.cpp: the prompt is in the window", in_process=True
)
class PenaltiesCountThePrompt(_CountsThePrompt):
    """frequency_penalty and presence_penalty count the prompt, too."""

    def adjusted(self, logits, request, output):
        return super().adjusted(logits, request, [*self._prompt, *output])


@mutant(kills=("SMP31",), may_kill=("SMP*", "SSE22", "X*"), in_process=True)
class PresenceIsInThePrompt(_CountsThePrompt):
    """A token that the prompt holds is present."""

    def adjusted(self, logits, request, output):
        counted = [*set(self._prompt), *output] if request.presence_penalty else output
        return super().adjusted(logits, request, counted)


@mutant(kills=("ISO13",), may_kill=ANYTHING, origin="a queue that all streams of a worker share", in_process=True)
class LeaversTakeAPiece(Behaviour):
    """Each stream beside one that is left loses a piece of text."""

    breaks_off = False

    def __init__(self):
        self._left = 0

    async def events(self, events, request):
        seen = self._left
        try:
            async for event in super().events(events, request):
                if request.stream and self._left != seen and isinstance(event, TextDelta):
                    if self.breaks_off:
                        return
                    seen = self._left
                    continue
                yield event
        except (asyncio.CancelledError, GeneratorExit):
            self._left += 1
            raise


@mutant(kills=("ISO13",), may_kill=ANYTHING, origin="a batch that is given up with one of its clients", in_process=True)
class LeaveTogether(LeaversTakeAPiece):
    """A client that leaves its stream ends those beside it."""

    breaks_off = True
