"""Secrets of keys are nowhere in clear: not in the most talkative log, in answers, metrics, files or processes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import threading
import urllib.parse
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.weights import tiny_gguf

from .conftest import Serve
from .served import Served

pytestmark = pytest.mark.engine

FILE_KEY = "eh-of_the_file_5rXq0vYw9TfKzL3uJm8bNc2dHs7gPa"
ADMIN_KEY = "eh-of_the_owner_7TfKzL3uJm8bNc2dHs1gPa5rXq0v"
WRONG_KEY = "eh-of_nobody_Jm8bNc2dHs7gPa5rXq0vYw9TfKzL3u"
LATIN_KEY = "eh-schl\xfcssel_von_niemandem_vYw9TfKzL3uJm8bNc2d"


def hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


CONFIG = f"""
[server]
port = 0
max_body_bytes = 100000

[accounts]
url = "sqlite:///accounts.db"
keys = true

[models.tiny]
context_tokens = 512

[[models.tiny.placements]]
backend = "llamacpp"
source = {json.dumps(str(tiny_gguf()))}
options = {{ slots = 2 }}

[[keys]]
name = "file"
sha256 = "{hashed(FILE_KEY)}"

[[keys]]
name = "owner"
sha256 = "{hashed(ADMIN_KEY)}"
admin = true

[[mounts]]
profile = "dos-ai"
path = "/dos"
"""
CHAT = "/v1/chat/completions"
ASK = {"model": "tiny", "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 4}


class Listener:
    """Asks a server and keeps all that it hears, but the one answer that shows a new secret."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.client = httpx.Client(base_url=served.url, timeout=60.0, trust_env=False)
        self.heard: list[bytes] = []
        self.statuses: set[int] = set()

    def ask(self, method: str, path: str, key: str | bytes | None = None, **how: Any) -> httpx.Response:
        headers = how.pop("headers", {})
        if key is not None:
            headers["authorization"] = b"Bearer " + (key if isinstance(key, bytes) else key.encode())
        answer = self.client.request(method, path, headers=headers, **how)
        self.statuses.add(answer.status_code)
        if "secret" not in answer.text or answer.is_error:
            self.heard.append(b"\n".join(name + b": " + value for name, value in answer.headers.raw) + answer.content)
        return answer

    def made(self, path: str, body: dict[str, Any]) -> str:
        """The new secret that an admin route shows."""
        answer = self.ask("POST", path, ADMIN_KEY, json=body)
        assert answer.status_code in (200, 201), answer.text
        return str(answer.json()["secret"])

    def raw(self, data: bytes) -> None:
        """Send bytes that may be no HTTP, and hear what is said to them."""
        with socket.create_connection(self.served.address, 30) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while part := connection.recv(65536):
                    self.heard.append(part)


def forms(secret: str) -> list[bytes]:
    """What *secret* looks like in clear, and as headers and addresses carry it."""
    plain = secret.encode()
    coded = [base64.b64encode(b"x" * pad + plain).rstrip(b"=")[4:-4] for pad in range(3)]
    return [plain, secret.encode("latin-1"), plain[8:-8], urllib.parse.quote(secret).encode(), *coded]


def commit_errors(listener: Listener, keys: list[str]) -> None:
    """Every kind of error, with each of *keys* in every place where a client might put one."""
    for key in keys:
        basic = base64.b64encode(f"user:{key}".encode()).decode()
        for value in (
            f"Bearer {key}",
            f"bearer   {key}",
            key,
            f"Basic {basic}",
            f"Bearer {key} {key}",
            f"Token {key}",
        ):
            listener.ask("POST", CHAT, json=ASK, headers={"authorization": value.encode()})
            listener.ask("GET", "/v1/models", headers={"authorization": value.encode("latin-1")})
        for name in ("x-api-key", "api-key", "proxy-authorization", "cookie", "user-agent", "referer"):
            listener.ask("POST", CHAT, json=ASK, headers={name: key.encode()})
        quoted = urllib.parse.quote(key)
        for path in (f"{CHAT}?key={quoted}", f"/v1/models?api_key={quoted}", f"/admin/keys?key={quoted}"):
            listener.ask("POST", path, json=ASK)
        for body in (b"{", b"[1]", b'{"model": 3}', json.dumps(ASK | {"model": "none"}).encode(), b"x" * 200_000):
            listener.ask("POST", CHAT, key, content=body, headers={"content-type": "application/json"})
        listener.ask("POST", CHAT, key, content=b"a=b", headers={"content-type": "text/plain"})
        listener.ask("POST", CHAT, key, json=ASK | {"temperature": 9})
        listener.ask("POST", "/dos/v1/chat/completions", key, json=ASK | {"temperature": 9})
        listener.ask("DELETE", CHAT, key)
        listener.ask("GET", "/v1/none", key)
        listener.ask("GET", "/admin/keys", key)
        listener.ask("POST", "/admin/keys", key, json={"name": 3})
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + key.encode()
        for rest in (b"", b"\r\n", b"\r\ncontent-length: 9\r\n\r\n{", b"\r\nbad header\r\n\r\n", b"\0\r\n\r\n"):
            listener.raw(head + rest)
        listener.raw(head.replace(b"HTTP/1.1", b"HTTP/9.9") + b"\r\n\r\n")


def kill_an_engine_under(listener: Listener, key: str) -> None:
    """A stream that begins and is cut off by the end of its engine."""

    def watch() -> None:
        listener.ask("POST", CHAT, key, json=ASK | {"max_tokens": 400, "stream": True, "logit_bias": {"2": -100}})

    stream = threading.Thread(target=watch)
    stream.start()
    listener.served.wait_for_log("request")
    for process in listener.served.descendants():
        with contextlib.suppress(psutil.NoSuchProcess):
            if not process.children():
                process.kill()
    stream.join()


def shown(process: psutil.Process) -> bytes:
    """The command line and the environment of *process*."""
    folder = Path("/proc") / str(process.pid)
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
    return b""


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
def test_secrets_are_nowhere_in_clear(serve: Serve) -> None:
    served = serve(CONFIG, "--log-level", "debug")
    listener = Listener(served)
    with listener.client:
        first = listener.made("/admin/keys", {"name": "bob", "limits": {"requests_per_minute": 3}})
        rotated = listener.made("/admin/keys/rotate", {"name": "bob", "overlap_s": 3600})
        narrow = listener.made("/admin/keys", {"name": "narrow", "models": ["none"], "allow_unknown": True})
        revoked = listener.made("/admin/keys", {"name": "gone"})
        listener.ask("POST", "/admin/keys/revoke", ADMIN_KEY, json={"name": "gone"})
        for key in (FILE_KEY, first, rotated):
            assert listener.ask("POST", CHAT, key, json=ASK).status_code == 200
        secrets = [FILE_KEY, ADMIN_KEY, WRONG_KEY, LATIN_KEY, first, rotated, narrow, revoked, rotated[:-1] + "x"]
        processes = [shown(process) for process in served.descendants()]
        assert len(processes) >= 2
        commit_errors(listener, secrets)
        kill_an_engine_under(listener, FILE_KEY)
        processes += [shown(process) for process in (psutil.Process(served.pid), *served.descendants())]
        for path in ("/metrics", "/admin/keys", "/v1/models", "/ready", "/openapi.json", "/admin/none", "/admin/usage"):
            for key in (ADMIN_KEY, rotated, WRONG_KEY):
                listener.ask("GET", path, key)
        files = {path.name: path.read_bytes() for path in served.folder.iterdir() if path.is_file()}
    assert served.end() == 0
    files |= {f"{path.name} at the end": path.read_bytes() for path in served.folder.iterdir() if path.is_file()}
    assert {200, 400, 401, 403, 404, 405, 413, 415, 429} <= listener.statuses
    assert any(name.startswith("accounts.db-wal") for name in files)
    assert "key refused" in served.text()
    assert {line["level"] for line in served.log} >= {"debug", "info", "warning"}
    places = {"log": served.text().encode(), "answers": b"\n".join(listener.heard), **files}
    places["processes"] = b"\n".join(processes)
    found = {
        f"{form!r} in {place}: {held[max(held.index(form) - 80, 0) : held.index(form) + 80]!r}"
        for secret in secrets
        for form in forms(secret)
        for place, held in places.items()
        if form in held
    }
    assert found == set()
