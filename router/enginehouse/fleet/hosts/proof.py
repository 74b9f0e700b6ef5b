"""What a host proves before it is sent anything to an address that mDNS has found: that it is who its name says.

Whoever asks sends a nonce, and which key is meant, but not the key. The answer is an HMAC under what the host keeps of
that key, of the nonce, the host's own name and the address at which the host was asked. Who announces another's name
and hands the question on gets an answer that is of no use to it: another host puts its own name into that, and the real
one its own address.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from typing import Final
from urllib.parse import urlsplit

import msgspec

from .told import Incompatible

PROOF_PATH: Final = "/hosts/proof"
_DOMAIN: Final = b"enginehouse host proof 1"
_ID_DOMAIN: Final = b"enginehouse key id"
_ID_LETTERS: Final = 16


class Proof(msgspec.Struct, frozen=True):
    """What a host answers."""

    proof: str


class Unproven(Incompatible):
    """What was found as a host cannot prove that it is the one."""


_decode = msgspec.json.Decoder(Proof).decode


class Question:
    """Asks the host that is called *name*, and is said to be at *url*, whether it knows the key *secret*."""

    def __init__(self, secret: str, name: str, url: str) -> None:
        parts = urlsplit(url)
        digest = hashlib.sha256(secret.encode()).digest()
        nonce = secrets.token_hex(32)
        self.url = f"{url}{PROOF_PATH}?key={key_id(digest)}&nonce={nonce}"
        self._wanted = prove(digest, name, address(str(parts.hostname), parts.port or 80), nonce)

    def check(self, status: int, body: bytes) -> None:
        """Hear the answer.

        Raises:
            Unproven: it proves nothing.
        """
        if status != 200:
            raise Unproven(f"it answers with status {status}; has its file this key, and does it announce itself?")
        try:
            given = _decode(body).proof
        except msgspec.DecodeError as error:
            raise Unproven(f"it does not answer like a host of Enginehouse ({error})") from error
        if not hmac.compare_digest(given.encode(), self._wanted.encode()):
            raise Unproven("its proof is wrong, or that of another host")


def key_id(digest: bytes) -> str:
    """How a key is told from others by who does not know it; *digest* is its SHA-256."""
    return hashlib.sha256(_ID_DOMAIN + digest).hexdigest()[:_ID_LETTERS]


def prove(digest: bytes, name: str, at: str, nonce: str) -> str:
    """The answer of the host called *name* to *nonce*, if it was asked at the address *at*, in hexadecimal."""
    return hmac.digest(digest, b"\0".join((_DOMAIN, name.encode(), at.encode(), nonce.encode())), "sha256").hex()


def address(host: str, port: int | None) -> str:
    """The one way to write the address *host*, of which a system may have several, with *port*.

    Raises:
        ValueError: it is none.
    """
    found = ipaddress.ip_address(host.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return f"{mapped or found} {port}"
