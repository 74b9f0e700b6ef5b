"""What every endpoint asks of a request before its body is read: method, key, media type and encoding."""

from __future__ import annotations

from collections.abc import Mapping

from enginehouse.accounts import KeyRing
from enginehouse.accounts.keys import Unauthorized
from enginehouse.dialects.refusals import MethodNotAllowed, UnsupportedEncoding, UnsupportedMediaType
from enginehouse.telemetry import get_logger

from .exchange import Exchange

log = get_logger()

_JSON = b"application/json"


def admit(exchange: Exchange, keys: KeyRing) -> str:
    """Return the name of the key that *exchange* carries, if its head is one of a request to an endpoint.

    Raises:
        EnginehouseError: what is wrong with it, the first of the list above.
    """
    head = exchange.head
    if head.admitted is not None and head.admitted[0] is keys.generation:
        return head.admitted[1]
    if exchange.method != "POST":
        raise MethodNotAllowed(exchange.method, ["POST"])
    named = exchange.named
    name = check_key(keys, authorization_in(named), exchange.client)
    media_type = named.get(b"content-type")
    if media_type != _JSON and (media_type is None or media_type.partition(b";")[0].strip().lower() != _JSON):
        raise UnsupportedMediaType(media_type.decode("latin-1") if media_type else None)
    encoding = named.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() != b"identity":
        raise UnsupportedEncoding(encoding.decode("latin-1"))
    head.admitted = (keys.generation, name)
    return name


def authorization_in(named: Mapping[bytes, bytes]) -> bytes | None:
    """What the headers *named* (in lower case) say of a key: `authorization`, else `x-api-key`, which holds it bare."""
    given = named.get(b"authorization")
    if given is None and (bare := named.get(b"x-api-key")) is not None:
        return b"Bearer " + bare
    return given


def check_key(keys: KeyRing, authorization: bytes | None, client: str) -> str:
    """Return the name of the key in *authorization*, as that header has it, which came from the address *client*.

    Raises:
        Unauthorized: there is none, it is not a bearer's, or the key is not known; the log has the address.
    """
    try:
        return _check_key(keys, authorization)
    except Unauthorized as error:
        log.warning("key refused", client=client, error=error.code)
        raise


def _check_key(keys: KeyRing, authorization: bytes | None) -> str:
    if authorization is None or keys.is_open:
        return keys.check(None)
    try:
        return keys.check(authorization.decode("utf-8", "surrogateescape"))
    except Unauthorized:
        if authorization.isascii():
            raise
        # Beyond ASCII clients differ: what is no UTF-8 of a known key may be its Latin-1.
        return keys.check(authorization.decode("latin-1"))
