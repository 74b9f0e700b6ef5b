"""Builds a wheel whose hottest modules are compiled, where `ENGINEHOUSE_COMPILED=1` asks for that.

The modules are named in pyproject.toml, and stay plain Python: sources go into the wheel too, and every other wheel,
and every editable install, has these alone. It needs a C compiler and Python's headers, and a checkout, for the types
of the contract; mypyc, a part of mypy, does the work. Of other packages' types most are not read: there are too many.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SETUP = """
import sys

from mypyc.build import mypycify
from setuptools import setup

setup(name="compiled", packages=[], ext_modules=mypycify(
    ["--config-file=mypy.ini", *sys.argv.pop(1).split()], multi_file=True, opt_level="2", debug_level="0"))
"""
_UNREAD = "alembic anyio click filelock httpx2 huggingface_hub litestar pg8000 pluggy psutil rich sqlalchemy structlog"
_MYPY = f"""
[mypy]
python_version = 3.11
ignore_missing_imports = True

[mypy-{".*,".join(_UNREAD.split())}.*]
follow_imports = skip
"""


class CompiledHook(BuildHookInterface[Any]):
    """Compiles `modules`, files below the folder `source`; `types` are folders with packages that they import."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put what came of it into the wheel."""
        if version == "editable" or os.environ.get("ENGINEHOUSE_COMPILED") != "1":
            return
        root = Path(self.root)
        source = root / self.config["source"]
        modules: list[str] = self.config["modules"]
        absent = [name for name in modules if not (source / name).is_file()]
        if absent:
            raise ValueError(f"pyproject.toml names modules to compile that are not there: {', '.join(absent)}.")
        self._folder = Path(tempfile.mkdtemp(prefix="compiled-"))  # until `finalize`
        for package in {Path(name).parts[0] for name in modules}:
            shutil.copytree(source / package, self._folder / package, ignore=shutil.ignore_patterns("*.so", "*.pyd"))
        (self._folder / "setup.py").write_text(_SETUP)
        (self._folder / "mypy.ini").write_text(_MYPY)
        types = [str(root / folder) for folder in self.config["types"]]
        if not all(Path(folder).is_dir() for folder in types):
            raise ValueError(f"Compiled wheels are built from a checkout, which has {' and '.join(types)}.")
        argv = [sys.executable, "setup.py", " ".join(modules), "-q", "build_ext", "--inplace", f"-j{os.cpu_count()}"]
        found = {"MYPYPATH": os.pathsep.join([str(self._folder), *types]), "CFLAGS": os.environ.get("CFLAGS", "-g0")}
        done = subprocess.run(  # noqa: S603  # the interpreter that builds the wheel
            argv,
            cwd=self._folder,
            env={**os.environ, **found},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"The modules cannot be compiled:\n{done.stdout}")
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        made = [*self._folder.glob("*.so"), *self._folder.glob("*.pyd")]
        made += [file for name in modules for file in (self._folder / name).parent.glob(f"{Path(name).stem}.*.*")]
        for file in made:
            if file.suffix in (".so", ".pyd"):
                build_data["force_include"][str(file)] = str(file.relative_to(self._folder))

    def dependencies(self) -> list[str]:
        """What the build needs beside hatchling."""
        return ["mypy>=2.1,<3", "msgspec", "setuptools>=65"] if os.environ.get("ENGINEHOUSE_COMPILED") == "1" else []

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was made on the way."""
        del version, build_data, artifact_path
        folder = getattr(self, "_folder", None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
