"""docs/configuration.md describes every key, with its default, and every example in it is executed."""

from __future__ import annotations

import json
import re
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from enginehouse.config import Config, Defaults, bind, load_config
from enginehouse.dialects.mounts import mounts
from enginehouse.plugins import Plugins

PAGE = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(?P<key>\w+)` \| (?P<default>[^|]+) \|", re.MULTILINE)


def structs_in(kind: object) -> Iterator[type[msgspec.Struct]]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for part in typing.get_args(kind):
        yield from structs_in(part)


def keys_of(struct: type[msgspec.Struct], section: str = "") -> Iterator[tuple[str, msgspec.structs.FieldInfo]]:
    """Every key of the configuration as `section.key`; names of models do not count."""
    for field in msgspec.structs.fields(struct):
        name = f"{section}.{field.name}".lstrip(".")
        if name in ("file", "named"):
            continue
        inner = list(structs_in(field.type))
        if not inner or section:
            yield name, field
        for part in inner:
            if part is not Defaults or name == "models.defaults":  # those of agents are the same
                yield from keys_of(part, name)


def keys_in(table: dict, section: str = "") -> Iterator[str]:
    for key, value in table.items():
        name = f"{section}.{key}".lstrip(".")
        yield name
        if name.endswith((".options", ".chat_template_kwargs")):
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                # Under these come names first.
                for inner in part.values() if name in ("models", "agents", "hosts") else [part]:
                    yield from keys_in(inner, name)


KEYS = dict(keys_of(Config))


def sections() -> Iterator[tuple[str, str]]:
    """Each section's name in the schema, and its text on the page."""
    for title, text in re.findall(
        r"^###? `\[+(.*?)\]+`(?:: [^\n]*)?$\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL
    ):
        yield title.replace('."…"', ""), text


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_example_is_a_configuration(tmp_path, text):
    if "[mdns]" in text:
        pytest.importorskip("zeroconf", reason="install zeroconf, which the extra mdns brings")
    for name in ("cert.pem", "key.pem", "reference.json"):
        (tmp_path / name).touch()
    (tmp_path / "house.toml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "house.toml")
    assert len(mounts(config, {})) == 1 + len(config.mounts)
    plugins = Plugins.load()
    if "llamacpp" not in plugins.backends:
        pytest.skip("options are checked where the llama.cpp plugin is installed: pip install -e plugins/llamacpp")
    bind(config, plugins.backends, plugins.refusals())


def test_every_key_is_in_an_example():
    shown = {key for text in EXAMPLES for key in keys_in(tomllib.loads(text))}
    assert set(KEYS) - shown == set()


def test_every_key_is_described_with_its_default_in_its_section():
    described = {
        f"{section}.{row['key']}".lstrip("."): row["default"].strip()
        for section, text in sections()
        for row in ROW.finditer(text)
    }
    assert described == {name: default_of(field) for name, field in KEYS.items()}


def default_of(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if field.name == "options":
        return "`{}`"
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if default is None:
        return "none"
    if isinstance(default, msgspec.Struct):
        return "none set"
    return f"`{json.dumps(default)}`"
