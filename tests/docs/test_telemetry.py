"""docs/telemetry.md has the code's names and numbers, and its configuration is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from enginehouse.config import load_config
from enginehouse.telemetry import ExportSettings, genai

from .fenced import ROOT, blocks

PAGE = "docs/telemetry.md"
TEXT = (ROOT / PAGE).read_text()


def test_the_configuration_of_the_page_is_one(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="install the extra otel")
    (block,) = [block for block in blocks(PAGE) if block.language == "toml"]
    (tmp_path / "house.toml").write_text(block.text)
    config = load_config(tmp_path / "house.toml").telemetry
    assert (config.traces, config.metrics, config.endpoint) == (True, True, "http://127.0.0.1:4318")


def test_the_variables_of_the_page_switch_it_on() -> None:
    (block,) = [block for block in blocks(PAGE) if block.value == "variables"]
    settings = ExportSettings.read(None, None, None, None, dict(line.split("=", 1) for line in block.text.splitlines()))
    assert settings.traces
    assert settings.metrics


def test_the_page_names_what_is_sent_and_nothing_else() -> None:
    named = set(re.findall(r"`((?:gen_ai|http|error)\.[a-z_.]+)`", TEXT))
    sent = {value for name, value in vars(genai).items() if name.isupper() and isinstance(value, str)}
    sent |= {one.name for one in genai.INSTRUMENTS}
    assert named == sent - {genai.CONVENTIONS, genai.SCHEMA_URL}
    spans = (ROOT / "router/enginehouse/telemetry/spans.py").read_text()
    assert set(re.findall(r"`(enginehouse\.[a-z_.]+)`", TEXT)) == set(re.findall(r'"(enginehouse\.[a-z_.]+)"', spans))


def test_the_page_names_the_version_of_the_conventions() -> None:
    assert f"**{genai.CONVENTIONS}**" in TEXT


def test_the_page_has_the_defaults_of_the_code() -> None:
    defaults = ExportSettings(traces=True, metrics=True)
    assert f"`OTEL_BSP_SCHEDULE_DELAY` | `{defaults.delay_s * 1000:.0f}`" in TEXT
    assert f"`OTEL_BSP_MAX_EXPORT_BATCH_SIZE` | `{defaults.queue_size}`, `{defaults.batch_size}`" in TEXT
