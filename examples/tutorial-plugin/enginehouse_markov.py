"""A Markov chain of words: each word is drawn from those that followed the last one in a text file."""

import asyncio
import random
import re
from collections import Counter, defaultdict
from itertools import accumulate, pairwise
from pathlib import Path

import msgspec

import enginehouse_plugin as eh
from enginehouse_plugin.errors import ContextTooLong, EngineUnavailable, InvalidRequest, LoadFailed

enginehouse_api = "2.0"
EDGE, WORD = "", re.compile(r"\s*(?:\w+|[^\w\s])")  # EDGE is before the first word of a line and after the last


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    step_s: float = 0.0  # a pause before each word, to watch it stream


class MarkovInstance(eh.Instance):
    def __init__(self, text: str, context_tokens: int, options: Options) -> None:
        self._followers: dict[str, Counter[str]] = defaultdict(Counter)
        for line in filter(str.strip, text.splitlines()):
            for word, follower in pairwise([EDGE, *WORD.findall(line.strip()), EDGE]):
                self._followers[word.strip()][follower] += 1
        self._options = options
        self._closed = asyncio.Event()
        features = frozenset({"streaming", "seed"})
        self.capabilities = eh.Capabilities(context_tokens=context_tokens, max_concurrent_requests=8, features=features)

    async def generate(self, request: eh.GenerationRequest):
        self.refuse_unsupported(request)
        await self.check_ready()
        prompt, limit = words_of(request), self.capabilities.context_tokens
        if len(prompt) >= limit:
            raise ContextTooLong(prompt_tokens=len(prompt), limit_tokens=limit)
        yield eh.Started(prompt_tokens=len(prompt))
        count, room, dice = 0, min(request.max_tokens or limit, limit - len(prompt)), random.Random(request.seed)
        word = next((known for known in reversed(prompt) if any(self._followers.get(known, ()))), EDGE)  # leads on
        while count < room and (follower := draw(self._followers[word], request, dice)) != EDGE:
            await asyncio.sleep(self._options.step_s)  # a request that is cancelled ends here
            count, word = count + 1, follower.strip()
            yield eh.TextDelta(choice=0, text=follower if count > 1 else word, completion_tokens=count)
        yield eh.Finished(choice=0, reason="length" if count == room else "stop")
        yield eh.UsageReport(prompt_tokens=len(prompt), completion_tokens=count)

    async def count_tokens(self, request: eh.GenerationRequest) -> int:
        return len(words_of(request))

    async def check_ready(self) -> None:
        if self._closed.is_set():
            raise EngineUnavailable("The chain has been unloaded.")

    async def unload(self) -> None:
        self._closed.set()

    async def wait_closed(self) -> eh.ExitReport:
        await self._closed.wait()
        return eh.ExitReport(is_expected=True, reason="unloaded")


class MarkovBackend(eh.Backend):
    async def probe(self, python=None) -> eh.ProbeReport:
        return eh.ProbeReport(available=True, engine="markov", engine_version="1.0.0")

    async def load(self, placement, devices, progress) -> MarkovInstance:
        try:
            text = await asyncio.to_thread(Path(placement.path).read_text, encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise LoadFailed(f"{placement.source} is no text file: {error}", retryable=False) from error
        if not text.strip():
            raise LoadFailed(f"{placement.source} holds no words.", retryable=False)
        return MarkovInstance(text, placement.context_tokens or 512, placement.options)


def words_of(request: eh.GenerationRequest) -> list[str]:
    if not isinstance(request.prompt, eh.Chat):
        raise InvalidRequest("This model only chats.", param="messages")
    contents = [message.content or "" for message in request.prompt.messages]
    texts = [text if isinstance(text, str) else "".join(part.text for part in text) for text in contents]
    return [word.strip() for text in texts for word in WORD.findall(text)]


def draw(followers: Counter[str], request: eh.GenerationRequest, dice: random.Random) -> str:
    ranked = followers.most_common()
    if request.temperature == 0:
        return ranked[0][0]
    weights = [(count / ranked[0][1]) ** (1 / request.temperature) for _, count in ranked]
    sums = list(accumulate(weights))
    kept = 1 + sum(mass < request.top_p * sums[-1] for mass in sums[:-1])  # the likeliest, until they reach top_p
    return dice.choices(ranked[:kept], weights[:kept])[0][0]


@eh.hookimpl
def enginehouse_backends() -> list[eh.BackendType]:
    return [eh.BackendType(name="markov", version="1.0.0", create=MarkovBackend, options=Options)]
