"""What is installed for another interpreter, asked without importing it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Sequence

import msgspec

_TIMEOUT_S = 60.0  # a first start of an interpreter on a slow disk
_ASK = """
import json, sys
from importlib import metadata
def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


def program_of(python: str) -> str | None:
    """The program that *python* names, a path that may begin with `~` or a name on the PATH; None if there is none."""
    return shutil.which(os.path.expanduser(python))


async def versions_in(python: str, names: Sequence[str]) -> dict[str, str | None] | None:
    """Versions of the distributions *names* that the interpreter *python* has, None for those that it lacks.

    Returns None where there is no such interpreter, or it does not answer.
    """
    program = program_of(python)
    if program is None:
        return None
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "-c",
            _ASK,
            *names,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",  # what lies in the working folder is not installed
        )
    except OSError:  # a program for another kind of processor, or a script whose own interpreter is gone
        return None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            output, _ = await process.communicate()
        return msgspec.json.decode(output, type=dict[str, str | None])
    except (TimeoutError, msgspec.MsgspecError):
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            if process.returncode is None:
                process.kill()
                await process.wait()
