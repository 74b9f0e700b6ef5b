"""Stop strings, matched here: llama-server drops text that it held back for one when the limit ends the answer.

Seen in build 11549: with the stop string "timexyzzy" and the limit reached behind "time", that word never comes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from enginehouse_plugin import GenerationRequest
from enginehouse_plugin.hosting.stops import StopMatcher

from .server import Chunk


async def cut_at_stops(source: AsyncGenerator[Chunk, None], request: GenerationRequest) -> AsyncGenerator[Chunk, None]:
    """Yield the chunks of *source*, each choice up to its stop string; close *source* when every choice has ended."""
    matchers = [StopMatcher(request.stop) for _ in range(request.n)]
    ended = [False] * request.n
    async with aclosing(source):
        async for chunk in source:
            at = chunk.index
            if ended[at]:
                continue
            if chunk.stop:
                ended[at] = True
                if held := matchers[at].flush():
                    yield Chunk(index=at, content=held, tokens_predicted=chunk.tokens_predicted)
                yield chunk
                continue
            text, matched = matchers[at].push(chunk.content)
            yield msgspec.structs.replace(chunk, content=text)
            if matched is not None:
                ended[at] = True
                yield Chunk(
                    index=at,
                    stop=True,
                    stop_type="word",
                    stopping_word=matched,
                    tokens_predicted=chunk.tokens_predicted,
                )
                if all(ended):
                    return
