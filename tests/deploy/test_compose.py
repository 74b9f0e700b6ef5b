"""The compose file is one, and its parts fit together."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from enginehouse.config import load_config

from .conftest import NEEDED, ROOT

FOLDER = ROOT / "deploy/compose"
SCHEMA = ROOT / ".cache/deploy/package/lib/schema.json"


@pytest.fixture
def compose() -> dict[str, Any]:
    """The compose file."""
    yaml = pytest.importorskip("yaml", reason=NEEDED)
    read: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    return read


def test_it_is_of_the_published_schema(compose: Mapping[str, Any]) -> None:
    if not SCHEMA.exists():
        pytest.skip(NEEDED)
    validator = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text()))
    known = {key: value for key, value in compose.items() if key != "name"}  # which is younger than the package
    assert [error.message for error in validator.iter_errors(known)] == []
    assert not validator.is_valid({**known, "services": {"router": {"imag": "x"}}})


def test_a_service_has_bounds_and_no_rights_to_gain(compose: Mapping[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "mem_limit" in service, name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    router = compose["services"]["router"]
    assert (router["read_only"], router["cap_drop"]) == (True, ["ALL"])
    assert (ROOT / "deploy/compose" / router["build"]["context"]).resolve() == ROOT
    assert (ROOT / router["build"]["dockerfile"]).exists()
    assert compose["networks"]["inside"]["internal"] is True
    assert compose["services"]["postgresql"]["networks"] == ["inside"]


def test_the_password_comes_from_a_file_that_git_does_not_know(compose: Mapping[str, Any]) -> None:
    text = (FOLDER / "compose.yaml").read_text()
    needed = set(re.findall(r"\$\{(\w+):\?", text))
    assert needed == {"POSTGRES_PASSWORD"}
    assert (FOLDER / "env.example").read_text().splitlines()[-1] == "POSTGRES_PASSWORD="
    assert ".env" in (FOLDER / ".gitignore").read_text().split()
    for service in ("router", "postgresql"):
        held = {value for key, value in compose["services"][service]["environment"].items() if key.endswith("PASSWORD")}
        assert all(value.startswith("${POSTGRES_PASSWORD:?") for value in held)
        assert held


def test_the_files_that_it_mounts_are_there_and_can_be_used(compose: Mapping[str, Any], tmp_path: Path) -> None:
    for service in compose["services"].values():
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            assert (FOLDER / source).is_file() if source.startswith(".") else source in compose["volumes"]
    shutil.copy(FOLDER / "house.toml", tmp_path)
    config = load_config(tmp_path / "house.toml")
    database = str(config.accounts.url)
    assert database.startswith("postgresql://enginehouse@postgresql/")
    assert compose["services"]["postgresql"]["environment"]["POSTGRES_DB"] == database.rpartition("/")[2]
    grace_s = float(compose["services"]["router"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > config.server.drain_timeout_s


def test_prometheus_asks_the_router(compose: Mapping[str, Any]) -> None:
    yaml = pytest.importorskip("yaml", reason=NEEDED)
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert host in compose["services"]
    assert compose["services"][host]["ports"][0].endswith(f":{port}")
    assert job.get("metrics_path", "/metrics") == "/metrics"
    assert job["honor_labels"] is True
