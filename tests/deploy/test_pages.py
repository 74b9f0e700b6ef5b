"""What the pages on containers and Kubernetes tell to type can be typed, and what they tell to write is taken."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from tests.docs.fenced import ROOT, blocks

from enginehouse.cli.group import command_line
from enginehouse.config import load_config

from .conftest import NAME, NEEDED, Render
from .test_containers import IMAGES, TEXT

CONTAINERS, KUBERNETES = "docs/containers.md", "docs/kubernetes.md"
COMMANDS = [
    shlex.split(line)
    for page in (CONTAINERS, KUBERNETES)
    for block in blocks(page)
    if block.language == "sh"
    for line in block.text.replace("\\\n", " ").strip().splitlines()
]


def of(*words: str) -> list[list[str]]:
    """The commands that begin with *words*."""
    return [command for command in COMMANDS if command[: len(words)] == list(words)]


def value(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def parse(words: list[str]) -> None:
    """Have the program's own command line read *words*; nothing is run."""
    group: click.Command = command_line()
    while isinstance(group, click.Group):
        name, words = words[0], words[1:]
        found = group.get_command(click.Context(group), name)
        assert found is not None, name
        group = found
    group.make_context(group.name, words)


def test_there_is_a_command_for_everything() -> None:
    assert {command[0] for command in COMMANDS} == {"docker", "podman", "cp", "enginehouse", "kubectl", "helm"}


def test_images_are_built_as_the_recipe_has_them() -> None:
    built = [*of("docker", "build"), *of("podman", "build")]
    assert built
    for command in built:
        assert (ROOT / value(command, "--file")).is_file()
        target = value(command, "--target")
        assert target in IMAGES
        assert value(command, "--tag").endswith(f"-{target}")


def test_images_are_run_with_words_of_the_program() -> None:
    runs = of("docker", "run")
    assert len(runs) == 2
    for command in runs:
        (at,) = [at for at, word in enumerate(command) if word.startswith("enginehouse:")]
        if command[at + 1 :]:
            parse(command[at + 1 :])
    (served,) = [command for command in runs if "--detach" in command]
    mounts = [served[at + 1].split(":")[1] for at, word in enumerate(served) if word == "--volume"]
    assert mounts == ["/etc/enginehouse/enginehouse.toml", "/data"]
    assert f"ENGINEHOUSE_CONFIG={mounts[0]}" in TEXT
    assert f"VOLUME {mounts[1]}" in TEXT
    for command in (command for command in COMMANDS if command[0] == "enginehouse"):
        parse(command[1:])
    (inside,) = of("docker", "compose", "--file", "deploy/compose/compose.yaml", "exec")
    parse(inside[inside.index("enginehouse") + 1 :])


def test_files_that_commands_name_are_there() -> None:
    for command in COMMANDS:
        for word in command[1:]:
            if word.startswith("deploy/") and not word.endswith("/.env"):
                assert (ROOT / word).exists(), word
    for page in (CONTAINERS, KUBERNETES):
        for link in re.findall(r"\]\((\.\./[^)#]+)", (ROOT / page).read_text()):
            assert (ROOT / "docs" / link).exists(), link


def test_the_file_of_the_page_can_be_used(tmp_path: Path) -> None:
    (text,) = [block.text for block in blocks(CONTAINERS) if block.language == "toml"]
    (tmp_path / "house.toml").write_text(text)
    assert load_config(tmp_path / "house.toml").keys[0].name == "laptop"


def test_installations_of_the_page_can_be_rendered(
    helm: Any, values: Callable[[str], dict[str, Any]], render: Render
) -> None:
    ours = [command for command in [*of("helm", "install"), *of("helm", "upgrade")] if "house" in command]
    assert len(ours) == 2
    for command in ours:
        name = Path(value(command, "--values")).stem if "--values" in command else "default"
        over = helm.parse_set_string(value(command, "--set")) if "--set" in command else {}
        rendered = render(name, over)
        assert rendered.one("Deployment", f"{NAME}-router")
        if over:
            images = {one["image"] for pod in rendered.pods.values() for one in pod["spec"]["containers"]}
            assert all(image.startswith("registry.example.com/enginehouse:") for image in images)


def test_values_of_the_page_are_taken(render: Render, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason=NEEDED)
    found = {block.value: yaml.safe_load(block.text) for block in blocks(KUBERNETES) if block.language == "yaml"}
    assert set(found) == {"models", "secrets"}
    for over in found.values():
        rendered = render(over=over)
        for text in rendered.files().values():
            (tmp_path / "house.toml").write_text(text)
            load_config(tmp_path / "house.toml")
    models = render(over=found["models"])
    url = "http://house-enginehouse-gpu-0.house-enginehouse-gpu.ml.svc:8000"
    assert url in models.files()[f"{NAME}-router"]
    assert url in (ROOT / KUBERNETES).read_text()
    assert "writer" not in models.files()[f"{NAME}-cpu"]


def test_the_table_of_objects_names_each_kind(render: Render) -> None:
    page = (ROOT / KUBERNETES).read_text()
    kinds = {one["kind"] for name in ("default", "autoscaling", "postgresql") for one in render(name)}
    shown = page.partition("| object |")[2].partition("\n\n")[0]
    assert [kind for kind in kinds - {"ServiceAccount", "PersistentVolumeClaim"} if kind not in shown] == []
