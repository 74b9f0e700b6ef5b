"""What is done for a request that generates nothing: vectors of texts, or scores."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from enginehouse_plugin import Instance, Task, UsageReport


class Work(msgspec.Struct, frozen=True):
    """What is done on an instance with *task*; `do` keeps what comes of it, and returns what it has used.

    It may be done more than once: where an instance fails, another one does it. `prompt_bytes` bounds the tokens of
    the prompt, where texts count several times; None: the body does.
    """

    task: Task
    do: Callable[[Instance], Awaitable[UsageReport]]
    prompt_bytes: int | None = None
