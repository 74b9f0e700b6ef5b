"""What a certificate is valid for. Everything that may change what an instance honours is part of the key."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from enginehouse.plugins import probed
from enginehouse_plugin import BackendType, Device, Placement

from .digests import Digests

_TEMPLATE = "chat_template"  # options and files of weights that begin so replace the model's own template
_TOLERANCE = 0.5
SUITE = "enginehouse-conformance"


class Key(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The parts of the key.

    `weights` and `template` are SHA-256; weights that the backend fetches by itself are known by their source
    alone. `options` maps each name to a digest of its value: values may be secrets. `engine_version` is that of the
    interpreter which the placement names, and `environment` a digest of all that is installed beside that; without
    one it is None. `suite` None: no suite is installed. `identity` is what a server that somebody else runs shows.
    """

    backend: str
    plugin_version: str
    engine: str
    engine_version: str | None
    environment: str | None
    weights: str
    template: str
    options: dict[str, str]
    devices: tuple[str, ...]
    suite: str | None
    identity: dict[str, str | float] = {}  # left out where there is none, so that older certificates keep their names

    @property
    def name(self) -> str:
        """A name for the key, the same for the same parts."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:40]


def suite_version() -> str | None:
    """The version of the conformance suite that is installed here, without importing it."""
    try:
        return importlib.metadata.version(SUITE)
    except importlib.metadata.PackageNotFoundError:
        return None


async def engine_of(kind: BackendType, python: str | None) -> tuple[str, str | None]:
    """The engine's name and version, as the backend tells them of the interpreter *python*, or of its own choice."""
    report = await probed(kind.create(), python)
    return report.engine, report.engine_version


def key_of(
    kind: BackendType,
    placement: Placement,
    devices: tuple[Device, ...],
    engine: tuple[str, str | None],
    digests: Digests,
    on_bytes: Callable[[int], None],
    identity: Mapping[str, str | float] | None = None,
) -> Key:
    """The key of what *kind* loads for *placement* on *devices*. Reads the weights where their digest is not known.

    Blocks: call it in a thread. To cancel, let *on_bytes* raise.

    Raises:
        OSError: the weights cannot be read.
    """
    options = msgspec.to_builtins(placement.options, enc_hook=str) if placement.options is not None else {}
    values = {name: _value(value, digests) for name, value in options.items()}
    values["context_tokens"] = _value(placement.context_tokens, digests)
    template = {name: values.pop(name) for name in list(values) if name.startswith(_TEMPLATE)}
    if placement.path is None:
        weights = f"source:{_digest(placement.source)}"
    else:
        path = Path(placement.path)
        weights = digests.of(path, lambda name: not name.startswith(_TEMPLATE), on_bytes)
        if path.is_dir():
            template[""] = digests.of(path, lambda name: name.startswith(_TEMPLATE), on_bytes)
    return Key(
        backend=kind.name,
        plugin_version=kind.version,
        engine=engine[0],
        engine_version=engine[1],
        environment=environment_of(placement.python) if placement.python is not None else None,
        weights=weights,
        template=_digest(template),
        options=values,
        devices=tuple(f"{device.kind} ({device.name})" for device in devices),
        suite=suite_version(),
        identity=dict(identity or {}),
    )


def environment_of(python: str) -> str:
    """A digest of the distributions that are installed beside the interpreter *python*, and of its own place."""
    # Not resolved: an environment's interpreter is a link to another one.
    place = Path(shutil.which(python) or python).expanduser().absolute()
    found = [*place.parent.parent.glob("lib/python3*/site-packages/*.dist-info"),
             *place.parent.glob("Lib/site-packages/*.dist-info")]  # fmt: skip
    return _digest([str(place), *sorted(info.name for info in found)])


def changes(old: Key, new: Key) -> tuple[str, ...]:
    """The parts in which *new* differs from *old*, in words. A suite that is not installed differs from none."""
    found = [
        f"{what} was {_shown(before)} and is {_shown(after)}"
        for what, before, after in (
            ("the backend", old.backend, new.backend),
            ("the plugin's version", old.plugin_version, new.plugin_version),
            ("the engine", old.engine, new.engine),
            ("the engine's version", old.engine_version, new.engine_version),
            ("the hardware", ", ".join(old.devices), ", ".join(new.devices)),
            ("the suite's version", old.suite, new.suite or old.suite),
        )
        if before != after
    ]
    found += [
        f"{what} changed"
        for what, before, after in (
            ("the environment of the engine", old.environment, new.environment),
            ("the weights", old.weights, new.weights),
            ("the chat template", old.template, new.template),
        )
        if before != after
    ]
    names = sorted(
        name for name in old.options.keys() | new.options.keys() if old.options.get(name) != new.options.get(name)
    )
    found += [
        f"its server's {name} was {before!r} and is {after!r}"
        for name in sorted(old.identity.keys() | new.identity.keys())
        if not _is_alike(before := old.identity.get(name), after := new.identity.get(name))
    ]
    if names:
        found.append(f"the option{'s' if len(names) > 1 else ''} {', '.join(names)} changed")
    return tuple(found)


def _is_alike(before: str | float | None, after: str | float | None) -> bool:
    """Numbers differ by what runs beside a request, too."""
    if isinstance(before, (int, float)) and isinstance(after, (int, float)):
        return abs(before - after) <= _TOLERANCE
    return before == after


def _shown(value: str | None) -> str:
    return value or "none"


def _value(value: object, digests: Digests) -> str:
    """A digest of an option's value; of a path to a file also of what is in the file."""
    if isinstance(value, str) and (content := digests.of_named(value)) is not None:
        return _digest([value, content])
    return _digest(value)


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]
