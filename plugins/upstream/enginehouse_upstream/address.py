"""The URLs of upstreams and proxies, read strictly."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

import msgspec

_PORTS = {"http": 80, "https": 443}


class Address(msgspec.Struct, frozen=True):
    """Where an upstream is: `prefix` is what stands before `/models` and `/chat/completions`, as `/v1`."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def origin(self) -> str:
        """The URL without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        shown = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{shown}"


def read_address(source: str) -> Address:
    """The address that *source* names; without a path it is `/v1`.

    Raises:
        ValueError: it is no URL of an upstream; the message says what is allowed.
    """
    url = _read(source, "source", tuple(_PORTS))
    if url.query or url.fragment:
        raise ValueError(f"source: '{source}' ends with a query or fragment, which the URL of an upstream has not")
    path = url.path.rstrip("/")
    return Address(url.scheme, str(url.hostname), url.port or _PORTS[url.scheme], path or "/v1")


def read_proxy(text: str) -> str:
    """*text*, if it is the URL of a proxy.

    Raises:
        ValueError: it is not; the message says what is allowed.
    """
    _read(text, "proxy", ("http", "https"))
    return text


def _read(text: str, what: str, schemes: tuple[str, ...]) -> SplitResult:
    wanted = f"give one such as {schemes[-1] if what == 'source' else schemes[0]}://host:port"
    try:
        url = urlsplit(text)
        port_is_good = url.port is None or url.port > 0
    except ValueError as error:
        raise ValueError(f"{what}: '{text}' is no URL ({error}); {wanted}") from None
    if url.username is not None or url.password is not None:  # not shown: it is a secret
        raise ValueError(
            f"{what}: the URL holds a name or a password, and secrets do not belong in a configuration; "
            + ("use key_env or key_file" if what == "source" else 'set HTTPS_PROXY, and proxy = "environment"')
        )
    if url.scheme not in schemes or not url.hostname or not port_is_good or any(c.isspace() for c in text):
        raise ValueError(f"{what}: '{text}' is no URL for it ({' or '.join(schemes)}); {wanted}")
    return url
