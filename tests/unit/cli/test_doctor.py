from __future__ import annotations

import socket
from pathlib import Path

from .conftest import Run, install

ABSENT_ENGINE = """
import msgspec
import enginehouse_plugin as eh
from enginehouse_plugin.errors import EngineUnavailable
enginehouse_api = "2.0"
class Options(msgspec.Struct): pass
class Absent(eh.Backend):
    async def probe(self):
        return eh.ProbeReport(available=False, engine="steam", fix="apt-get install steam")
    async def load(self, placement, devices, progress): ...
class Angry(Absent):
    async def probe(self):
        raise EngineUnavailable("no steam")
@eh.hookimpl
def enginehouse_backends():
    return [eh.BackendType(name="steam", version="1", create=Absent, options=Options),
            eh.BackendType(name="angry", version="1", create=Angry, options=Options)]
"""


def by_name(report: dict[str, list[dict[str, str]]]) -> dict[str, dict[str, str]]:
    return {f"{check['area']} {check['name']}": check for check in report["checks"]}


def test_doctor_looks_at_everything(enginehouse: Run, parrot: Path) -> None:
    checks = by_name(enginehouse("doctor", "--config", str(parrot), "--json").json)
    for name in ("host enginehouse", "device cpu", "host cache", "plugin markov", "engine markov", "model parrot"):
        assert checks[name]["verdict"] == "ok", checks[name]
    assert checks["model big/one"]["verdict"] == "note"


def test_a_model_for_other_hosts_is_a_note_and_a_host_with_nothing_to_serve_lacks_something(
    enginehouse: Run, parrot: Path
) -> None:
    done = enginehouse("doctor", "--config", str(parrot), "--json")
    check = by_name(done.json)["model big/one"]
    assert (done.code, check["verdict"]) == (0, "note")
    assert "it requires apple" in check["detail"]
    parrot.write_text(
        parrot.read_text()
        .replace('source = "fables.txt"', 'source = "x"\nrequires = ["apple"]')
        .replace('source = "demo:smollm2-135m"', 'source = "x"\nrequires = ["apple"]')
    )
    done = enginehouse("doctor", "--config", str(parrot), "--json")
    checks = by_name(done.json)
    assert (done.code, checks["model big/one"]["verdict"], checks["model parrot"]["verdict"]) == (
        1,
        "missing",
        "missing",
    )


def test_only_what_the_configuration_needs_makes_it_fail(enginehouse: Run, site: Path, tmp_path: Path) -> None:
    install(site, "steam", "enginehouse_steam", ABSENT_ENGINE)
    (tmp_path / "weights").write_text("w")
    config = tmp_path / "c.toml"
    config.write_text('[server]\nport = 0\n[[models.m.placements]]\nbackend = "markov"\nsource = "weights"\n')
    done = enginehouse("doctor", "-c", str(config), "--json")
    assert done.code == 0
    checks = by_name(done.json)
    assert checks["engine steam"] == {
        "area": "engine",
        "name": "steam",
        "verdict": "note",
        "detail": "steam",
        "fix": "apt-get install steam",
    }
    assert checks["engine angry"]["detail"] == "angry: no steam"
    config.write_text('[server]\nport = 0\n[[models.m.placements]]\nbackend = "steam"\nsource = "weights"\n')
    done = enginehouse("doctor", "-c", str(config))
    assert done.code == 1
    assert "MISSING engine  steam" in done.out
    assert "fix: apt-get install steam" in done.out


def test_a_configuration_that_cannot_be_used_is_one_finding_among_others(enginehouse: Run, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[server]\nprot = 1\n")
    done = enginehouse("doctor", "-c", str(config), "--json")
    assert done.code == 1
    checks = by_name(done.json)
    assert "Did you mean 'port'?" in checks[f"config {config}"]["detail"]
    assert checks["device cpu"]["verdict"] == "ok"


def test_a_refused_plugin_is_told_with_its_reason(enginehouse: Run, site: Path) -> None:
    install(site, "broken", "enginehouse_broken", "raise RuntimeError('it is broken')")
    checks = by_name(enginehouse("doctor", "--json").json)
    assert "it is broken" in checks["plugin broken"]["detail"]


def test_weights_that_can_be_fetched_come_with_the_command(enginehouse: Run, site: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[server]\nport = 0\n[[models.m.placements]]\nbackend = "markov"\nsource = "demo:smollm2-135m"\n')
    done = enginehouse("doctor", "-c", str(config), "--json")
    check = by_name(done.json)["model m"]
    assert (check["verdict"], check["fix"]) == ("note", f"enginehouse models pull m --config {config}")
    assert done.code == 0


def test_weights_that_nobody_can_fetch_are_missing(enginehouse: Run, site: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[server]\nport = 0\n[[models.m.placements]]\nbackend = "markov"\nsource = "lost.txt"\n')
    done = enginehouse("doctor", "-c", str(config), "--json")
    assert by_name(done.json)["model m"]["verdict"] == "missing"
    assert done.code == 1


def test_a_port_that_is_taken_is_told(enginehouse: Run, site: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = tmp_path / "c.toml"
        config.write_text(f'[server]\nport = {port}\n[[models.m.placements]]\nbackend = "markov"\nsource = "c.toml"\n')
        done = enginehouse("doctor", "-c", str(config), "--json")
    check = by_name(done.json)["host port"]
    assert check["verdict"] == "note"
    assert f"127.0.0.1:{port}" in check["detail"]
    assert done.code == 0


def test_a_cache_that_cannot_be_used_is_missing(enginehouse: Run, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ENGINEHOUSE_CACHE", str(tmp_path / "file"))
    done = enginehouse("doctor", "--json")
    assert by_name(done.json)["host cache"]["verdict"] == "missing"
    assert done.code == 1
