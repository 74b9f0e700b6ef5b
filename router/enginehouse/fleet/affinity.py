"""Which instance has a conversation in its cache: what was sent to it begins with the same blocks.

A prompt is a chain of blocks: each message, a long one in parts. The hash of a block is that of all that stands before
it, too, so that a known block stands for a known beginning. Only hashes are kept, salted by the process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Final, Generic, TypeVar

from enginehouse_plugin import Chat, GenerationRequest, Text

_BLOCK_CHARS: Final = 1024
FEWEST_CHARS: Final = 512
"""A shorter prompt is read in no time."""
_MOST_BLOCKS: Final = 256
_MOST_KNOWN: Final = 32_768
_MOST_CACHES: Final = 3

T = TypeVar("T", bound=Hashable)

Block = tuple[int, int]
"""The end of a block in its prompt: a hash of all up to there, and the characters up to there."""


def is_worth_it(request: GenerationRequest) -> bool:
    """Whether the prompt of *request* is long enough for it to matter who has it in a cache."""
    prompt = request.prompt
    if type(prompt) is not Chat:
        return True
    chars = 0
    for message in prompt.messages:
        content = message.content
        if type(content) is not str:
            return True
        chars += len(content)
        if chars >= FEWEST_CHARS:
            return True
    return False


def blocks_of(request: GenerationRequest) -> list[Block]:
    """The blocks of *request*'s prompt in their order, as many as are looked at. Of token ids there are none."""
    prompt = request.prompt
    blocks: list[Block] = []
    chars = 0
    # What templates write before the first message depends on the tools.
    digest = hash((len(request.tools), *(tool.name for tool in request.tools))) if request.tools else 0
    if type(prompt) is Chat:
        for message in prompt.messages:
            content = message.content
            if type(content) is str:
                text = content
            else:
                text = "" if content is None else repr(content)
                if calls := getattr(message, "tool_calls", None):
                    text += repr(calls)
            kind = type(message).__name__
            if len(text) <= _BLOCK_CHARS:
                digest = hash((digest, kind, text))
                chars += len(text)
                blocks.append((digest, chars))
            else:
                digest, chars = _split(blocks, hash((digest, kind)), chars, text)
            if len(blocks) >= _MOST_BLOCKS:
                break
    elif type(prompt) is Text:
        _split(blocks, digest, chars, prompt.text)
    return blocks[:_MOST_BLOCKS]


def _split(blocks: list[Block], digest: int, chars: int, text: str) -> tuple[int, int]:
    for at in range(0, min(len(text), _BLOCK_CHARS * _MOST_BLOCKS), _BLOCK_CHARS):
        part = text[at : at + _BLOCK_CHARS]
        digest = hash((digest, part))
        chars += len(part)
        blocks.append((digest, chars))
    return digest, chars


class Cache(Generic[T]):
    """What *owner* has read since it was loaded, or woken. When that is lost, `owner` is None."""

    __slots__ = ("owner",)

    def __init__(self, owner: T | None = None) -> None:
        self.owner = owner


class Affinity(Generic[T]):
    """The beginnings of prompts that are in the caches of one model's instances, those used last."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[Cache[T], ...]] = OrderedDict()

    def cached_chars(self, blocks: Sequence[Block]) -> dict[T, int]:
        """How many characters of a prompt each instance is thought to have in its cache; who has none is left out."""
        found: dict[T, int] = {}
        known = self._known
        for digest, chars in reversed(blocks):
            for cache in known.get(digest, ()):
                if cache.owner is not None:
                    found.setdefault(cache.owner, chars)
        return found

    def note(self, blocks: Sequence[Block], cache: Cache[T]) -> None:
        """Note that *blocks* were read into *cache*."""
        known = self._known
        for digest, _ in blocks:
            caches = known.get(digest, ())
            if not caches or caches[0] is not cache:
                others = tuple(other for other in caches if other is not cache and other.owner is not None)
                known[digest] = (cache, *others[: _MOST_CACHES - 1])
            known.move_to_end(digest)
        while len(known) > _MOST_KNOWN:
            known.popitem(last=False)
