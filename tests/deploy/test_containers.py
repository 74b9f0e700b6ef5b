"""What the images promise, read from their recipe; `make containers` builds and runs them."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ROOT

FOLDER = ROOT / "deploy/containers"
TEXT = (FOLDER / "Containerfile").read_text()
LINES = [line for line in re.sub(r"\\\n\s*", "", TEXT).splitlines() if line and not line.startswith("#")]
IMAGES = ("router", "cpu", "cuda")


def stages() -> dict[str, tuple[str, list[str]]]:
    """The instructions of each stage, and what it is made from."""
    found: dict[str, tuple[str, list[str]]] = {}
    name = ""
    for line in LINES:
        if begins := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            name = begins[2]
            found[name] = (begins[1], [])
        elif name:
            found[name][1].append(line)
    return found


def test_an_image_is_nobodys_and_has_no_compiler_of_its_stage_before() -> None:
    for image in IMAGES:
        base, lines = stages()[image]
        assert base == "base"
        assert lines[-1] == "USER 10001:10001"
        assert not [line for line in lines if " pip" in line or line.startswith("ADD")]


def test_processes_are_started_without_a_shell_and_signals_reach_them() -> None:
    _, lines = stages()["base"]
    said = {
        word: json.loads(rest)
        for line in lines
        for word, _, rest in [line.partition(" ")]
        if word in ("ENTRYPOINT", "CMD")
    }
    assert said["ENTRYPOINT"] == ["/usr/bin/tini", "--", "enginehouse"]
    assert said["CMD"][0] == "serve"
    assert "STOPSIGNAL SIGTERM" in lines
    assert "VOLUME /data" in lines
    assert not [line for line in LINES if re.match(r"(ENTRYPOINT|CMD) [^\[]", line)]


def test_no_layer_holds_a_secret() -> None:
    """What is secret at the build is mounted; the list of files is one of those that are let in."""
    named = [line for line in LINES if re.match(r"(ARG|ENV)\b.*(KEY|TOKEN|PASSWORD|SECRET)", line, re.IGNORECASE)]
    assert named == []
    ignored = (FOLDER / "Containerfile.dockerignore").read_text().splitlines()
    assert next(line for line in ignored if line and not line.startswith("#")) == "*"
    for line in LINES:
        if line.startswith("COPY") and "--from" not in line:
            for source in [word for word in line.split()[1:-1] if not word.startswith("--")]:
                assert (ROOT / source).exists()
                assert f"!{source.removesuffix('/enginehouse')}" in ignored or f"!{source}" in ignored, source


def test_bases_are_named_with_their_version() -> None:
    assert [line for line in LINES if line.startswith("ARG BASE=")] == ["ARG BASE=debian:13-slim"]
    known = {"${BASE}", *stages()}
    assert {base for base, _ in stages().values()} <= known


@pytest.fixture
def server() -> Iterator[str]:
    """A server whose /health is well and whose other routes are not; yields its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=served.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.mark.parametrize(("path", "code"), [("/health", 0), ("", 0), ("/ready", 1)])
def test_the_check_of_health_says_what_the_server_says(server: str, path: str, code: int) -> None:
    assert healthy(f"{server}{path}") == code


def test_a_server_that_is_not_there_is_not_healthy(server: str) -> None:
    assert healthy("http://127.0.0.1:1/health") == 1
    assert healthy(server.replace("http:", "https:")) == 1


def healthy(url: str) -> int:
    """The exit code of the images' check for the server at *url*, by a bare interpreter as images have it."""
    command = [sys.executable, "-I", "-S", str(FOLDER / "healthy.py")]
    return subprocess.run(command, env={"ENGINEHOUSE_HEALTH_URL": url}, timeout=30).returncode


@pytest.mark.long
@pytest.mark.engine
def test_images_are_built_and_run_as_they_promise(tmp_path: Path) -> None:
    """Router and llama.cpp; the base is made of Debian's packages, so that no registry of images is needed."""
    missing = [name for name in ("buildah", "runc", "mmdebstrap") if shutil.which(name) is None]
    if missing or os.geteuid():
        pytest.skip(f"needs root, and: apt-get install buildah runc mmdebstrap (missing: {missing})")
    storage = tmp_path / "storage.conf"
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/graph"\nrunroot = "{tmp_path}/run"\n')
    command = [sys.executable, str(FOLDER / "build.py"), "--base", "debian", "--json"]
    environment = {**os.environ, "CONTAINERS_STORAGE_CONF": str(storage)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    router, cpu = json.loads(done.stdout)
    assert router["exit_code"] == cpu["exit_code"] == 0
    assert cpu["completion_tokens"] > 0
