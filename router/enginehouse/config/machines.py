"""The sections about other machines: each of them, and how they are found."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .section import PathName, Seconds, Section

MDNS = "mdns:"
"""What the URL of a host begins with whose address is found."""


class HostConfig(Section, frozen=True):
    """Another machine that serves the same file, at `url`; this one may be among them.

    `wake` is the address of its network card, where a packet to `wake_to` wakes it: when `needed`, because nobody else
    serves what is asked for, or whenever something is asked for that it would serve (`prefer`).

    With `url` as `mdns:NAME` it is where the host that announces itself as NAME was found.
    """

    url: Annotated[str, Meta(pattern=r"^(https?://[^\s/?#@]+/?|mdns:[A-Za-z0-9][A-Za-z0-9._-]{0,62})\Z")]
    key_env: Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")] | None = None
    key_file: PathName | None = None
    wake: Annotated[str, Meta(pattern=r"^([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}\Z")] | None = None
    wake_when: Literal["needed", "prefer"] = "needed"
    wake_to: Annotated[str, Meta(pattern=r"^([0-9.]+|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}\Z")] = "255.255.255.255:9"
    wake_timeout_s: Seconds = 120.0

    @property
    def announced_as(self) -> str | None:
        """The name by which its address is found; None: that is in the file."""
        return self.url.removeprefix(MDNS) if self.url.startswith(MDNS) else None

    def __post_init__(self) -> None:
        if self.key_env is not None and self.key_file is not None:
            raise ValueError("give `key_env` or `key_file`, not both")
        if self.wake is None and self.wake_when == "prefer":
            raise ValueError("`wake_when` needs `wake`, the address of its network card")


class ClusterConfig(Section, frozen=True):
    """The cluster whose nodes serve the models: `engine` holds it together. `address` is that of its head, and
    `token_file` has its token; None: as this machine is a node of it.
    """

    engine: Literal["ray"]
    address: Annotated[str, Meta(pattern=r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}\Z")] | None = None
    token_file: PathName | None = None


class MdnsConfig(Section, frozen=True):
    """Multicast DNS, for addresses alone: whether this server tells its own, as `name`, and looks for others."""

    announce: bool = False
    discover: bool = False
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}\Z")] | None = None
