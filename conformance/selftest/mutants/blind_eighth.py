"""What a blind round missed: long talks and streams, fractions of a bias, ends of choices, ids, listed models."""

from __future__ import annotations

import json

import msgspec

from conformance_stub import Behaviour
from conformance_stub.mutants import mutant


@mutant(kills=("LEN17", "RSN7"), may_kill=("SSE11", "LEN*", "RSN*", "TOOL*"), origin="gateways that count deltas")
class CountsDeltasOfContent(Behaviour):
    """completion_tokens of a stream is the number of its pieces of content."""

    def __init__(self):
        self._pieces = {}

    def chunks(self, chunks, body):
        made = super().chunks(chunks, body)
        for chunk in made:
            pieces = sum(bool(choice["delta"].get("content")) for choice in chunk["choices"])
            self._pieces[chunk["id"]] = self._pieces.get(chunk["id"], 0) + pieces
            if chunk.get("usage"):
                usage = chunk["usage"]
                usage["completion_tokens"] = self._pieces[chunk["id"]]
                usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        return made


@mutant(kills=("BIAS11",), in_process=True)
class BiasIsWhole(Behaviour):
    """Fractions of a bias are cut off."""

    def accept(self, request):
        return msgspec.structs.replace(request, logit_bias={at: int(bias) for at, bias in request.logit_bias.items()})


@mutant(kills=("BIAS11",), in_process=True)
class BiasIsRounded(Behaviour):
    """A bias is rounded to a whole number."""

    def accept(self, request):
        return msgspec.structs.replace(request, logit_bias={at: round(bias) for at, bias in request.logit_bias.items()})


class ForgetsOldMessages(Behaviour):
    """Only the latest messages reach the model."""

    kept = 0

    def prepare(self, body):
        prepared = super().prepare(body)
        heads = [message for message in prepared["messages"] if message["role"] == "system"]
        others = [message for message in prepared["messages"] if message["role"] != "system"]
        return {**prepared, "messages": [*heads, *others[-self.kept :]]}


@mutant(
    kills=("MSG34",),
    may_kill=(
        "LEN21",
        "MSG*",
    ),
)
class RemembersTen(ForgetsOldMessages):
    """Only the last ten messages reach the model."""

    kept = 10


@mutant(kills=("MSG34",), may_kill=("LEN21",))
class RemembersFifty(ForgetsOldMessages):
    """Only the last fifty messages reach the model."""

    kept = 50


@mutant(kills=("N10",))
class EndsOfTheFirstChoice(Behaviour):
    """Each choice of an answer has the finish_reason of the first."""

    def answer(self, answer, body):
        made = super().answer(answer, body)
        for choice in made["choices"]:
            choice["finish_reason"] = made["choices"][0]["finish_reason"]
        return made


@mutant(kills=("N10",), may_kill=("SSE7",))
class StreamedChoicesEndAsOne(Behaviour):
    """Each choice of a stream has the finish_reason of the one that ended first."""

    def __init__(self):
        self._ends = {}

    def chunks(self, chunks, body):
        made = super().chunks(chunks, body)
        for chunk in made:
            for choice in chunk["choices"]:
                if choice["finish_reason"]:
                    choice["finish_reason"] = self._ends.setdefault(chunk["id"], choice["finish_reason"])
        return made


@mutant(kills=("TOOL23",), may_kill=("TOOL*", "RF27"), origin="gateways that parse arguments with doubles")
class ArgumentsAreDoubles(Behaviour):
    """Integers in arguments of a call pass through a float, in JSON answers."""

    def answer(self, answer, body):
        made = super().answer(answer, body)
        for choice in made["choices"]:
            for call in choice["message"].get("tool_calls") or ():
                try:
                    told = json.loads(call["function"]["arguments"], parse_int=lambda digits: int(float(digits)))
                except ValueError:
                    continue
                call["function"]["arguments"] = json.dumps(told, separators=(",", ":"), ensure_ascii=False)
        return made


@mutant(kills=("TOOL5",), may_kill=("TOOL*", "SSE*", "X*"))
class IdsAreNames(Behaviour):
    """The id of a call is made of the name of its function."""

    def answer(self, answer, body):
        made = super().answer(answer, body)
        for choice in made["choices"]:
            for call in choice["message"].get("tool_calls") or ():
                call["id"] = f"call_{call['function']['name']}"
        return made

    def chunks(self, chunks, body):
        made = super().chunks(chunks, body)
        for chunk in made:
            for choice in chunk["choices"]:
                for call in choice["delta"].get("tool_calls") or ():
                    if call.get("id"):
                        call["id"] = f"call_{call['function']['name']}"
        return made


@mutant(kills=("ERR12",), origin="aliases that outlive their models")
class ListsWhatIsGone(Behaviour):
    """The models route lists a model that nothing knows."""

    def models(self):
        listed = super().models()
        return {**listed, "data": [*listed["data"], {**self.model_card(), "id": f"{self.model}-latest"}]}


@mutant(kills=("SSE26",), may_kill=("SSE*", "X*"), origin="a ring buffer that drops one piece as it wraps")
class LosesThe65thPiece(Behaviour):
    """The 65th piece of text of a stream is lost."""

    def __init__(self):
        self._pieces = {}

    def chunks(self, chunks, body):
        kept = []
        for chunk in super().chunks(chunks, body):
            for choice in chunk["choices"]:
                at = chunk["id"], choice["index"]
                self._pieces[at] = self._pieces.get(at, 0) + bool(choice["delta"].get("content"))
                if self._pieces[at] == 65 and choice["delta"].get("content"):
                    choice["delta"] = {**choice["delta"], "content": ""}
            kept.append(chunk)
        return kept
