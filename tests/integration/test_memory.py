"""A budget for two of three real models: memory, waits and swaps stay within it, and every request is answered."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from .memory import configuration, run
from .served import LoopBlocked, Served


def test_three_models_take_turns_in_memory_for_two(tmp_path: Path) -> None:
    served = Served(configuration(), tmp_path)
    try:
        found = asyncio.run(run(served, 24))
    finally:
        with contextlib.suppress(LoopBlocked):  # three engines load beside it: what is judged here is memory
            served.close()
    assert found.judge() == []
    assert found.answered == 24
    assert found.loads >= 3
