from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog

from enginehouse.cli import run

Run = Callable[..., "Done"]


class Done:
    """What a command printed, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def enginehouse(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """Runs the command line in this process, away from the owner's settings."""
    for name in ("ENGINEHOUSE_CONFIG", "ENGINEHOUSE_URL", "ENGINEHOUSE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ENGINEHOUSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ENGINEHOUSE_DATA", str(tmp_path / "data"))

    def invoke(*arguments: str) -> Done:
        capsys.readouterr()
        code = run(list(arguments))
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    yield invoke
    structlog.reset_defaults()  # the commands configure it for a whole process


def install(folder: Path, name: str, module: str, source: str | None = None) -> None:
    """Make *module* look installed in *folder* as a plugin called *name*."""
    info = folder / f"{name}_dist-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[enginehouse.plugins]\n{name} = {module}\n")
    if source is not None:
        (folder / f"{module}.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages with the tutorial's plugin in it."""
    folder = tmp_path / "site"
    install(folder, "markov", "enginehouse_markov")
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def parrot(site: Path, tmp_path: Path) -> Path:
    """A configuration with two models of the tutorial's engine; one has no place on this host."""
    (tmp_path / "fables.txt").write_text("The fox saw the grapes.\n")
    file = tmp_path / "parrot.toml"
    file.write_text(
        """
        [server]
        port = 0

        [models.parrot]
        description = "Says what it read"
        [[models.parrot.placements]]
        backend = "markov"
        source = "fables.txt"
        [[models.parrot.placements]]
        backend = "markov"
        source = "demo:smollm2-135m"

        [models."big/one"]
        [[models."big/one".placements]]
        backend = "markov"
        source = "absent.txt"
        requires = ["apple"]
        """
        if sys.platform != "darwin"
        else pytest.skip("needs a host that is no Apple")
    )
    return file


class Scripted:
    """A server on loopback that answers as it is told: a list of (status, headers, body) per path."""

    def __init__(self) -> None:
        self.replies: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def says(self, *texts: str, finish: str = "stop", end: bytes = b"data: [DONE]\n\n") -> None:
        """Stream *texts* as the answer to a chat."""
        chunks: list[dict[str, Any]] = [{"delta": {"role": "assistant", "content": ""}}]
        chunks += [{"delta": {"content": text}} for text in texts]
        chunks += [{"delta": {}, "finish_reason": finish}]
        events = [json.dumps({"choices": [{"index": 0, **chunk}]}) for chunk in chunks]
        body = b": keep-alive\n\n" + "".join(f"data: {event}\n\n" for event in events).encode() + end
        self.replies["/v1/chat/completions"] = (200, {"Content-Type": "text/event-stream"}, body)

    def refuses(self, path: str, status: int, message: str, **headers: str) -> None:
        body = json.dumps({"error": {"message": message, "type": "x", "param": None, "code": None}}).encode()
        self.replies[path] = (status, {"Content-Type": "application/json", **headers}, body)

    def _handler(scripted) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                scripted.asked.append(json.loads(self.rfile.read(length)))
                self._answer()

            def _answer(self) -> None:
                scripted.keys.append(self.headers["Authorization"])
                status, headers, body = scripted.replies[self.path]
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    models = {"object": "list", "data": [{"id": "first/one", "object": "model"}, {"id": "second", "object": "model"}]}
    server.replies["/v1/models"] = (200, {"Content-Type": "application/json"}, json.dumps(models).encode())
    try:
        yield server
    finally:
        server.stop()


def command_line(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    script = "from enginehouse.cli import main; main()"
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, **options)
