"""`encrypted_content`: reasoning that a client carries back, signed, so that what is not this server's is told apart.

It is signed and not encrypted: the reasoning is the client's to see in the answer anyway.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

_PREFIX = "eh1."
_SIGNATURE_BYTES = 16


class Seal:
    """Signs reasoning with *key*; without one, of this start of the server alone."""

    def __init__(self, key: str | None = None) -> None:
        self._key = hashlib.sha256(key.encode()).digest() if key else secrets.token_bytes(32)

    def seal(self, reasoning: str) -> str:
        """Return what a client carries for *reasoning*."""
        data = reasoning.encode(errors="replace")
        return _PREFIX + base64.urlsafe_b64encode(self._signature(data) + data).decode()

    def opened(self, sealed: str) -> str | None:
        """Return the reasoning in *sealed*, None where it was not sealed with this key."""
        if not sealed.startswith(_PREFIX):
            return None
        try:
            whole = base64.urlsafe_b64decode(sealed[len(_PREFIX) :].encode())
        except (binascii.Error, ValueError):
            return None
        data = whole[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(whole[:_SIGNATURE_BYTES], self._signature(data)):
            return None
        return data.decode(errors="replace")

    def _signature(self, data: bytes) -> bytes:
        return hmac.digest(self._key, data, "sha256")[:_SIGNATURE_BYTES]
