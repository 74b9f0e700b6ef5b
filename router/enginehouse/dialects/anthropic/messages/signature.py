"""Signatures of thinking: what tells our own from another server's when it comes back.

A signature is a checksum of the text, the same on every host and after every restart; it is no proof of who made it,
which nobody needs: a client may put any text into its conversation. Where the text itself is not shown, the signature
carries it, packed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib

_SIGNED, _PACKED = "ehs1.", "ehp1."
_MOST_BYTES = 4 * 1024 * 1024


def sign(thinking: str) -> str:
    """The signature of *thinking*, which is shown beside it."""
    return _SIGNED + _digest(thinking)


def pack(thinking: str) -> str:
    """The signature of *thinking* that carries it."""
    packed = base64.b64encode(zlib.compress(thinking.encode(errors="replace"))).decode()
    return f"{_PACKED}{_digest(thinking)}.{packed}"


def recognised(thinking: str, signature: str) -> str | None:
    """The text that *signature* stands for, given with *thinking*; None: it is not ours, or the text has changed."""
    if signature.startswith(_SIGNED):
        return thinking if signature == sign(thinking) else None
    if not signature.startswith(_PACKED):
        return None
    digest, _, packed = signature.removeprefix(_PACKED).partition(".")
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(base64.b64decode(packed, validate=True), _MOST_BYTES).decode()
    except (binascii.Error, zlib.error, UnicodeDecodeError):
        return None
    return text if unpacking.eof and _digest(text) == digest and thinking in ("", text) else None


def _digest(thinking: str) -> str:
    return hashlib.blake2b(thinking.encode(errors="replace"), digest_size=24, person=b"enginehouse").hexdigest()
