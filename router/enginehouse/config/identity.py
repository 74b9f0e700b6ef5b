"""The parts of the configuration that are about what instances answer: fingerprints, references, the watch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from .errors import ConfigError
from .section import Section

if TYPE_CHECKING:
    from .schema import ModelConfig

Fingerprinting = Literal["load", "certify", "off"]
"""When fingerprints are taken: at each load and by `certify`, by that alone, or never."""

Equivalence = Literal["arithmetic", "weights", "near", "any"]
"""The band within which an instance must be of its model's reference."""


class WatchConfig(Section, frozen=True):
    """How upstreams and other hosts are watched: seconds between two probes, and days between two false alarms."""

    interval_s: Annotated[float, Meta(ge=1, le=86_400)] = 60.0
    false_alarm_days: Annotated[float, Meta(gt=0, le=36_500)] = 30.0


def with_references(
    models: Mapping[str, ModelConfig], inside: Callable[[str], str], file: str | None
) -> dict[str, ModelConfig]:
    """*models*, their references where *inside* says.

    Raises:
        ConfigError: one of them is not there, or what compares has no fingerprints.
    """
    found = {}
    for name, model in models.items():
        where = f'models."{name}"'
        if model.compares and model.fingerprint not in (None, "load"):
            what = "equivalence" if model.equivalence != "any" else "reference"
            raise ConfigError(
                f'`fingerprint` is "{model.fingerprint}", and `{what}` needs one of each load.',
                file=file,
                where=f"{where}.fingerprint",
                fix='Write fingerprint = "load", or leave it out.',
            )
        if model.reference is not None:
            path = inside(model.reference)
            if not Path(path).is_file():
                raise ConfigError(
                    f"there is no file '{path}'.",
                    file=file,
                    where=f"{where}.reference",
                    fix="Make one with `enginehouse-conformance fingerprint`, or name one that `certify` stored.",
                )
            model = msgspec.structs.replace(model, reference=path)
        found[name] = model
    return found
