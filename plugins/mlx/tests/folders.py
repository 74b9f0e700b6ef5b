"""Folders of weights that differ from the tiny model's in one thing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def copy_of(source: Path, target: Path, *, without: tuple[str, ...] = (), **config: Any) -> Path:
    """*source* in the new folder *target*; its large files by link. *config* goes over `config.json`."""
    target.mkdir()
    for file in source.iterdir():
        if file.name in without:
            continue
        if file.suffix == ".safetensors":
            (target / file.name).symlink_to(file)
        else:
            shutil.copy(file, target / file.name)
    if config:
        path = target / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return target


def with_tokenizer(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """*folder* with its `tokenizer_config.json` changed in place."""
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return folder
