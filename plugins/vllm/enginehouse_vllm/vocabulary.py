"""The bytes of each token, read from `tokenizer.json`: vLLM's own texts lose tokens that are part of a character."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from enginehouse_plugin.threadsafe import threadsafe

from .checkpoint import NotACheckpoint

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE = "\u2581"  # SentencePiece's mark of a space
_CONTINUES = "##"  # WordPiece's mark of a word's inside


class _Model(msgspec.Struct):
    """The tokens: text to id, or of Unigram models [text, score] in the order of ids."""

    vocab: dict[str, int] | list[tuple[str, float]] | None = None


class _Decoder(msgspec.Struct):
    type: str | None = None
    decoders: list[_Decoder] | None = None


class _Added(msgspec.Struct):
    id: int
    content: str


@threadsafe
class _Tokenizer(msgspec.Struct):
    """The part of `tokenizer.json` that is read here."""

    model: _Model | None = None
    decoder: _Decoder | None = None
    added_tokens: list[_Added] | None = None


class Vocabulary:
    """Maps token ids to bytes; an id that is not known has none."""

    def __init__(self, pieces: dict[int, bytes]) -> None:
        self._pieces = pieces
        self.longest_bytes = max((len(piece) for piece in pieces.values()), default=0)
        """Bytes of the longest token."""

    def __len__(self) -> int:
        return len(self._pieces)

    def piece(self, token_id: int) -> bytes:
        """The bytes that the token stands for in text."""
        return self._pieces.get(token_id, b"")


def read(tokenizer: dict[str, Any]) -> Vocabulary:  # JSON
    """Take the vocabulary from the content of a `tokenizer.json`.

    Raises:
        NotACheckpoint: it has another form.
    """
    try:
        found = msgspec.convert(tokenizer, _Tokenizer)
    except msgspec.ValidationError as error:
        raise NotACheckpoint(f"'tokenizer.json' cannot be read: {error}") from error
    listed = (found.model and found.model.vocab) or {}
    if isinstance(listed, list):
        listed = {text: at for at, (text, _) in enumerate(listed)}
    kinds = _kinds(found.decoder or _Decoder())
    to_bytes = _from_sentence_piece
    if "ByteLevel" in kinds:
        to_bytes = _from_byte_level
    elif "WordPiece" in kinds:
        to_bytes = _from_word_piece
    pieces = {token_id: to_bytes(text) for text, token_id in listed.items()}
    pieces.update({token.id: token.content.encode() for token in found.added_tokens or ()})
    return Vocabulary(pieces)


def _kinds(decoder: _Decoder) -> set[str | None]:
    return {part.type for part in (decoder, *(decoder.decoders or ()))}


def _byte_table() -> dict[str, int]:
    """The characters that stand for bytes in byte-level vocabularies: printable ones as they are, others from U+0100.

    Source: the byte-to-character table of GPT-2's tokenizer.
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in plain}
    others = (byte for byte in range(256) if byte not in set(plain))
    table.update({chr(0x100 + at): byte for at, byte in enumerate(others)})
    return table


_TABLE = _byte_table()


def _from_byte_level(text: str) -> bytes:
    try:
        return bytes(_TABLE[character] for character in text)
    except KeyError:
        return text.encode()


def _from_word_piece(text: str) -> bytes:
    """A word begins with a space, as llama.cpp has it."""
    return (text.removeprefix(_CONTINUES) if text.startswith(_CONTINUES) else f" {text}").encode()


def _from_sentence_piece(text: str) -> bytes:
    byte = _BYTE_TOKEN.fullmatch(text)
    return bytes([int(byte.group(1), 16)]) if byte else text.replace(_SPACE, " ").encode()
