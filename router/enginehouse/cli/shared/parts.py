"""The versions of what is installed, by its metadata alone: nothing of it is imported."""

from __future__ import annotations

import json
import platform
import re
from importlib.metadata import Distribution, distributions
from typing import Literal

import msgspec

from enginehouse import __version__

Kind = Literal["router", "contract", "kit", "suite", "plugin", "engine", "python"]

_OURS: dict[str, Kind] = {
    "enginehouse-plugin": "contract",
    "enginehouse-kit": "kit",
    "enginehouse-conformance": "suite",
}
_PLUGINS = "enginehouse.plugins"
_OF_EXTRA = re.compile(r"""extra\s*==\s*['"]engine['"]""")
_NAME = re.compile(r"[\w.-]+")


class Part(msgspec.Struct, frozen=True):
    """A distribution, or Python. An `engine` is what a plugin's extra `engine` names, and is here."""

    kind: Kind
    name: str
    version: str


def parts() -> list[Part]:
    """The router, then what goes with it, in the order of kinds."""
    there: dict[str, Distribution] = {}
    for each in distributions():
        there.setdefault(_plain(each.metadata["Name"] or ""), each)  # the first is the one that is imported
    plugins = {
        name: each for name, each in there.items() if any(point.group == _PLUGINS for point in each.entry_points)
    }
    engines = dict.fromkeys(name for each in plugins.values() for name in _engines(each) if name in there)
    return [
        Part("router", "enginehouse", __version__),
        *(Part(kind, name, there[name].version) for name, kind in _OURS.items() if name in there),
        *(Part("plugin", name, plugins[name].version) for name in sorted(plugins)),
        *(Part("engine", name, there[name].version) for name in sorted(engines)),
        Part("python", platform.python_implementation(), platform.python_version()),
    ]


def shown(found: list[Part], *, as_json: bool) -> str:
    """*found* for people, or for programs."""
    if as_json:
        return json.dumps(msgspec.to_builtins(found), indent=2)
    router, *others = found
    lines = [f"{router.name}, version {router.version}"]
    width = max(len(part.kind) for part in others)
    return "\n".join([*lines, *(f"{part.kind:{width}}  {part.name} {part.version}" for part in others)])


def _engines(plugin: Distribution) -> list[str]:
    wanted = [text for text in plugin.requires or () if _OF_EXTRA.search(text)]
    return [_plain(found[0]) for text in wanted if (found := _NAME.match(text))]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
