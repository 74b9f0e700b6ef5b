"""The bombs against a running router with the tiny model: `python -m tests.schemas.bombs_live [NAME…]`.

Each is sent as `response_format`, as the parameters of a strict tool and of one that is not, while `/health` is asked
all the time. Prints statuses, the slowest `/health` beside that of a server that does nothing, what the router's loop
computed without a pause meanwhile, and the memory that it kept. Exits 1 where an answer is no answer or no clear
refusal, a tool that is not strict is refused, or the loop computes for more than `MOST_MS` in one piece: that, and
not the wall clock, tells the router's part on a machine that others use, too.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from tests.siege.client import Answer
from tests.siege.house import SERVER, House, house, tiny
from tests.siege.pulse import MOST_MS, pulse

from enginehouse.telemetry.watchdog import LIMIT_VARIABLE

from .bombs import BOMBS, MOST_MIB

_NOTED_MS = 10
_MESSAGES = [{"role": "user", "content": "x"}]


def bodies(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:  # Any: JSON
    """Requests that hold *schema*, by what it is in them."""
    chat = {"model": "tiny", "max_tokens": 1, "messages": _MESSAGES}
    function = {"name": "f", "parameters": schema}
    return {
        "response_format": chat
        | {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": schema}}},
        "strict tool": chat | {"tools": [{"type": "function", "function": function | {"strict": True}}]},
        "tool": chat | {"tools": [{"type": "function", "function": function}]},
    }


def fault_of(kind: str, answer: Answer) -> str | None:
    """What is wrong with *answer* to a body of this *kind*."""
    refused = answer.error_code if answer.status == 400 else None  # also for the length of the prompt
    if answer.status == 200 or (refused is not None and (refused, kind) != ("unsupported_schema", "tool")):
        return None
    return f"{kind}: {answer.status} {answer.body[:200]!r}"


async def tried(running: House, name: str) -> list[str]:
    """Send the bomb *name* in each kind of body, print what came of it, and return its faults."""
    faults, statuses = [], []
    noted = len(running.events("event loop blocked"))
    before = running.resident_mib()
    async with pulse(running) as seen, running.client(timeout_s=120) as client:
        for kind, body in bodies(BOMBS[name]).items():
            answer = await client.chat(body)
            statuses.append(str(answer.status))
            fault = fault_of(kind, answer)
            faults += [] if fault is None else [f"{name}: {fault}"]
    kept = running.resident_mib() - before
    blocks = [1000 * float(event["computed_s"]) for event in running.events("event loop blocked")[noted:]]
    longest = max(blocks, default=0.0)
    print(f"{name:43} {' '.join(statuses)}  {seen.text():52} loop {longest:3.0f} ms {kept:+5.0f} MiB", flush=True)
    faults += [f"{name}: the loop computed {longest:.0f} ms in one piece"] if longest > MOST_MS else []
    return faults + ([f"{name}: {kept:.0f} MiB are kept"] if kept > MOST_MIB else [])


async def main() -> int:
    """Try those that were named, or all; the exit status."""
    faults = []
    async with house(SERVER + tiny(), under=("env", f"{LIMIT_VARIABLE}={_NOTED_MS}")) as running:
        async with running.client() as client:
            await client.chat({"model": "tiny", "max_tokens": 1, "messages": _MESSAGES})
        for name in sys.argv[1:] or BOMBS:
            faults += await tried(running, name)
    print("faults:", *faults, sep="\n  ")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
