"""A right backend that is as small as a first one: 31 tokens, a letter or a sign each, and a short context.

What a technique of the suite needs, a token that prints something or room for a prompt, may not be there.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from functools import lru_cache

import msgspec

from enginehouse_plugin import (
    AnyEvent,
    Backend,
    BackendType,
    Capabilities,
    Chat,
    Device,
    ExitReport,
    Finished,
    GenerationRequest,
    Instance,
    OnProgress,
    Placement,
    ProbeReport,
    Started,
    TextDelta,
    TokenLogprob,
    TopLogprob,
    UsageReport,
)
from enginehouse_plugin.errors import ContextTooLong, EngineUnavailable, InvalidRequest

LETTERS = "abcdefghijklmnopqrstuvwxyz .,\n"
BLANKS = " \t\n\v\f\r" + "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u3000"
"""An alphabet of which no token prints anything that is seen."""
FEATURES = frozenset({
    "streaming", "n", "stop", "seed", "frequency_penalty", "presence_penalty", "logit_bias", "logprobs",
    "developer_role",
})  # fmt: skip


class SmallInstance(Instance):
    """A loaded model of single characters; the last token ends the answer."""

    def __init__(
        self, *, letters: str = LETTERS, context_tokens: int = 512, tells_vocabulary: bool = True,
        has_bias: bool = True,
    ) -> None:  # fmt: skip
        self._letters = letters
        self._end = len(letters)
        self._has_bias = has_bias
        self._closed = asyncio.Event()
        self.capabilities = Capabilities(
            context_tokens=context_tokens,
            max_concurrent_requests=8,
            features=FEATURES,
            limits={"n": 4, "stop": 4, "top_logprobs": 20},
            vocabulary_size=self._end + 1 if tells_vocabulary else None,
        )

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AnyEvent, None]:
        """Generate."""
        self.refuse_unsupported(request)
        await self.check_ready()
        prompt = self._tokens(request)
        self._require_known(request)
        limit = self.capabilities.context_tokens
        if len(prompt) >= limit:
            raise ContextTooLong(prompt_tokens=len(prompt), limit_tokens=limit)
        yield Started(prompt_tokens=len(prompt))
        counts = [0] * request.n
        for choice in range(request.n):
            seed = None if request.seed is None else f"{request.seed}/{choice}"
            async for event in self._choice(request, choice, prompt, counts, random.Random(seed)):  # noqa: S311  # sampling
                yield event
        yield UsageReport(prompt_tokens=len(prompt), completion_tokens=sum(counts))

    def _require_known(self, request: GenerationRequest) -> None:
        if not set(request.logit_bias) <= set(range(self._end + 1)):
            raise InvalidRequest(f"logit_bias: token ids are 0 to {self._end}", param="logit_bias")

    async def _choice(
        self, request: GenerationRequest, choice: int, prompt: list[int], counts: list[int], dice: random.Random
    ) -> AsyncGenerator[AnyEvent, None]:
        tokens: list[int] = []
        held: list[TextDelta] = []  # what may be the beginning of a stop string
        left = self.capabilities.context_tokens - len(prompt)
        room = min(request.max_tokens or left, left)
        while len(tokens) < room:
            await asyncio.sleep(0)
            raw = _logits((*prompt, *tokens)[-3:], self._end + 1, len(tokens))
            token = self._sampled(raw, request, tokens, dice)
            tokens.append(token)
            counts[choice] += 1
            if token == self._end:
                break
            logprobs = (self._entry(raw, token, request.top_logprobs),) if request.logprobs else None
            held.append(TextDelta(choice, self._letters[token], len(tokens), logprobs))
            text = "".join(delta.text for delta in held)
            stop = next((stop for stop in request.stop if text.endswith(stop)), None)
            if stop is not None:
                for delta in held[: len(held) - len(stop)]:
                    yield delta
                yield Finished(choice, "stop", stop)
                return
            while held and not any(stop.startswith(text) for stop in request.stop):
                yield held.pop(0)
                text = text[1:]
        for delta in held:
            yield delta
        yield Finished(choice, "stop" if tokens and tokens[-1] == self._end else "length")

    def _sampled(self, raw: Sequence[float], request: GenerationRequest, tokens: list[int], dice: random.Random) -> int:
        counts = Counter(tokens)
        values = [
            value
            + (request.logit_bias.get(token, 0) if self._has_bias else 0)
            - counts[token] * request.frequency_penalty
            - (token in counts) * request.presence_penalty
            for token, value in enumerate(raw)
        ]
        top = max(values)
        if request.temperature == 0:
            return values.index(top)
        weights = [math.exp(max((value - top) / request.temperature, -700)) for value in values]
        left = request.top_p * sum(weights)
        for token in sorted(range(len(weights)), key=weights.__getitem__, reverse=True):
            weights[token], left = (weights[token] if left > 0 else 0.0), left - weights[token]
        return dice.choices(range(len(weights)), weights)[0]

    def _entry(self, raw: Sequence[float], token: int, top: int) -> TokenLogprob:
        norm = math.log(sum(map(math.exp, raw)))
        best = sorted(range(len(raw)), key=raw.__getitem__, reverse=True)[:top]
        texts = [*self._letters, ""]
        return TokenLogprob(
            texts[token], token, texts[token].encode(), raw[token] - norm,
            tuple(TopLogprob(texts[other], other, texts[other].encode(), raw[other] - norm) for other in best),
        )  # fmt: skip

    def _tokens(self, request: GenerationRequest) -> list[int]:
        """Tokens of the prompt: a character that is no token is left out."""
        if not isinstance(request.prompt, Chat):
            raise InvalidRequest("This model only chats.", param="messages")
        contents = [message.content or "" for message in request.prompt.messages]
        texts = [
            text if isinstance(text, str) else "".join(getattr(part, "text", "") for part in text) for text in contents
        ]
        return [self._letters.index(char) for text in texts for char in f"{text.lower()}\n" if char in self._letters]

    async def count_tokens(self, request: GenerationRequest) -> int:
        """Tokens of the prompt."""
        return len(self._tokens(request))

    async def check_ready(self) -> None:
        """It is, until it is unloaded."""
        if self._closed.is_set():
            raise EngineUnavailable("the model is unloaded")

    async def unload(self) -> None:
        """End."""
        self._closed.set()

    async def wait_closed(self) -> ExitReport:
        """Wait for `unload`."""
        await self._closed.wait()
        return ExitReport(is_expected=True, reason="unloaded")


@lru_cache(maxsize=50_000)
def _logits(last: tuple[int, ...], size: int, position: int) -> tuple[float, ...]:
    dice = random.Random(f"{last}/{position % 7}")  # noqa: S311  # a toy model
    values = [3 * dice.random() for _ in range(size)]
    values[values.index(max(values))] += 0.5  # no greedy answer is a tie
    values[-1] = -4.0 + 0.02 * position
    return tuple(values)


class SmallOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model takes no options."""


class SmallBackend(Backend):
    """Loads *instance*."""

    def __init__(self, instance: SmallInstance) -> None:
        self._instance = instance

    async def probe(self, python: str | None = None) -> ProbeReport:
        """Always here."""
        del python
        return ProbeReport(available=True, engine="small", engine_version="1")

    async def load(self, placement: Placement, devices: tuple[Device, ...], progress: OnProgress) -> Instance:
        """Load nothing."""
        del placement, devices, progress
        return self._instance


def small_backend(instance: SmallInstance) -> BackendType:
    """A backend type that loads *instance*."""
    return BackendType(
        name="small",
        version="1",
        create=lambda: SmallBackend(instance),
        options=SmallOptions,
        needs_weights=False,
    )
