"""Orders to a running server, from the command line: by the socket, and by a key."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from .conftest import Serve
from .raw import NO_END, Raw, wait_until
from .served import MODEL, Served, locked

SOCKET = f"""
[server]
port = 0
admin_socket = "admin.sock"

[models."{MODEL}"]
context_tokens = 2048
placements = [{{ backend = "llamacpp", source = "demo:{MODEL}" }}]
"""


def enginehouse(served: Served, *arguments: str, code: int = 0, key: str | None = None) -> Any:
    """Run a command beside *served*, and return what it printed as JSON, or its error."""
    by = ["--url", served.url] if key else ["--config", str(served.config_file)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ENGINEHOUSE_")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("enginehouse")), *arguments, *by, "--json"],
        env=environment | ({"ENGINEHOUSE_API_KEY": key} if key else {}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if code == 0 else done.stderr


def states(served: Served) -> list[str]:
    return [one["state"] for one in enginehouse(served, "instances")]


def test_an_owner_steers_by_the_socket_without_a_key(serve: Serve) -> None:
    """Each order, on a real engine; a stream that runs is not cut by any."""
    served = serve(SOCKET)
    path = served.folder / "admin.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (one,) = enginehouse(served, "instances")
    assert (one["id"], one["state"], one["devices"]) == (f"{MODEL}#0", "ready", ["cpu"])
    assert "runs on cpu" in one["placement"]
    with Raw(served.address) as running:
        running.ask(stream=True, max_tokens=300, logit_bias=NO_END)
        events = running.events()
        next(events)
        (leaving,) = enginehouse(served, "unload", MODEL)
        assert leaving["state"] == "draining"
        assert list(events)[-1] == "[DONE]"
    wait_until(lambda: states(served) == ["unloaded"], "its memory is given back")
    enginehouse(served, "load", f"{MODEL}#0")
    wait_until(lambda: states(served) == ["ready"], "it is loaded again")
    assert enginehouse(served, "pin", MODEL)[0]["pinned"]
    assert not enginehouse(served, "pin", MODEL, "--off")[0]["pinned"]
    assert enginehouse(served, "drain", MODEL)[0]["held"]
    wait_until(lambda: states(served) == ["unloaded"], "it is taken out")
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    refused = httpx.post(f"{served.url}/v1/chat/completions", json=body, trust_env=False)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_unavailable")
    enginehouse(served, "load", MODEL)
    wait_until(lambda: states(served) == ["ready"], "its owner has brought it back")
    assert enginehouse(served, "reload") == {"applied": True, "changed": [], "needs_restart": []}
    assert "There is no instance of 'smollm'" not in enginehouse(served, "load", "smollm", code=1)
    assert "The model 'smollm'" in enginehouse(served, "load", "smollm", code=1)
    assert f"There are: {MODEL}#0" in enginehouse(served, "load", f"{MODEL}#7", code=1)
    assert httpx.get(f"{served.url}/admin/instances", trust_env=False).status_code == 403
    assert served.end() == 0
    assert not path.exists()


def test_a_key_that_is_for_it_steers_over_the_network(serve: Serve) -> None:
    owner = locked("a secret").replace('name = "tests"', 'name = "tests"\nadmin = true')
    served = serve(owner)
    (one,) = enginehouse(served, "instances", key="a secret")
    assert one["state"] == "unloaded"
    assert "admin = true" in enginehouse(served, "instances", key="wrong", code=1)


def test_a_socket_that_a_killed_server_left_is_taken_and_that_of_a_running_one_is_not(
    serve: Serve, tmp_path: Path
) -> None:
    left = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(left))
    served = serve(SOCKET.replace('"start"', '"first_request"'), folder=tmp_path)
    assert enginehouse(served, "instances")[0]["state"] in ("loading", "ready")
    with pytest.raises(AssertionError, match="another server listens at"):
        serve(SOCKET, folder=tmp_path)
    assert enginehouse(served, "instances")
