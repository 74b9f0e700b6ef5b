"""`enginehouse certify`, on the suite's own stub: right, with faults, and with an end of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Run, command_line, install

PLUGIN = """
import asyncio, os, pathlib, time
import msgspec
import enginehouse_plugin as eh
from conformance_stub import Behaviour, StubInstance, stub_backend
from conformance_stub.engine import StubBackend

enginehouse_api = "2.0"


class IgnoresStop(Behaviour):
    def accept(self, request):
        return msgspec.structs.replace(request, stop=())


class Dies(StubInstance):
    '''Its engine ends, unasked, at the third request.'''

    asked = 0

    def generate(self, request):
        self.asked += 1
        if self.asked == 3:
            self._closed.set()
        return super().generate(request)

    async def wait_closed(self):
        await self._closed.wait()
        return eh.ExitReport(is_expected=False, reason="signal 11", last_words=("segmentation fault",))


class Fades(StubInstance):
    '''Is there at first, and not any more when it is asked again.'''

    is_there = True

    async def check_ready(self):
        if not self.is_there:
            raise eh.errors.EngineUnavailable("no pulse")
        self.is_there = False


class Stays(StubInstance):
    async def unload(self):
        await super().unload()
        raise RuntimeError("the engine will not go")


class Made(StubBackend):
    async def probe(self):
        if os.environ.get("STUB_PROBE") == "breaks":
            raise RuntimeError("no version today")
        return await super().probe()

    async def load(self, placement, devices, progress):
        progress(eh.LoadProgress(stage="waking up"))
        match placement.source:
            case "dies":
                return Dies()
            case "fades":
                return Fades()
            case "stays":
                return Stays()
            case "breaks":
                raise ValueError("a fault of the plugin")
            case "fails":
                raise eh.errors.LoadFailed("it gave up.", last_words=("out of ink",))
            case "sleeps":
                await asyncio.sleep(600)
        if placement.path is not None:
            pathlib.Path(placement.path).write_text("other weights")
        parts = IgnoresStop() if placement.source == "liar" else None
        return StubInstance(parts)


@eh.hookimpl
def enginehouse_backends():
    stub = msgspec.structs.replace(stub_backend(), create=Made)
    return [stub, msgspec.structs.replace(stub, name="weighty", needs_weights=True)]
"""

SOURCES = ("right", "liar", "dies", "fades", "stays", "breaks", "fails", "sleeps")


@pytest.fixture(autouse=True)
def house(enginehouse: Run, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a model for each behaviour of the stub."""
    install(site, "stub", "enginehouse_stub", PLUGIN)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.txt").write_text("weights")
    models = [f'[models.{name}]\nplacements = [{{ backend = "stub", source = "{name}" }}]' for name in SOURCES]
    models.append('[models.weighty]\nplacements = [{ backend = "weighty", source = "weights.txt" }]')
    models.append('[models.nowhere]\nplacements = [{ backend = "stub", source = "x", requires = ["apple"] }]')
    file = tmp_path / "house.toml"
    file.write_text("\n".join(models))
    monkeypatch.setenv("ENGINEHOUSE_CONFIG", str(file))
    return file


@pytest.fixture
def stored(tmp_path: Path):
    """The certificates that are stored, as they lie there."""

    def read() -> list[dict]:
        return [json.loads(file.read_text()) for file in (tmp_path / "data" / "certificates").glob("*.json")]

    return read


def test_an_instance_that_honours_everything_gets_its_certificate(enginehouse: Run, stored, tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    done = enginehouse("certify", "right", "--quick", "--json", "--report", str(reports))
    assert done.code == 0, done.err
    (certificate,) = stored()
    assert certificate == done.json
    report = json.loads((reports / "report.json").read_text())
    requirements = json.loads((reports / "requirements.json").read_text())
    assert requirements.keys() == {result["rule"] for result in report["results"]}
    assert all(requirements.values())
    assert (reports / "badge.svg").read_text().startswith("<svg")
    assert certificate["selection"] == "quick"
    assert certificate["features"]["stop"]["state"] == "proven"
    assert certificate["features"]["reasoning"]["state"] == "untested"
    assert "loading: waking up" in done.err
    assert "STOP1" in done.err, "each rule is told as it comes"
    (file,) = (tmp_path / "data" / "certificates").glob("*.json")
    assert f"Stored in {file}" in done.err
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (taken,) = (tmp_path / "data" / "certificates" / "fingerprints").iterdir()
    assert f"Fingerprint of 24 probes stored in {taken}" in done.err
    assert (taken.name, stat.S_IMODE(taken.stat().st_mode)) == (file.name, 0o600)


def test_a_feature_that_is_declared_and_ignored_fails_and_others_do_not(enginehouse: Run, stored) -> None:
    done = enginehouse("certify", "liar", "--quick")
    assert done.code == 1
    assert "FAIL STOP1" in done.err
    (certificate,) = stored()
    features = certificate["features"]
    assert (features["stop"]["state"], features["stop"]["failed"]) == ("failed", ["STOP1"])
    assert {name for name, proof in features.items() if proof["state"] == "failed"} == {"stop"}
    assert features["streaming"]["state"] == "proven"
    assert "STOP1" in certificate["seen"]
    assert any(line.split()[:2] == ["stop", "failed"] for line in done.out.splitlines())


def test_the_listings_show_what_is_proven(enginehouse: Run, house: Path) -> None:
    enginehouse("certify", "liar", "--quick")
    explained = enginehouse("explain", "liar").out
    assert "Certificate: current, of " in explained
    assert "the quick core of suite" in explained
    assert "  stop: failed (STOP1)\n" in explained
    assert "  n: proven\n" in explained
    models = {model["id"]: model["certificate"] for model in enginehouse("models", "--json").json}
    assert (models["liar"]["state"], models["liar"]["features"]["stop"]) == ("current", "failed (STOP1)")
    assert models["right"]["state"] == "none"
    assert models["nowhere"] is None
    table = enginehouse("models").out
    assert "features proven" in table
    assert "no certificate" in table
    assert "'enginehouse certify right' makes one" in enginehouse("explain", "right").out

    house.write_text(house.read_text().replace("[models.liar]", "[models.liar]\ncontext_tokens = 512"))
    assert "is stale: the option context_tokens changed" in enginehouse("explain", "liar").out
    assert "is stale: the option context_tokens changed" in enginehouse("models").out
    assert enginehouse("explain", "liar", "--json").json["models"][0]["certificate"]["state"] == "stale"


def test_a_quick_run_leaves_the_certificate_of_a_whole_one(enginehouse: Run, stored, tmp_path: Path) -> None:
    enginehouse("certify", "right", "--quick")
    (file,) = (tmp_path / "data" / "certificates").glob("*.json")
    file.write_text(file.read_text().replace('"quick"', '"all"'))
    done = enginehouse("certify", "right", "--quick")
    assert done.code == 0
    assert "The certificate of the whole suite stays" in done.err
    assert [certificate["selection"] for certificate in stored()] == ["all"]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("dies", "The engine ended while the suite ran: signal 11.\n  segmentation fault"),
        ("fades", "The engine did not answer any more at the end: no pulse"),
        ("breaks", "it broke: ValueError: a fault of the plugin"),
        ("fails", "it gave up.\n  out of ink"),
        ("weighty", "This changed while the suite ran: the weights changed."),
        ("nowhere", "'nowhere' has no place on this host"),
    ],
)
def test_without_a_result_nothing_is_stored_and_the_reason_is_told(
    enginehouse: Run, stored, model: str, words: str
) -> None:
    done = enginehouse("certify", model, "--quick")
    assert done.code == 1
    assert words in done.err.partition("Error: ")[2], done.err
    assert "Traceback" not in done.err
    assert stored() == []


def test_an_engine_that_cannot_tell_its_version_is_told(enginehouse: Run, stored, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("STUB_PROBE", "breaks")
    done = enginehouse("certify", "right", "--quick")
    assert (done.code, stored()) == (1, [])
    assert "What is certified cannot be told: RuntimeError: no version today" in done.err


def test_an_instance_that_does_not_unload_costs_no_result(enginehouse: Run, stored) -> None:
    done = enginehouse("certify", "stays", "--quick")
    assert done.code == 0, done.err
    assert "The instance did not unload: RuntimeError: the engine will not go" in done.err
    assert len(stored()) == 1


def test_an_unknown_model_is_wrong_usage(enginehouse: Run) -> None:
    done = enginehouse("certify", "polly")
    assert done.code == 2
    assert "There are: right, " in done.err


def test_where_nothing_can_be_stored_nothing_is_loaded(enginehouse: Run, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    done = enginehouse("certify", "right", "--quick")
    assert done.code == 1
    assert done.err.startswith("Error: Certificates cannot be stored in ")
    assert "loading" not in done.err


def test_without_the_suite_the_command_that_installs_it_is_told(enginehouse: Run, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *_: None if name == "enginehouse_conformance" else found(name)
    )
    done = enginehouse("certify", "right")
    assert done.code == 1
    assert done.err.endswith("Install it with: pip install 'enginehouse[certify]'\n")


def test_no_other_command_imports_the_suite() -> None:
    script = (
        "import sys; from enginehouse.cli.commands import certify, explain, models, serve; "
        "import enginehouse.assembly; "
        "sys.exit('enginehouse_conformance' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_interruption_ends_the_run_and_stores_nothing(house: Path, site: Path, stored) -> None:
    # Whoever runs the tests in the background may have told all below it to ignore SIGINT.
    script = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from enginehouse.cli import main; main()"
    )
    paths = os.pathsep.join([str(site), *(path for path in sys.path if path)])
    with subprocess.Popen(
        [sys.executable, "-c", script, "certify", "sleeps"],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert said == "loading: waking up\n"
            process.send_signal(signal.SIGINT)
            _, rest = process.communicate(timeout=600)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Interrupted: nothing is stored." in rest
    assert "Traceback" not in rest
    assert stored() == []


def test_help_says_what_it_does() -> None:
    done = command_line("certify", "--help")
    assert done.returncode == 0
    assert "--quick" in done.stdout
