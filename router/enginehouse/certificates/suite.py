"""The conformance suite, an extra, and what a configuration needs of it."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Final

from enginehouse.config import Config, ConfigError

SUITE_MODULE: Final = "enginehouse_conformance"
INSTALL: Final = "pip install 'enginehouse[certify]'"


def check_fingerprints(config: Config) -> None:
    """Find out whether the fingerprints that *config* asks for can be taken, and its references read. Blocks.

    Raises:
        ConfigError: the suite is not installed, or a reference is no fingerprint.
    """
    taking = [name for name, model in config.models.items() if config.fingerprint_in(model) == "load"]
    if not taking:
        return
    if importlib.util.find_spec(SUITE_MODULE) is None:
        model = config.models[taking[0]]
        key = "equivalence" if model.equivalence != "any" else "reference" if model.reference else "fingerprint"
        raise ConfigError(
            "fingerprints are taken by the conformance suite, which is not installed.",
            file=config.file,
            where=f'models."{taking[0]}".{key}',
            fix=f"Install it with: {INSTALL}",
        )
    answers = importlib.import_module("enginehouse.certificates.answers")  # here, and not when something loads
    for name, model in config.models.items():
        if model.reference is not None:
            try:
                answers.read_fingerprint(Path(model.reference))
            except answers.CannotCompare as error:
                raise ConfigError(f"{error}.", file=config.file, where=f'models."{name}".reference') from error
