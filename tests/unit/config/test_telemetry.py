"""`[telemetry]`: what cannot be used is named at the start, with what is allowed and what to install."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from enginehouse.config import Config, ConfigError, export_settings, load_config


def load(folder: Path, section: str) -> Config:
    (folder / "house.toml").write_text(f"[telemetry]\n{section}\n")
    return load_config(folder / "house.toml")


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_is_exported_unasked(tmp_path: Path) -> None:
    assert not export_settings(load(tmp_path, "sample = 0.5")).is_on


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("sample = 1.5", "telemetry.sample"),
        ("trace = true", "Did you mean 'traces'"),
        ('traces = "yes"', "telemetry.traces"),
        ('traces = true\nendpoint = "collector:4318"', "telemetry.endpoint: It is no address of a collector."),
    ],
)
def test_a_key_that_cannot_be_used_is_named(section: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        load(tmp_path, section)
    assert told in str(refusal.value)


def test_a_variable_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "often")
    with pytest.raises(ConfigError, match="OTEL_TRACES_SAMPLER: 'often' is none of always_on"):
        load(tmp_path, "traces = true")


@pytest.mark.parametrize("has_other_parts", [True, False])
def test_a_missing_extra_says_which(has_other_parts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def absent(name: str, *rest: Any) -> Any:
        if not name.startswith("opentelemetry"):
            return find(name, *rest)
        if has_other_parts:  # such as the API, which other packages bring
            return None
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", absent)
    with pytest.raises(ConfigError, match=r"telemetry: .* Install them with `pip install 'enginehouse\[otel\]'`\."):
        load(tmp_path, "metrics = true")
