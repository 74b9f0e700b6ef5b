"""Other machines that serve the same file: each is asked how it is, and what it serves is an instance here, too.

told      what hosts tell each other, with a version
host      one other host: whether it is there, asleep or gone
wake      the packet that wakes one
mdns      where they are, as they announce it
proof     that one is there, which is believed then
hosts     all of them, and the instances that they are to this one
"""

from __future__ import annotations

from .host import Host, HostSnapshot, HostState
from .hosts import Hosts, RemotePlanner
from .mdns import Listener
from .proof import PROOF_PATH, Proof, key_id
from .told import (
    HOST_HEADER,
    LOAD_HEADER,
    SNAPSHOT_PATH,
    SNAPSHOT_VERSION,
    HostTold,
    Incompatible,
    ToldDevice,
    read_told,
    tell,
)
from .wake import magic_packet

__all__ = [
    "HOST_HEADER",
    "LOAD_HEADER",
    "PROOF_PATH",
    "SNAPSHOT_PATH",
    "SNAPSHOT_VERSION",
    "Host",
    "HostSnapshot",
    "HostState",
    "HostTold",
    "Hosts",
    "Incompatible",
    "Listener",
    "Proof",
    "RemotePlanner",
    "ToldDevice",
    "key_id",
    "magic_packet",
    "read_told",
    "tell",
]
