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
_MOST_HOLDERS: Final = 3

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


class Affinity(Generic[T]):
    """The beginnings of prompts that one model's instances have read, those used last.

    A holder is an instance and how often it has started: what it had in its cache is gone when it has ended.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[tuple[T, int], ...]] = OrderedDict()

    def cached_chars(self, blocks: Sequence[Block]) -> dict[tuple[T, int], int]:
        """How many characters of a prompt each instance is thought to have in its cache; who has none is left out."""
        found: dict[tuple[T, int], int] = {}
        known = self._known
        for digest, chars in reversed(blocks):
            for holder in known.get(digest, ()):
                found.setdefault(holder, chars)
        return found

    def note(self, blocks: Sequence[Block], holder: tuple[T, int]) -> None:
        """Note that *holder* has read *blocks*."""
        known = self._known
        for digest, _ in blocks:
            holders = known.get(digest, ())
            if not holders or holders[0] != holder:
                others = tuple(other for other in holders if other != holder)
                known[digest] = (holder, *others[: _MOST_HOLDERS - 1])
            known.move_to_end(digest)
        while len(known) > _MOST_KNOWN:
            known.popitem(last=False)
