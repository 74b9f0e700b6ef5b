"""Faults of stop strings."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour, vocabulary
from conformance_stub.mutants import mutant
from conformance_stub.output import TextOutput
from enginehouse_plugin import Finished, TextDelta

FINDING = ("STOP1", "STOP2", "STOP3", "STOP4", "STOP5", "STOP10", "STOP11")
PAIRS = ("X1", "X3", "X5", "X14")


@mutant(kills=(*FINDING, "BIAS9"), may_kill=PAIRS, origin="servers that accept a field and ignore it", in_process=True)
class IgnoresStop(Behaviour):
    """Stop strings are ignored."""

    def accept(self, request):
        return msgspec.structs.replace(request, stop=())


@mutant(kills=(*FINDING, "BIAS9"), may_kill=PAIRS, in_process=True)
class KeepsTheStopString(Behaviour):
    """The stop string stays in the content."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            if isinstance(event, Finished) and event.matched_stop:
                yield TextDelta(event.choice, event.matched_stop, 1, () if request.logprobs else None)
            yield event


@mutant(kills=("STOP1", "BIAS9"), may_kill=("STOP*", "X1", "X14", "LEN8", "X5"), in_process=True)
class CallsAStopLength(Behaviour):
    """The finish_reason after a stop string is length."""

    async def events(self, events, request):
        async for event in super().events(events, request):
            if isinstance(event, Finished) and event.matched_stop:
                event = msgspec.structs.replace(event, reason="length")
            yield event


@mutant(kills=("STOP2",), in_process=True)
class TakesTheFirstInTheList(Behaviour):
    """Of several stop strings only the first two are looked for."""

    def accept(self, request):
        return msgspec.structs.replace(request, stop=request.stop[:2])


class TokenStops(TextOutput):
    """Stops where the tokens of a stop string come one after another."""

    def __init__(self, stops):
        super().__init__(())
        self._sought = [(stop, [vocabulary.text_of(token) for token in vocabulary.encode(stop)]) for stop in stops]
        self._recent = []

    def push(self, data, entry):
        self._recent.append(data)
        for stop, pieces in self._sought:
            if self._recent[-len(pieces) :] == pieces:
                self.matched = stop
                return self._send(max(0, len(self._held) - sum(map(len, pieces)) + len(data)))
        return super().push(data, entry)


@mutant(
    kills=("STOP3", "STOP4"),
    may_kill=(*FINDING, *PAIRS, "BIAS9"),
    origin="mlx_lm.server: stop strings are matched by token ids",
    in_process=True,
)
class MatchesTokens(Behaviour):
    """A stop string is found only where its own tokens come."""

    def text_output(self, request):
        return TokenStops(request.stop)


class WholeTokens(TextOutput):
    """Drops the whole token in which a stop string begins."""

    def push(self, data, entry):
        self._starts = [*getattr(self, "_starts", []), self._fed_bytes]
        text, entries = super().push(data, entry)
        if self.matched is not None:
            end = self._sent_bytes
            start = max(start for start in self._starts if start <= end)
            text = text.encode()[: len(text.encode()) - (end - start)].decode("utf-8", "ignore")
        return text, entries


@mutant(kills=("STOP4",), may_kill=("STOP*", "X*"), in_process=True)
class DropsTheTokenOfTheStop(Behaviour):
    """What a token has before the stop string is lost with it."""

    def text_output(self, request):
        return WholeTokens(request.stop)


class Eager(TextOutput):
    """Holds nothing back."""

    def _possible_stop(self):
        return 0

    def push(self, data, entry):
        self._all = getattr(self, "_all", "") + data.decode("utf-8", "ignore")
        sent = super().push(data, entry)
        self.matched = next((stop for stop in self._stops if stop in self._all), None)
        return sent


@mutant(
    kills=("STOP5",),
    may_kill=("STOP1", "STOP2", "STOP3", "STOP11", "X1", "X3", "X5", "X14"),
    in_process=True,
)
class SendsBeforeItKnows(Behaviour):
    """Text is sent although a stop string may have begun in it."""

    def text_output(self, request):
        return Eager(request.stop) if request.stream else TextOutput(request.stop)


class Forgetful(TextOutput):
    """Drops what it held back when no stop string came of it."""

    def finish(self):
        self._held = ""
        return super().finish()


@mutant(kills=("STOP6",), may_kill=("X6", "STOP12", "SSE15"), in_process=True)
class ForgetsWhatItHeldBack(Behaviour):
    """Text held back for a stop string is lost at the end."""

    def text_output(self, request):
        return Forgetful(request.stop)


def lenient(is_right, replacement=None):
    """A `check_fields` that takes a stop for which *is_right* holds as *replacement* of it."""

    def check_fields(self, body, profile):
        if "stop" in body and is_right(body["stop"]):
            body["stop"] = replacement and replacement(body["stop"])
        super(Behaviour, self).check_fields(body, profile)

    return check_fields


@mutant(kills=("STOP7",))
class TakesFive(Behaviour):
    """A fifth stop string is dropped in silence."""

    check_fields = lenient(lambda stop: isinstance(stop, list) and len(stop) > 4, lambda stop: stop[:4])


@mutant(kills=("STOP8",), origin="engines that find the empty string at once", in_process=False)
class TheEmptyStringStops(Behaviour):
    """An empty stop string ends the answer before its first token."""

    def problem(self, name, value, body, profile):
        return None if name == "stop" and value in ("", [""]) else super().problem(name, value, body, profile)

    def answer(self, answer, body):
        if body.get("stop") in ("", [""]):
            answer["choices"][0]["message"]["content"] = ""
        return answer


@mutant(kills=("STOP9",))
class PrintsWhatIsNoString(Behaviour):
    """Numbers among the stop strings are read as their digits."""

    check_fields = lenient(
        lambda stop: isinstance(stop, list), lambda stop: [str(item) if item == 7 else item for item in stop]
    )


@mutant(kills=("STOP10",), in_process=True)
class StripsStops(Behaviour):
    """White space around a stop string is dropped, and with it a newline."""

    def accept(self, request):
        stripped = (stop.strip() for stop in request.stop)
        return msgspec.structs.replace(request, stop=tuple(stop for stop in stripped if stop))


@mutant(kills=("STOP11",), in_process=True)
class StopsAreAscii(Behaviour):
    """Stop strings outside of ASCII are not found."""

    def accept(self, request):
        return msgspec.structs.replace(request, stop=tuple(stop for stop in request.stop if stop.isascii()))


@mutant(kills=("STOP12",), may_kill=("STOP*", "X*", "ENV9"), in_process=True)
class StopsMakeItSample(Behaviour):
    """With stop strings it takes the second likeliest token now and then."""

    def sampled(self, logits, request, rng):
        token = super().sampled(logits, request, rng)
        if request.stop and request.temperature == 0 and not request.logit_bias and token % 5 == 0:
            logits[token] = float("-inf")
            return super().sampled(logits, request, rng)
        return token


@mutant(kills=("STOP13",), may_kill=("STOP6",), origin="engines that search the whole text", in_process=True)
class FindsStopsInThePrompt(Behaviour):
    """A stop string in the prompt ends the answer at once."""

    def accept(self, request):
        prompt = str(request.prompt.messages[-1].content)
        found = any(stop in prompt for stop in request.stop)
        return msgspec.structs.replace(request, max_tokens=1) if found else request
