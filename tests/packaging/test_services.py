"""`enginehouse service` on a machine with systemd: installed, started, killed, started again, and without leavings.

The router is installed from the wheels, as a user would, and answers with llama.cpp under the unit's protections.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.docs.fenced import blocks

from enginehouse.weights import cache_folder

from .machine import GUEST_ID, HOME, Machine, machine, missing

PYTHON = "/usr/bin/python3"
"""The system's own: the one of the tests may stand in a home that no other account reads."""
UV = Path(sys.executable).with_name("uv")
MODEL = "smollm2-135m"
_WAIT_S = 120.0
CONFIG = f"""
[server]
port = 8765
admin_socket = "ADMIN"

[models."{MODEL}"]
context_tokens = 512
placements = [{{ backend = "llamacpp", source = "demo:{MODEL}" }}]
"""
ASK = """
import json, urllib.request
body = {"model": "smollm2-135m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
kind = {"content-type": "application/json"}
asked = urllib.request.Request("http://127.0.0.1:8765/v1/chat/completions", json.dumps(body).encode(), kind)
print(json.load(urllib.request.urlopen(asked, timeout=120))["usage"]["completion_tokens"])
"""
READY = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8765/ready', timeout=10).status)"

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.skipif(
        not Path(PYTHON).exists() or Path(PYTHON).resolve().name < "python3.11",
        reason="the system's Python is older than 3.11",
    ),
]


def until(holds: Any, of: Machine) -> None:
    """Wait for what has to come."""
    ends_at = time.monotonic() + _WAIT_S
    while not holds():
        assert time.monotonic() < ends_at, of.log()[-4000:]
        time.sleep(0.2)


def is_ready(of: Machine) -> bool:
    return of.command(PYTHON, "-c", READY).stdout.strip() == "200"


def fill(of: Machine, wheels: Mapping[str, Path], home: str) -> None:
    """Give the machine the wheels and weights, where every account reads them, and *home* a copy of the weights."""
    for wheel in (wheel for name, wheel in wheels.items() if not name.startswith("examples/")):
        of.give(wheel.parent, [wheel.name], "/srv/wheels")
    if cache_folder().exists():
        of.give(cache_folder(), ["."], f"{home}/.cache/enginehouse")


def on_page(verb: str) -> list[str]:
    """The page's command for a user's service that does *verb*."""
    (block,) = [block for block in blocks("docs/services.md") if (block.kind, block.value) == ("run", "user")]
    (line,) = [line for line in block.text.splitlines() if f"service {verb}" in line]
    return ["sh", "-c", f"cd {HOME} && {line}"]


def registries() -> dict[str, str]:
    """Where packages are from, as this process has it."""
    names = re.compile(r"(UV_|PIP_|SSL_)(?!CACHE)|.*_proxy$", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if names.match(name)}


def status(of: Machine, enginehouse: str, *options: str, as_guest: bool) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        of.command(enginehouse, "service", "status", "--json", *options, as_guest=as_guest).stdout
    )
    return found


def test_a_fresh_account_installs_starts_loses_and_removes_it(wheels: Mapping[str, Path], tmp_path: Path) -> None:
    with machine("user", tmp_path) as here:
        fill(here, wheels, HOME)
        here.run("chown", "-R", f"{GUEST_ID}:{GUEST_ID}", HOME)
        enginehouse = f"{HOME}/.local/bin/enginehouse"
        here.give(UV.parent, [UV.name], "/opt")
        install = ("tool", "install", "--python", PYTHON, "--find-links", "/srv/wheels")
        engine = ("--with", "enginehouse-llamacpp[engine]")
        here.run("/opt/uv", *install, *engine, "enginehouse", as_guest=True, is_online=True, **registries())
        here.write(f"{HOME}/house.toml", CONFIG.replace("ADMIN", f"/run/user/{GUEST_ID}/enginehouse/admin.sock"))
        before = here.listing(HOME)
        there = {"PATH": f"{HOME}/.local/bin:{os.environ['PATH']}"}
        said = here.run(*on_page("install"), as_guest=True, **there)
        assert "It runs." in said
        assert "loginctl enable-linger guest" in said
        until(lambda: is_ready(here), here)
        assert int(here.run(PYTHON, "-c", ASK)) > 0
        first = status(here, enginehouse, as_guest=True)
        assert (first["written"], first["running"]) == ("ours", True)
        assert (first["restarts"], first["starts_at_boot"]) == (0, False)

        here.run("kill", "-9", str(first["pid"]))
        until(lambda: status(here, enginehouse, as_guest=True)["restarts"] == 1, here)
        until(lambda: is_ready(here), here)
        assert status(here, enginehouse, as_guest=True)["pid"] != first["pid"]
        assert int(here.run(PYTHON, "-c", ASK)) > 0

        here.run("systemctl", "--user", "reload", "enginehouse", as_guest=True)
        until(lambda: '"configuration reloaded"' in here.log(), here)
        until(lambda: status(here, enginehouse, as_guest=True)["state"] == "active (running)", here)

        here.run(*on_page("uninstall"), as_guest=True, **there)
        assert '"stopped"' in here.log()
        after = status(here, enginehouse, as_guest=True)
        assert (after["written"], after["running"], after["pid"]) == ("absent", False, None)
        known = here.command("systemctl", "--user", "list-unit-files", "enginehouse*", "--no-legend", as_guest=True)
        assert known.stdout == ""
        assert set(here.listing(HOME)) - set(before) <= {f"{HOME}/.config"}
        assert not [path for path in here.listing("/run/user") if "enginehouse" in path]
        here.run("/opt/uv", "tool", "uninstall", "enginehouse", as_guest=True)
        left = [path for path in here.listing(HOME) if "enginehouse" in path and not path.startswith(f"{HOME}/.cache/")]
        assert left == []


def test_the_system_has_it_run_as_an_account_of_its_own(wheels: Mapping[str, Path], tmp_path: Path) -> None:
    """From /opt, hardened, with its data below /var: it answers, survives a kill, and is removed but for its data."""
    with machine("system", tmp_path) as here:
        fill(here, wheels, "/var/cache/enginehouse")
        enginehouse = "/opt/enginehouse/bin/enginehouse"
        here.run(str(UV), "venv", "--quiet", "--python", PYTHON, "/opt/enginehouse")
        into = ("--python", "/opt/enginehouse/bin/python", "--find-links", "/srv/wheels", "--link-mode", "copy")
        names = ("enginehouse", "enginehouse-llamacpp[engine]")
        here.run(str(UV), "pip", "install", "--quiet", *into, *names, is_online=True, **registries())
        here.write("/srv/house.toml", CONFIG.replace("ADMIN", "/run/enginehouse/admin.sock"))
        scope = ("--system",)
        here.run(enginehouse, "service", "install", *scope, "--config", "/srv/house.toml")
        until(lambda: is_ready(here), here)
        assert int(here.run(PYTHON, "-c", ASK)) > 0
        first = status(here, enginehouse, *scope, as_guest=False)
        assert (first["written"], first["running"], first["starts_at_boot"]) == ("ours", True, True)
        account = here.run("stat", "--format=%u", f"/proc/{first['pid']}").strip()
        assert 61_184 <= int(account) <= 65_519  # systemd's range for accounts that are made for a service
        assert here.run("cat", f"/proc/{first['pid']}/status").split("CapBnd:")[1].split()[0].strip("0") == ""
        instances = json.loads(here.run(enginehouse, "instances", "--config", "/srv/house.toml", "--json"))
        assert instances

        here.run("kill", "-9", str(first["pid"]))
        until(lambda: status(here, enginehouse, *scope, as_guest=False)["restarts"] == 1, here)
        until(lambda: is_ready(here), here)
        assert int(here.run(PYTHON, "-c", ASK)) > 0

        said = here.run(enginehouse, "service", "uninstall", *scope)
        assert {"Kept: /var/lib/enginehouse", "Kept: /var/cache/enginehouse"} <= set(said.splitlines())
        assert here.listing("/etc/systemd/system") == []
        assert not [path for path in here.listing("/run") if "enginehouse" in path and "service.d" not in path]
