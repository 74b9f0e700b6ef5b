"""A cluster on Ray: machines as its nodes.

node      this machine as a node: its process, token and settings
asked     the head, asked what the cluster is, in a process of its own
"""

from __future__ import annotations

from .asked import AskedNode, ClusterAsked, ask
from .node import (
    DEFAULT_PORT,
    LABEL,
    ClusterError,
    RunningNode,
    environment,
    own_address,
    ray_version,
    running,
    start,
    stop,
    token_file,
    write_token,
)

__all__ = [
    "DEFAULT_PORT",
    "LABEL",
    "AskedNode",
    "ClusterAsked",
    "ClusterError",
    "RunningNode",
    "ask",
    "environment",
    "own_address",
    "ray_version",
    "running",
    "start",
    "stop",
    "token_file",
    "write_token",
]
