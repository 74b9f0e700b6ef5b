from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from enginehouse import assembly
from enginehouse.config import Config

from .conftest import Run


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Configurations that would have been served."""
    configs: list[Config] = []

    def serve(config: Config, *_: Any) -> None:
        configs.append(config)

    monkeypatch.setattr(assembly, "serve", serve)
    return configs


def test_options_win_over_the_configuration(enginehouse: Run, parrot: Path, served: list[Config]) -> None:
    done = enginehouse(
        "serve", "-c", str(parrot), "--host", "::1", "--port", "8123", "--log-format", "json", "--log-level", "error"
    )
    assert done.code == 0
    (config,) = served
    assert (config.server.host, config.server.port) == ("::1", 8123)
    assert (config.log.format, config.log.level) == ("json", "error")
    assert list(config.models) == ["parrot", "big/one"]


def test_an_open_listener_without_keys_is_refused_also_by_option(
    enginehouse: Run, parrot: Path, served: list[Config]
) -> None:
    done = enginehouse("serve", "-c", str(parrot), "--host", "0.0.0.0")
    assert done.code == 2
    assert "no keys are configured" in done.err
    assert served == []


@pytest.mark.parametrize("source", ["lost.txt", "hub:no-revision"])
def test_on_a_terminal_weights_that_are_lost_do_not_keep_the_other_models_from_being_served(
    enginehouse: Run, parrot: Path, served: list[Config], monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """As away from a terminal, where the log tells of it."""
    parrot.write_text(parrot.read_text().replace("fables.txt", source))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    done = enginehouse("serve", "-c", str(parrot))
    assert (done.code, len(served)) == (0, 1)
    assert "parrot: " in done.err
    assert source in done.err


@pytest.mark.parametrize("option", [("--port", "70000"), ("--log-format", "xml"), ("--nope",)])
def test_wrong_options_are_wrong_usage(enginehouse: Run, served: list[Config], option: tuple[str, ...]) -> None:
    assert enginehouse("serve", *option).code == 2
    assert served == []
