"""One client for an upstream, with two ways to reach it.

Plain HTTP without a proxy goes by the kit's client, from the socket's callback to the sink. TLS, proxies and private
authorities go by httpx2, which is read with awaits: one task for each request, one batch for each read. It is imported
where it is needed alone, as that takes longer than many a command.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from enginehouse_kit.http.client import LocalClient

from .address import Address
from .options import UpstreamOptions

if TYPE_CHECKING:
    from .secure import SecureClient

    Client: TypeAlias = LocalClient | SecureClient

MAX_BODY_BYTES: Final = 64 * 1024 * 1024

Headers = Sequence[tuple[str, str]]


def make_client(address: Address, options: UpstreamOptions, key: str | None) -> Client:
    """The client for the upstream at *address*.

    Raises:
        LoadFailed: the file of authorities cannot be read.
    """
    headers: Headers = () if key is None else (("authorization", f"Bearer {key}"),)
    if options.from_host is not None:
        headers = (*headers, ("x-enginehouse-host", options.from_host))
    if address.scheme == "http" and options.proxy is None:
        return LocalClient(
            (address.host, address.port),
            max_idle=options.max_connections,
            max_body_bytes=MAX_BODY_BYTES,
            connect_timeout_s=options.connect_timeout_s,
            headers=headers,
        )
    from .secure import SecureClient

    return SecureClient(address, options, headers)
