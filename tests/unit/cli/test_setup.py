"""What most commands begin with: a configuration bound to the plugins of this host."""

from __future__ import annotations

from pathlib import Path

import pytest

from enginehouse.cli.shared.setup import set_up


@pytest.mark.usefixtures("enginehouse")
@pytest.mark.parametrize("backend", ["llamacpp", "mlx", "vllm"])
def test_a_template_file_is_relative_to_the_configuration_on_every_engine(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "house.toml"
    file.write_text(f"""
        [[models.m.placements]]
        backend = "{backend}"
        source = "weights"
        options = {{ chat_template_file = "templates/m.jinja" }}
    """)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (placement,) = set_up(str(file), is_weighed=False).config.models["m"].placements
    assert placement.options.chat_template_file == str(tmp_path.resolve() / "templates" / "m.jinja")
