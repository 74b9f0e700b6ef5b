"""Faults of length and usage."""

from __future__ import annotations

import msgspec

from conformance_stub import Behaviour, Rejected
from conformance_stub.mutants import mutant
from enginehouse_plugin import Chat, SystemMessage

LIMITS = ("max_tokens", "max_completion_tokens")


@mutant(
    kills=("LEN1", "LEN2", "LEN3"),
    may_kill=("LEN*", "ENV*", "MSG*", "SMP*", "STOP*", "SSE*", "BIAS*", "LP*", "N*", "X*", "RF13", "TOOL9"),
)
class IgnoresLimits(Behaviour):
    """Every answer has up to 24 tokens, whatever the limit."""

    def prepare(self, body):
        return {**super().prepare(body), "max_tokens": 24}


@mutant(kills=("LEN1",), may_kill=("LEN*", "RF13", "TOOL*", "SSE*", "X2", "X6"), in_process=True)
class CallsACutAnswerStopped(Behaviour):
    """The finish_reason of a cut answer is stop."""

    def finish(self, reason, *, is_call):
        return "stop" if reason == "length" else super().finish(reason, is_call=is_call)


@mutant(kills=("LEN1", "LEN2"), may_kill=("LEN3", "LEN7", "BIAS1", "BIAS7", "LEN17", "N4", "X13"), in_process=True)
class CountsOneTokenLess(Behaviour):
    """The limit is reached a token early."""

    def accept(self, request):
        limit = request.max_tokens
        return msgspec.structs.replace(request, max_tokens=limit - 1) if limit and limit > 1 else request


@mutant(kills=("LEN2", "LEN3"), origin="Ollama#7125: max_completion_tokens is ignored")
class IgnoresMaxCompletionTokens(Behaviour):
    """max_completion_tokens is ignored."""

    def prepare(self, body):
        return super().prepare({name: value for name, value in body.items() if name != "max_completion_tokens"})


@mutant(kills=("LEN3",))
class TakesTheLargerLimit(Behaviour):
    """Of two limits the larger holds."""

    def prepare(self, body):
        limits = [body[name] for name in LIMITS if body.get(name) is not None]
        others = {name: value for name, value in body.items() if name not in LIMITS}
        return super().prepare({**others, "max_tokens": max(limits)} if limits else others)


def lenient(is_right, replacement):
    """A `check_fields` that takes a max_tokens for which *is_right* holds as *replacement*."""

    def check_fields(self, body, profile):
        if is_right(body.get("max_tokens")):
            body["max_tokens"] = replacement
        super(Behaviour, self).check_fields(body, profile)

    return check_fields


@mutant(kills=("LEN4",), origin="llama-server: max_tokens 0 gives an empty answer or a default")
class TakesZero(Behaviour):
    """max_tokens 0 means a default."""

    check_fields = lenient(lambda value: value == 0, 16)


@mutant(kills=("LEN5",), origin="llama-server: max_tokens -1 means no limit")
class TakesMinusOne(Behaviour):
    """max_tokens -1 means no limit."""

    check_fields = lenient(lambda value: value == -1, None)


@mutant(kills=("LEN6",), origin="servers whose validation coerces texts")
class ReadsTexts(Behaviour):
    """max_tokens may be a text."""

    check_fields = lenient(lambda value: value == "5", 5)


@mutant(kills=("LEN7",), may_kill=("BIAS3", "SMP*", "STOP*"), in_process=True)
class TellsTheModelItsLimit(Behaviour):
    """The limit is part of the prompt."""

    def accept(self, request):
        hint = SystemMessage(f"Answer in at most {request.max_tokens} tokens.")
        return msgspec.structs.replace(request, prompt=Chat((hint, *request.prompt.messages)))


@mutant(kills=("LEN8",), may_kill=("LEN*", "BIAS*", "SSE*"), in_process=True)
class NoBiasOnTheEnd(Behaviour):
    """A bias on a token that ends the turn is ignored."""

    def accept(self, request):
        bias = {token: value for token, value in request.logit_bias.items() if not self.ends(token)}
        return msgspec.structs.replace(request, logit_bias=bias)


@mutant(kills=("LEN8",), may_kill=("STOP*", "SSE*", "LEN*", "BIAS9", "TOOL7", "X*"), in_process=True)
class CallsTheEndLength(Behaviour):
    """An answer that ends by itself has the finish_reason length."""

    def finish(self, reason, *, is_call):
        return reason if is_call else "length"


@mutant(kills=("LEN9", "LEN21"), origin="Ollama#4967: a long prompt is cut in silence", in_process=True)
class CutsThePrompt(Behaviour):
    """A prompt over the context loses its beginning."""

    def fit_prompt(self, tokens, context_tokens):
        return tokens[-(context_tokens - 256) :]


@mutant(kills=("LEN9", "LEN21"), origin="servers whose context overflow is an internal error")
class FailsOverTheContext(Behaviour):
    """A prompt over the context is an internal error."""

    def error(self, status, error, headers):
        is_context = error["error"]["code"] == "context_length_exceeded" and "max_tokens" not in str(error)
        return 500 if is_context else status, error, headers


@mutant(kills=("LEN10",))
class OverflowsOnHugeLimits(Behaviour):
    """A limit that does not fit in 32 bits is an internal error."""

    def check_fields(self, body, profile):
        super().check_fields(body, profile)
        if (body.get("max_tokens") or 0) >= 2**31:
            raise Rejected("integer overflow", status=500)


@mutant(kills=("LEN11",), may_kill=("SSE8",))
class TotalIsThePrompt(Behaviour):
    """total_tokens counts the prompt only."""

    def usage(self, usage, body):
        return {**usage, "total_tokens": usage["prompt_tokens"]}


@mutant(kills=("LEN11",), may_kill=("SSE8", "N4", "X13"))
class TellsNoTotal(Behaviour):
    """There is no total_tokens."""

    def usage(self, usage, body):
        return {name: count for name, count in usage.items() if name != "total_tokens"}


@mutant(
    kills=("LEN12",),
    may_kill=("MSG*", "SSE11", "LEN9", "LEN21", "ISO*", "N4"),
    origin="servers that do not count what is cached",
)
class CountsWhatIsNotCached(Behaviour):
    """A prompt that was seen before counts as one token."""

    def __init__(self):
        self._seen = set()

    def usage(self, usage, body):
        prompt = msgspec.json.encode(body["messages"])
        tokens = 1 if prompt in self._seen else usage["prompt_tokens"]
        self._seen.add(prompt)
        return {**usage, "prompt_tokens": tokens, "total_tokens": tokens + usage["completion_tokens"]}


@mutant(kills=("LEN13",), may_kill=("LEN1", "LEN2", "LEN3", "LEN17", "N4", "SSE11"))
class CountsCharacters(Behaviour):
    """completion_tokens grows with the characters of the answer."""

    def answer(self, answer, body):
        text = answer["choices"][0]["message"]["content"] or ""
        usage = {**answer["usage"], "completion_tokens": len(text) + 7}
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        return {**answer, "usage": usage}
