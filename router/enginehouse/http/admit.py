"""What every endpoint asks of a request before its body is read: method, key, media type and encoding."""

from __future__ import annotations

from enginehouse.accounts import KeyRing
from enginehouse.accounts.keys import Unauthorized
from enginehouse.dialects.refusals import MethodNotAllowed, UnsupportedEncoding, UnsupportedMediaType

from .exchange import Exchange

_JSON = b"application/json"


def admit(exchange: Exchange, keys: KeyRing) -> str:
    """Return the name of the key that *exchange* carries, if its head is one of a request to an endpoint.

    Raises:
        EnginehouseError: what is wrong with it, the first of the list above.
    """
    if exchange.method != "POST":
        raise MethodNotAllowed(exchange.method, ["POST"])
    named = exchange.named
    name = check_key(keys, named.get(b"authorization"))
    media_type = named.get(b"content-type")
    if media_type != _JSON and (media_type is None or media_type.partition(b";")[0].strip().lower() != _JSON):
        raise UnsupportedMediaType(media_type.decode("latin-1") if media_type else None)
    encoding = named.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() != b"identity":
        raise UnsupportedEncoding(encoding.decode("latin-1"))
    return name


def check_key(keys: KeyRing, authorization: bytes | None) -> str:
    """Return the name of the key in *authorization*, the value of that header, as it came.

    Raises:
        Unauthorized: there is none, it is not a bearer's, or the key is not known.
    """
    if authorization is None or keys.is_open:
        return keys.check(None)
    try:
        return keys.check(authorization.decode("utf-8", "surrogateescape"))
    except Unauthorized:
        if authorization.isascii():
            raise
        # Beyond ASCII clients differ: what is no UTF-8 of a known key may be its Latin-1.
        return keys.check(authorization.decode("latin-1"))
